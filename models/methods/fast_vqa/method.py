"""FAST-VQA (B and M) as the stages see it; see `family`. How each part follows from the paper: the modules beside."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from models.methods.fast_vqa.clips import frame_indices
from models.methods.fast_vqa.config import FastVqaParams
from models.methods.fast_vqa.family import FragmentMethod
from models.methods.fast_vqa.patches import Picture
from models.methods.fast_vqa.sampling import fragments

RELEASE = "https://github.com/TimothyHTimothy/FAST-VQA/releases/download/v2.0.0"


class FastVqa(FragmentMethod):
    """See `FragmentMethod`; samples are uint8."""

    params: FastVqaParams
    public_name = "FAST-VQA"
    urls: ClassVar = {name: f"{RELEASE}/{name}" for name in ("FAST_VQA_B_1_4.pth", "FAST_VQA_M_1_4.pth")}

    def frame_indices(self, n_frames: int, random: torch.Generator | None) -> list[int]:
        return frame_indices(n_frames, self.params.sampling, random)

    def cut(self, frames: Sequence[Picture], random: torch.Generator | None) -> NDArray[Any]:
        return fragments(frames, self.params.sampling, random)

    def compared(self, maps: Tensor) -> Tensor:
        return self.scores(maps)


METHOD = FastVqa
