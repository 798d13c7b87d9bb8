"""Parameters of the stage crop."""

from typing import Literal

from pydantic import Field

from models.config import SEED_MAX
from models.s2cnet.config import CandidateConfig


class CropParams(CandidateConfig):
    """How the crop of a frame is chosen."""

    method: Literal["s2cnet", "center", "random", "full"] = Field(description="who chooses the crop")
    scope: Literal["frame", "video"] = Field(
        description="frame: each frame its own crop (the paper); video: one crop, by its mean score"
    )
    shape: Literal["stretch", "letterbox", "square"] = Field(
        description="how a crop fills the square that the network sees: stretched; whole, with bars; its middle square"
    )
    precision: Literal["fp32", "bf16"] = Field(
        description="of the network's large products; bf16 pays where the hardware computes it (AMX, a GPU)"
    )
    seed: int = Field(ge=0, le=SEED_MAX, description="seed of crop.method random")

    @property
    def is_blind(self) -> bool:
        """Whether crops are chosen without looking: then nothing needs a detector or a cropper."""
        return self.method != "s2cnet"
