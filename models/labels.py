"""What losses over the scores of whole videos ask of their inputs."""

import torch
from torch import Tensor

from models.errors import NonFiniteError, ShapeError


def check_labels(scores: Tensor, mos: Tensor) -> None:
    """Check predictions and labels of a batch; (B,) against (B, 1) would silently become (B, B).

    Args:
        scores: (B,) float, predictions.
        mos: (B,) float, labels.

    Raises:
        ShapeError: Their shapes differ, or are not (B,) with B at least 1.
        NonFiniteError: A label is NaN or infinite.
    """
    if scores.ndim != 1 or scores.shape != mos.shape or not len(scores):
        raise ShapeError(
            f"scores have shape {tuple(scores.shape)} and mos {tuple(mos.shape)}; needed: both (B,), B at least 1"
        )
    finite = torch.isfinite(mos)
    if not finite.all():
        index = int(finite.int().argmin())
        raise NonFiniteError(f"mos[{index}] is {mos[index].item()}; needed: finite numbers")
