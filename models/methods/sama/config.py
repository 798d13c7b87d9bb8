"""What SAMA is built from, how it samples and how it learns. Sections of params.yaml: no torch is imported here.

The network, the losses and the optimiser are FAST-VQA's. Values: facts about Sissuire/SAMA at 38c02bf.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from models.methods.fast_vqa.config import (
    NETWORK_B,
    PUBLISHED_TRAINING,
    ClipSampling,
    FragmentParams,
)

Mode = Literal["sama", "sama-c", "sama-mix", "sama-spm", "sama-swm"]


class ScaledSampling(ClipSampling):
    """SAMA's sampling of frames and patches: a scale for every pair of frames, the pair that makes one token."""

    mode: Mode = Field(
        description="scales of a clip's pairs of frames. sama (the released weights): down step by step; sama-c: large "
        "and small in turn; sama-mix: down twice; sama-spm, sama-swm: sama with half of the full size, in parts of "
        "patches or in whole patches"
    )

    @model_validator(mode="after")
    def _pairs_fill_the_ladders(self) -> Self:
        if self.mode in ("sama-c", "sama-mix") and self.clip_frames % 4:
            raise ValueError(f"clip_frames = {self.clip_frames} must be a multiple of 4 for mode {self.mode}")
        return self


class SamaParams(FragmentParams):
    """The section of SAMA."""

    sampling: ScaledSampling


PUBLISHED = SamaParams(
    pretrained=None,
    network=NETWORK_B.model_copy(update={"adaptive_window": False}),
    sampling=ScaledSampling(clip_frames=32, interval=2, test_clips=4, grid=7, patch_px=32, mode="sama"),
    training=PUBLISHED_TRAINING,
)

Params = SamaParams
