"""The loss that S²CNet is trained with: weighted smooth L1 on the scores, and a ranking of all pairs.

Su et al. (AAAI 2024) name a weighted smooth L1 loss and a ranking loss and print neither weight. Here the weight of a
candidate is e^max(0, g), g its normalised MOS: candidates above the average, among which the crop is chosen, count for
more, and those below it all the same. Other croppers trained on GAIC use these weights too
(bcmi/Human-Centric-Image-Cropping). They are divided by their sum, so that an image with many good crops counts as much
as any other.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.errors import ShapeError


class CropLoss(NamedTuple):
    """The loss of a batch and its terms: scalars, means over the images.

    Attributes:
        total: regression + rank_weight * ranking.
        regression: See `weighted_smooth_l1`.
        ranking: See `pairwise_ranking`.
    """

    total: Tensor
    regression: Tensor
    ranking: Tensor


def weighted_smooth_l1(scores: Tensor, targets: Tensor) -> Tensor:
    """Weighted mean of the smooth L1 losses of one image's candidates: sum of w l / sum of w.

    Args:
        scores: (K,), K >= 1.
        targets: (K,), normalised MOS g.

    Returns:
        A scalar; l is quadratic below 1, w = e^max(0, g).

    Raises:
        ShapeError: The shapes differ, or are not (K,).
    """
    _check(scores, targets)
    weights = targets.clamp(min=0).exp()
    losses = functional.smooth_l1_loss(scores, targets, reduction="none")
    return (weights * losses).sum() / weights.sum()


def pairwise_ranking(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean over the pairs i, j with g_i > g_j of max(0, (g_i - g_j) - (s_i - s_j)).

    The margin is the true difference, so that the loss is 0 exactly when every pair is at least as far apart as its
    MOS. Equal MOS make no pair.

    Args:
        scores: s, (K,), K >= 1.
        targets: g, (K,), normalised MOS.

    Returns:
        A scalar; 0 without pairs.

    Raises:
        ShapeError: The shapes differ, or are not (K,).
    """
    _check(scores, targets)
    true = targets[:, None] - targets
    predicted = scores[:, None] - scores
    ordered = true > 0
    losses = functional.relu(true - predicted) * ordered
    return losses.sum() / ordered.sum().clamp(min=1)


def crop_loss(scores: Sequence[Tensor], targets: Sequence[Tensor], *, rank_weight: float) -> CropLoss:
    """The loss of a batch: the mean over B images of both terms.

    Args:
        scores: B tensors (K_b,), K_b >= 1.
        targets: B tensors (K_b,), normalised MOS.
        rank_weight: Weight of the ranking, >= 0.

    Raises:
        ShapeError: Shapes or numbers of images differ, or there are no images.
    """
    if len(scores) != len(targets) or len(scores) == 0:
        raise ShapeError(f"scores of {len(scores)} images and targets of {len(targets)}; needed: equal, at least 1")
    pairs = list(zip(scores, targets, strict=True))
    regression = torch.stack([weighted_smooth_l1(*pair) for pair in pairs]).mean()
    ranking = torch.stack([pairwise_ranking(*pair) for pair in pairs]).mean()
    return CropLoss(regression + rank_weight * ranking, regression, ranking)


def _check(scores: Tensor, targets: Tensor) -> None:
    if scores.ndim != 1 or scores.shape != targets.shape or len(scores) == 0:
        raise ShapeError(
            f"scores have shape {tuple(scores.shape)} and targets {tuple(targets.shape)}; needed: both (K,), K >= 1"
        )
