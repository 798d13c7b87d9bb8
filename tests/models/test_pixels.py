"""Normalised pixels by hand."""

import pytest
import torch

from models.backbones import IMAGENET_MEAN, IMAGENET_STD
from models.errors import ShapeError
from models.pixels import normalised


def test_pixels_are_normalised_channel_by_channel() -> None:
    frames = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    # (0 - 0.485) / 0.229, (1 - 0.456) / 0.224, (0.2 - 0.406) / 0.225.
    found = normalised(frames, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    assert found.flatten().tolist() == pytest.approx([-2.117904, 2.428571, -0.915556], abs=1e-6)
    clips = normalised(frames.expand(2, 4, 3, 1, 1), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    assert torch.equal(clips, found.expand(2, 4, 3, 1, 1))


def test_other_shapes_and_types_are_refused() -> None:
    frames = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    for wrong in (frames.float(), frames.permute(0, 2, 3, 1), frames[0, 0]):
        with pytest.raises(ShapeError, match=r"needed: \(\.\.\., 3, H, W\), torch\.uint8"):
            normalised(wrong, mean=IMAGENET_MEAN, std=IMAGENET_STD)
