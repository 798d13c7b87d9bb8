"""A method that costs a folder and a section: `add_method` puts this file into a project as `models/methods/toy`.

It reads no crops, draws a frame of each video anew in every epoch, scores the two halves of a video, and has a loss,
terms and an output of its own.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from models.backbones import seeded
from models.methods.interface import ExportPlan, Method, Piece, Segments, VideoView

CONFIG = '''"""The section of the toy."""

from pydantic import Field

from models.methods.reading import MethodParams


class ToyParams(MethodParams):
    """How it learns."""

    cells: int = Field(ge=1, description="cells a side that a frame is averaged over")


Params = ToyParams
'''


def add_method(project: Path) -> None:
    """Add the method to a project, and choose it."""
    folder = project / "models/methods/toy"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""A toy."""\n', encoding="utf-8")
    (folder / "config.py").write_text(CONFIG, encoding="utf-8")
    shutil.copy(__file__, folder / "method.py")
    path = project / "params.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    values["method"] = "toy"
    values["methods"]["toy"] = {"cells": 4}
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


class Toy(Method):
    """A sample is (C, C, 3) uint8, the mean colours of a frame's cells; the output one logit a sample."""

    draws = True
    mirrors = False
    input_px = 0
    frames_a_piece = 1

    def __init__(self, params: Any, network: Mapping[str, Any] | None = None) -> None:
        self.params = params
        self.cells = params.cells if network is None else network["cells"]

    @property
    def network(self) -> dict[str, Any]:
        return {"cells": self.cells}

    def build(self, *, seed: int) -> nn.Module:
        with seeded(seed):
            return ToyNetwork(3 * self.cells**2)

    def sample_shape(self, places: int) -> tuple[int, ...]:
        return self.cells, self.cells, 3

    def sample(self, view: VideoView, random: torch.Generator | None) -> Tensor:
        n = len(view.frames)
        return self._means(view, n // 2 if random is None else int(torch.randint(n, (), generator=random)))

    def loss(self, output: Tensor, mos: Tensor, labels: Mapping[str, float]) -> Tensor:
        return self.terms(output, mos, labels)["square"].mean()

    def terms(self, output: Tensor, mos: Tensor, labels: Mapping[str, float]) -> dict[str, Tensor]:
        return {"square": (output.sigmoid() - mos / 100).square()}

    def scores(self, output: Tensor) -> Tensor:
        return 100 * output.sigmoid()

    def pieces(self, view: VideoView) -> list[Piece]:
        halves = np.array_split(np.arange(len(view.frames)), min(2, len(view.frames)))
        return [Piece(self._means(view, half[len(half) // 2]), [half.tolist()]) for half in halves]

    def score(self, network: nn.Module, values: Tensor) -> Segments:
        scores = self.scores(network(values))[:, None]
        return Segments(scores, torch.zeros_like(scores))

    def export(self, network: nn.Module) -> ExportPlan:
        return ExportPlan(
            network,
            (self.cells, self.cells, 3),
            "mean colours (N, C, C, 3) float32, RGB, 0..1",
            {"logit": "(N,) float32"},
            (1.0,),
            lambda pixels: [network(pixels)],
        )

    def _means(self, view: VideoView, position: int) -> Tensor:
        frame = view.frames[position]
        rows = np.array_split(frame, self.cells, axis=0)
        means = [[cell.mean(axis=(0, 1)) for cell in np.array_split(row, self.cells, axis=1)] for row in rows]
        return torch.from_numpy(np.array(means).astype(np.uint8))


class ToyNetwork(nn.Module):
    """(N, C, C, 3), uint8 or float in 0..1 -> (N,)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.last = nn.Linear(width, 1)

    def forward(self, values: Tensor) -> Tensor:
        pixels = values.float() / 255 if values.dtype == torch.uint8 else values
        logits: Tensor = self.last(pixels.flatten(1)).squeeze(1)
        return logits


METHOD = Toy
