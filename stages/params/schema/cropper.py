"""Parameters of the stage cropper."""

from typing import Literal

from pydantic import Field

from models.config import Section


class CropperParams(Section):
    """S2CNet: trained on crop scores in GAIC's format, or imported."""

    source: str = Field(
        min_length=1, description="folder to train on (images/, annotations/), or checkpoint file to import"
    )
    objects: Literal["detector", "files"] = Field(
        description="objects of the training images: the detector's, or boxes in SOURCE/bbox/NAME.txt"
    )
    variant: Literal["paper", "release"] = Field(description="equations 7-11 as printed, or the public network")
    backbone: str = Field(min_length=1, description="mobilenet_v2, vgg16, or the name of a timm model")
    pretrained: str | None = Field(description="file of weights for the backbone; null: from scratch")
    sampling: Literal["release", "aligned"] = Field(description="sampling rule of RoIAlign and RoDAlign")
    input_short_side_px: int = Field(ge=32, le=1024, description="short side of the network's input, pixels")
    reduced_channels: int = Field(ge=1, description="channels of the fused feature map")
    align_size: int = Field(ge=1, description="cells an axis of RoIAlign and RoDAlign")
    embed_width: int = Field(ge=1, description="width of a graph node")
    heads: int = Field(ge=1, description="attention heads; they divide embed_width")
    layers: int = Field(ge=1, description="graph layers")
    mlp_width: int = Field(ge=1, description="hidden width inside the graph layers")
    head_width: int = Field(ge=6, description="hidden width of the score head")
    dropout: float = Field(ge=0, lt=1, description="dropout in the score head, probability")
    rank_weight: float = Field(ge=0, description="weight of the ranking loss beside the regression loss")
    val_fraction: float = Field(gt=0, lt=1, description="share of the training images that selects the epoch")
    epochs: int = Field(ge=1, description="passes over the training images")
    batch_images: int = Field(ge=1, description="images a step, each with all its candidates")
    learning_rate: float = Field(gt=0, description="peak learning rate of AdamW, per step")
    weight_decay: float = Field(ge=0, description="weight decay of AdamW, per unit of learning rate")
    warmup_fraction: float = Field(ge=0, lt=1, description="share of the steps with a rising learning rate")
    flip: bool = Field(description="mirror images and boxes at random, left to right")
    color_jitter: float = Field(
        ge=0, lt=1, description="strength of random changes of brightness, contrast, saturation"
    )
    seed: int = Field(ge=0, description="seed of weights, order and augmentation")
