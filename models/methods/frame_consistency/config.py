"""What the quality network is built from, and its losses. A section of params.yaml: no torch is imported here."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from models.config import Section
from models.methods.reading import MethodParams, Need

Positive = Annotated[float, Field(gt=0)]


class QualityNetwork(Section):
    """The quality network as a user chooses it."""

    backbone: str = Field(min_length=1, description="name of a timm model")
    pooling: Literal["mean", "mean_std"] = Field(
        description="how the features become a vector: as timm's classifier reads them; mean_std: and their standard "
        "deviations over the positions"
    )
    input_px: int = Field(ge=16, le=2048, description="side of the square crops that the network sees, pixels")
    probabilities: Literal["sigmoid", "softmax"] = Field(
        description="how the 100 logits of a frame become probabilities: each on its own, or summing to 1"
    )
    dropout: float = Field(ge=0, lt=1, description="dropout before the last layer, probability")


class QualityConfig(QualityNetwork):
    """What `build_quality` needs; kept with the weights.

    Attributes:
        bins: Quality levels of the head; the losses are defined for 100.
        pixel_mean: Mean of R, G, B on 0..1 that pixels are normalised by; `pixel_statistics` says what pretrained
            weights expect.
        pixel_std: Standard deviation, as the mean.
    """

    bins: int = Field(default=100, ge=1)
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[Positive, Positive, Positive]


class FclParams(Section):
    """Frame Consistency Loss."""

    reduction: Literal["video", "batch"] = Field(description="product of MAE and BCE per video, or of batch means")


class FrameConsistencyParams(QualityNetwork, MethodParams):
    """The section of the method."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.CROPS})

    pretrained: str | None = Field(description="file of timm weights for the backbone; null: from scratch")
    loss: Literal["fcl", "mae", "bce"] = Field(description="training loss")
    fcl: FclParams


Params = FrameConsistencyParams
