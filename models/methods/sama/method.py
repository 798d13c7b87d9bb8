"""SAMA as the stages see it: FAST-VQA's network on fragments of ever smaller versions of the video."""

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from models.methods.fast_vqa.family import FragmentMethod
from models.methods.fast_vqa.patches import Picture
from models.methods.sama.config import SamaParams
from models.methods.sama.sampling import frame_indices, scaled_fragments, training_score


class Sama(FragmentMethod):
    """See `FragmentMethod`; samples are float32. The training compares sums over time, the test means."""

    params: SamaParams
    public_name = "SAMA"

    def frame_indices(self, n_frames: int, random: torch.Generator | None) -> list[int]:
        return frame_indices(n_frames, self.params.sampling, random)

    def cut(self, frames: Sequence[Picture], random: torch.Generator | None) -> NDArray[Any]:
        return scaled_fragments(frames, self.params.sampling, random)

    def compared(self, maps: Tensor) -> Tensor:
        return training_score(maps.float())


METHOD = Sama
