"""Parameters of the stage cropper."""

from typing import Literal

from pydantic import Field

from models.config import Section, ShellText
from models.s2cnet.config import S2CNetSizes
from stages.params.schema.training import ImageTraining


class CropperTraining(ImageTraining):
    """Read where `source` is a folder."""

    objects: Literal["detector", "files"] = Field(
        description="objects of the training images: the detector's, or boxes in SOURCE/bbox/NAME.txt"
    )
    pretrained: str | None = Field(description="file of weights for the backbone; null: from scratch")
    rank_weight: float = Field(ge=0, description="weight of the ranking loss beside the regression loss")
    val_fraction: float = Field(gt=0, lt=1, description="share of the training images that selects the epoch")


class CropperParams(Section):
    """S2CNet: trained on crop scores in GAIC's format, or imported.

    Both sub-sections are those of a training: an imported checkpoint brings its own sizes.
    """

    source: ShellText = Field(
        min_length=1, description="folder to train on (images/, annotations/), or checkpoint file to import"
    )
    variant: Literal["paper", "release"] = Field(
        description="equations 7-11 as printed, or the public network; an imported checkpoint has to be of it"
    )
    network: S2CNetSizes
    training: CropperTraining
