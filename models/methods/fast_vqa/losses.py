"""Losses of the FAST family: correlation and order within a batch. They leave the scale of the scores free.

Source: facts about VQAssessment/FAST-VQA-and-FasterVQA at 9f264e4; SAMA has the same. All sums run in float32
(float64 for float64 scores), inside autocast too.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from models.errors import AigcVqaError, ShapeError

DEVIATION_EPSILON = 1e-8


class OneVideoError(AigcVqaError, ValueError):
    """A batch of one video, in which there is no correlation and no order."""


class FragmentTerms(NamedTuple):
    """The loss of a batch and its terms, scalars.

    Attributes:
        total: plcc + rank_weight * rank.
        plcc: Of `plcc_loss`.
        rank: Of `rank_loss`.
    """

    total: Tensor
    plcc: Tensor
    rank: Tensor


def fragment_loss(scores: Tensor, mos: Tensor, *, rank_weight: float) -> FragmentTerms:
    """The loss that FAST-VQA and SAMA learn by.

    Args:
        scores: (B,) float, B at least 2, any scale.
        mos: (B,), any scale; any affine change with a positive factor leaves the loss.
        rank_weight: Of the rank loss; the release has 0.3.

    Raises:
        ShapeError: The shapes do not fit together.
        OneVideoError: B is 1.
    """
    plcc, rank = plcc_loss(scores, mos), rank_loss(scores, mos)
    return FragmentTerms(plcc + rank_weight * rank, plcc, rank)


def plcc_loss(scores: Tensor, mos: Tensor) -> Tensor:
    """A loss of the linear correlation rho, (1 - rho) / 4 + (1 - rho^2) / 8 up to epsilons.

    With z and u, scores and MOS of mean 0 and deviation 1 over the batch:
    1/2 [ mean((z - u)^2) / 4 + mean((rho z - u)^2) / 4 ].

    Args:
        scores: (B,) float, B at least 2.
        mos: (B,).

    Returns:
        A scalar, 0 to 0.5. Equal scores have rho 0 and 0.25; their gradient is huge, as the release's.

    Raises:
        ShapeError: The shapes do not fit together.
        OneVideoError: B is 1.
    """
    _check(scores, mos)
    with torch.autocast(scores.device.type, enabled=False):
        z, u = _standardised(_full_precision(scores)), _standardised(mos.to(_full_precision(scores)))
        rho = (z * u).mean()
        return 0.5 * ((z - u).square().mean() / 4 + (rho * z - u).square().mean() / 4)


def rank_loss(scores: Tensor, mos: Tensor) -> Tensor:
    """A loss of pairs in the wrong order, by how far they are apart.

    R_ij = relu((p_i - p_j) sign(y_j - y_i)) over all ordered pairs; sum R / (B (B - 1)) / (1 + max R). The gradient
    goes through the maximum too.

    Args:
        scores: (B,) float, p, B at least 2.
        mos: (B,), y.

    Returns:
        A scalar, 0 to 1.

    Raises:
        ShapeError: The shapes do not fit together.
        OneVideoError: B is 1: the release gives NaN there.
    """
    _check(scores, mos)
    with torch.autocast(scores.device.type, enabled=False):
        p, y = _full_precision(scores), mos.to(_full_precision(scores))
        wrong = ((p[:, None] - p[None]) * (y[None] - y[:, None]).sign()).relu()
        return wrong.sum() / (len(p) * (len(p) - 1)) / (1 + wrong.max())


def _full_precision(scores: Tensor) -> Tensor:
    return scores if scores.dtype == torch.float64 else scores.float()


def _standardised(values: Tensor) -> Tensor:
    return (values - values.mean()) / (values.std(correction=0) + DEVIATION_EPSILON)


def _check(scores: Tensor, mos: Tensor) -> None:
    if scores.ndim != 1 or scores.shape != mos.shape or len(scores) == 0 or not scores.is_floating_point():
        # (B, 1) against (B,) would broadcast to a table of (B, B) without any error.
        raise ShapeError(
            f"scores have shape {tuple(scores.shape)} and dtype {scores.dtype}, mos {tuple(mos.shape)}; needed: both "
            "(B,), floating-point scores"
        )
    if len(scores) == 1:
        raise OneVideoError(
            "a batch of 1 video has no order and no correlation; these losses need at least 2 videos a batch: another "
            "train.batch_videos, or the last batch left out"
        )
