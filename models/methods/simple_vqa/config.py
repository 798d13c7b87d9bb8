"""What SimpleVQA is built from and trained with. Sections of params.yaml: no torch is imported here.

Source: Sun et al., "A Deep Learning based No-reference Quality Assessment Model for UGC Videos", ACM MM 2022, and its
release, sunwei925/SimpleVQA at 017edda (Apache-2.0). The defaults are those of the release but for the loss.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from models.config import Section

RankOrder = Literal["named", "released"]


class SimpleVqaFrames(Section):
    """Which parts of a video the network sees."""

    segments: int = Field(
        default=8,
        ge=1,
        description="seconds that are looked at, from the start; shorter videos repeat the last. Published: 8, and 20 "
        "for YouTube-UGC",
    )
    short_side_px: int = Field(default=520, ge=33, description="short side that frames are resized to, pixels")
    crop_px: int = Field(default=448, ge=33, description="side of the square cut from a resized frame, pixels")

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.crop_px > self.short_side_px:
            raise ValueError(f"crop_px = {self.crop_px} must not be above short_side_px = {self.short_side_px}")
        return self


class SimpleVqaNetwork(SimpleVqaFrames):
    """The quality network as a user chooses it."""

    backbone: str = Field(
        default="resnet50", min_length=1, description="name of a timm model with maps at strides 8, 16 and 32"
    )
    motion: Literal["slowfast", "none"] = Field(
        default="slowfast", description="slowfast: frozen features of SlowFast R50 8x8 beside each frame; none: without"
    )
    hidden_width: int = Field(default=128, ge=1, description="width between the two linear layers of the head")


class SimpleVqaTraining(Section):
    """How the release trains: Adam, the rate 0.9 times as high after every second epoch, raw labels.

    Labels of LSVQ are on 0-100, as the MOS is here everywhere. No mean of the weights. Weights of the best epoch by
    SROCC on the test part of LSVQ are kept, which flatters; here the validation part selects. Inside one data set a row
    of a stored table of 1000 orders gives 80 % of the videos for training and the rest for test. For YouTube-UGC the
    released loader takes frames of seconds 0, 2, .. 18 beside motion of seconds 0, 0, 1, 1, ..: misaligned, not here.
    """

    epochs: int = Field(default=10, ge=1, description="passes over the training part")
    batch_videos: int = Field(default=8, ge=1, description="videos a step")
    learning_rate: float = Field(default=1e-5, gt=0, description="learning rate of Adam in the first epochs")
    weight_decay: float = Field(default=1e-7, ge=0, description="weight decay of Adam (L2)")
    decay_epochs: int = Field(default=2, ge=1, description="epochs between two steps of the learning rate")
    decay_factor: float = Field(default=0.9, gt=0, le=1, description="factor of the learning rate at a step")
    rank_order: RankOrder = Field(
        default="named",
        description="named: L1 + rank loss; released: as the public trainer calls it, labels and predictions swapped, "
        "where the rank part has no gradient and the training is one by L1 (the published numbers)",
    )
    start_mos: float | None = Field(
        default=None, description="what the head answers before training, MOS points; null: torch's start, as published"
    )


class SimpleVqaParams(SimpleVqaNetwork, SimpleVqaTraining):
    """All of SimpleVQA that a user chooses; the defaults are the published configuration."""


class SimpleVqaConfig(SimpleVqaNetwork):
    """What `build_simple_vqa` needs; kept with the weights.

    Attributes:
        motion_width: Motion features beside each frame: 2304 of SlowFast R50, 0 without motion.
        start_mos: See `SimpleVqaTraining`.
    """

    motion_width: int = Field(default=2304, ge=0)
    start_mos: float | None = None


def learning_rate_of(training: SimpleVqaTraining, epoch: int) -> float:
    """The rate of an epoch, counted from 0: that of the first, times the factor once for every step behind it."""
    return training.learning_rate * training.decay_factor ** (epoch // training.decay_epochs)


PUBLISHED = SimpleVqaParams()
# Trains in minutes on two cores: a network of a few layers on small frames, without motion, at a high rate.
SMALL = SimpleVqaParams(
    backbone="test_resnet",
    motion="none",
    segments=4,
    short_side_px=72,
    crop_px=64,
    hidden_width=32,
    epochs=12,
    learning_rate=2e-3,
    start_mos=50.0,
)
