"""What S²CNet is built from, and which crops it scores. A section of params.yaml each: no torch is imported here."""

from typing import Literal, Self

from pydantic import Field, model_validator

from models.config import Section

Kind = Literal["grid", "1:1", "4:3", "3:4", "16:9", "9:16"]
Rule = Literal["release", "aligned"]
# The release's second hidden layer of the head: 768 / 6 = 128.
HEAD_NARROWING = 6


class S2CNetSizes(Section):
    """The sizes of an S²CNet that is trained."""

    backbone: str = Field(
        min_length=1, description="mobilenet_v2, vgg16, or the name of a timm model with maps at strides 8, 16 and 32"
    )
    sampling: Rule = Field(description="sampling rule of RoIAlign and RoDAlign")
    input_short_side_px: int = Field(ge=32, le=1024, description="short side of the network's input, pixels")
    reduced_channels: int = Field(ge=1, description="channels of the fused feature map")
    align_size: int = Field(ge=1, description="cells per axis of RoIAlign and RoDAlign")
    embed_width: int = Field(ge=1, description="width of a graph node")
    heads: int = Field(ge=1, description="attention heads; they divide embed_width")
    layers: int = Field(ge=1, description="graph layers")
    mlp_width: int = Field(ge=1, description="hidden width inside the graph layers")
    head_width: int = Field(ge=HEAD_NARROWING, description="hidden width of the score head")
    readout: Literal["nodes", "candidate"] = Field(
        description="what the score head reads: all nodes, as printed, or the candidate's alone"
    )
    dropout: float = Field(ge=0, lt=1, description="dropout in the score head, probability")

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.embed_width % self.heads:
            raise ValueError(f"heads = {self.heads} must divide embed_width = {self.embed_width}")
        return self


class S2CNetConfig(S2CNetSizes):
    """What `build_s2cnet` needs; kept with the weights.

    Attributes:
        variant: "paper" (equations 7-11) or "release" (the public weights).
        objects: N, most objects per image.
    """

    variant: Literal["paper", "release"]
    objects: int = Field(ge=1)


class CandidateConfig(Section):
    """Which crops of a frame are scored.

    A square frame has 90 candidates on the grid. The whole frame, where it is one too, comes last.
    """

    candidates: Kind = Field(description="grid: the anchors of GAIC; else all crops of that aspect ratio, width:height")
    min_area_fraction: float = Field(
        ge=0, le=1, description="least share of the frame that a crop of fixed aspect ratio covers; the grid ignores it"
    )
    full_frame: bool = Field(description="make the whole frame a candidate too")
