"""What FAST-VQA is built from, how it samples and how it learns. Sections of params.yaml: no torch is imported here.

Values: "FAST-VQA: Efficient End-to-end Video Quality Assessment with Fragment Sampling" (arXiv 2207.02595) and its
public repository, VQAssessment/FAST-VQA-and-FasterVQA at 9f264e4, options of `fast-b` and `fast-m`.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.config import Section
from models.methods.reading import AllFrames, MethodParams

Count = Annotated[int, Field(ge=1)]
Sizes = tuple[Count, Count, Count]
# What one token covers: frames, rows, columns of the fragments.
TOKEN_SIZE = (2, 4, 4)
# The input (frames, rows, columns) at which an adaptive window has its full size.
ADAPTIVE_REFERENCE = (32, 224, 224)


class FastVqaNetwork(Section):
    """The sizes of a Video-Swin with gated position bias, and of its head."""

    embed_width: int = Field(ge=1, description="width of a token in the first stage; it doubles from stage to stage")
    depths: tuple[Count, ...] = Field(min_length=1, description="blocks of each stage")
    heads: tuple[Count, ...] = Field(min_length=1, description="attention heads of each stage; they divide its width")
    window: Sizes = Field(description="attention window, tokens: time, height, width")
    gated_bias: bool = Field(description="a second position bias inside a patch, in all stages but the last")
    adaptive_window: bool = Field(description="shrink the window in proportion for inputs below 32 x 224 x 224")
    drop_path: float = Field(ge=0, lt=1, description="stochastic depth of the last block, probability")
    head_width: int = Field(ge=1, description="hidden width of the head")
    head_dropout: float = Field(ge=0, lt=1, description="dropout before both layers of the head, probability")

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if len(self.heads) != len(self.depths):
            raise ValueError(f"heads = {self.heads} and depths = {self.depths} must be of one length")
        for stage, heads in enumerate(self.heads):
            if (width := self.embed_width * 2**stage) % heads:
                raise ValueError(f"heads = {self.heads}: {heads} must divide the width of stage {stage}, {width}")
        return self


class ClipSampling(Section):
    """Which frames make a clip, and the grid of patches that is cut from them."""

    clip_frames: int = Field(ge=2, description="frames of a clip")
    interval: int = Field(ge=1, description="from one frame of a clip to the next, frames of the video")
    test_clips: int = Field(ge=1, description="clips of a video at test, one in training; the score is their mean")
    grid: int = Field(ge=1, description="patches per axis")
    patch_px: int = Field(ge=4, description="side of a patch, pixels of the frame; a multiple of 4")

    @model_validator(mode="after")
    def _tokens_fill_patches(self) -> Self:
        if self.patch_px % TOKEN_SIZE[1]:
            raise ValueError(f"patch_px = {self.patch_px} must be a multiple of {TOKEN_SIZE[1]}, the side of a token")
        if self.clip_frames % TOKEN_SIZE[0]:
            raise ValueError(f"clip_frames = {self.clip_frames} must be a multiple of {TOKEN_SIZE[0]}, as tokens are")
        return self

    @property
    def span(self) -> int:
        """Frames of the video that a clip covers."""
        return self.clip_frames * self.interval

    @property
    def side_px(self) -> int:
        """Side of the fragments, pixels."""
        return self.grid * self.patch_px


class FragmentSampling(ClipSampling):
    """FAST-VQA's sampling of frames and patches.

    The public weights are of August 2022 (v2.0.0) and their numbers most likely come from that version's sampler:
    `starts: v2.0.0`, `test_offsets: random`, `small_frames: release`.
    """

    segment_frames: int = Field(ge=1, description="frames that share the places of their patches; divides clip_frames")
    starts: Literal["v2.0.0", "head"] = Field(
        description="where clips start: v2.0.0 spreads those of the test evenly; head (since December 2022) draws them"
    )
    test_offsets: Literal["centre", "random"] = Field(
        description="place of a patch in its cell at test: the centre, or drawn as the release does, from test_seed"
    )
    test_seed: int = Field(ge=0, description="seed of what is drawn at test")
    small_frames: Literal["enlarged", "release"] = Field(
        description="frames below the grid's size: the grid of the enlarged frame, or the release's of the old size"
    )

    @model_validator(mode="after")
    def _segments_fill_the_clip(self) -> Self:
        if self.clip_frames % self.segment_frames:
            raise ValueError(f"segment_frames = {self.segment_frames} must divide clip_frames = {self.clip_frames}")
        return self


class FragmentTraining(Section):
    """How the FAST family learns, beside what all methods share in `train`."""

    backbone_rate: float = Field(gt=0, description="learning rate of the backbone, share of train.learning_rate")
    rank_weight: float = Field(ge=0, description="weight of the rank loss beside the correlation loss")


class FragmentParams(MethodParams):
    """What the sections of FAST-VQA and SAMA share."""

    pretrained: str | None = Field(
        description="file to start from: public weights of the method, or a Video-Swin-T; null: from scratch"
    )
    network: FastVqaNetwork
    sampling: ClipSampling
    training: FragmentTraining

    @classmethod
    def plan(cls, *, count: int) -> AllFrames:
        """All: clips of the training start anywhere."""
        return AllFrames()

    @model_validator(mode="after")
    def _the_gate_knows_the_patches(self) -> Self:
        # The gate takes a map to hold as many patches per axis as the window has tokens.
        height, width = self.network.window[1:]
        if self.network.adaptive_window:
            height = height * self.sampling.side_px // ADAPTIVE_REFERENCE[1]
            width = width * self.sampling.side_px // ADAPTIVE_REFERENCE[2]
        grid = self.sampling.grid
        if self.network.gated_bias and (height, width) != (grid, grid):
            raise ValueError(
                f"network.window is {height} x {width} tokens and sampling.grid {grid}: with gated_bias the window "
                "must be as many tokens high and wide as the grid has patches"
            )
        return self


class FastVqaParams(FragmentParams):
    """The section of FAST-VQA."""

    sampling: FragmentSampling


PUBLISHED_TRAINING = FragmentTraining(backbone_rate=0.1, rank_weight=0.3)
NETWORK_B = FastVqaNetwork(
    embed_width=96,
    depths=(2, 2, 6, 2),
    heads=(3, 6, 12, 24),
    window=(8, 7, 7),
    gated_bias=True,
    adaptive_window=True,
    drop_path=0.1,
    head_width=64,
    head_dropout=0.5,
)
# The weights are older than the adaptive window, which would make this one (2, 2, 2) and its shift without effect.
NETWORK_M = NETWORK_B.model_copy(update={"window": (4, 4, 4), "gated_bias": False, "adaptive_window": False})
SAMPLING_B = FragmentSampling(
    clip_frames=32,
    interval=2,
    test_clips=4,
    grid=7,
    patch_px=32,
    segment_frames=32,
    starts="v2.0.0",
    test_offsets="centre",
    test_seed=0,
    small_frames="enlarged",
)
SAMPLING_M = SAMPLING_B.model_copy(update={"clip_frames": 16, "segment_frames": 8, "grid": 4})
PUBLISHED_B = FastVqaParams(pretrained=None, network=NETWORK_B, sampling=SAMPLING_B, training=PUBLISHED_TRAINING)
PUBLISHED_M = FastVqaParams(pretrained=None, network=NETWORK_M, sampling=SAMPLING_M, training=PUBLISHED_TRAINING)

Params = FastVqaParams
