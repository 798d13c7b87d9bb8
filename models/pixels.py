"""Pixels as published networks expect them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.errors import ShapeError

PIXEL_MAX = 255.0


def normalised(frames: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Bytes to normalised numbers.

    Args:
        frames: (..., 3, H, W) uint8, RGB.
        mean: Of R, G, B on 0..1.
        std: Standard deviation, as the mean.

    Returns:
        (..., 3, H, W) float32, (frames / 255 - mean) / std.

    Raises:
        ShapeError: The frames have another shape or type.
    """
    if frames.ndim < 3 or frames.shape[-3] != 3 or frames.dtype != torch.uint8:
        raise ShapeError(
            f"frames have shape {tuple(frames.shape)} and dtype {frames.dtype}; needed: (..., 3, H, W), torch.uint8"
        )
    centre, spread = (torch.tensor(values, device=frames.device).view(3, 1, 1) for values in (mean, std))
    return (frames.float() / PIXEL_MAX - centre) / spread
