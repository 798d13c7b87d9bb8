"""Parameters of the stage crop."""

from typing import Literal

from pydantic import Field

from models.config import Section


class CropParams(Section):
    """How the crop of a frame is chosen."""

    method: Literal["s2cnet", "center", "random", "full"] = Field(description="who chooses the crop")
    scope: Literal["frame", "video"] = Field(
        description="frame: each frame its own crop (the paper); video: one crop, by its mean score"
    )
    candidates: Literal["grid", "1:1", "4:3", "3:4", "16:9", "9:16"] = Field(
        description="grid: the anchors of GAIC; else all crops of that aspect ratio, width:height"
    )
    min_area_fraction: float = Field(
        ge=0, le=1, description="least share of the frame that a crop of fixed aspect ratio covers; the grid ignores it"
    )
    full_frame: bool = Field(description="make the whole frame a candidate too")
    precision: Literal["fp32", "bf16"] = Field(
        description="of the network's large products; bf16 pays where the hardware computes it (AMX, a GPU)"
    )
    seed: int = Field(ge=0, description="seed of crop.method random")
