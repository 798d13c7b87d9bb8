"""The loss that S²CNet is trained with: weighted smooth L1 on the scores, and a ranking of all pairs.

Su et al. (AAAI 2024) name a weighted smooth L1 loss and a ranking loss and print neither weight. Here a
candidate weighs e^max(0, g), g its normalised MOS: candidates above the average, among which the crop is
chosen, count for more, those below all the same. Other croppers trained on GAIC weigh so too
(bcmi/Human-Centric-Image-Cropping). The weights are divided by their sum, so that an image with many good
crops counts as much as any other.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.errors import ShapeError


class CropLoss(NamedTuple):
    """total = regression + rank_weight * ranking, scalars, means over the images."""

    total: Tensor
    regression: Tensor
    ranking: Tensor


def weighted_smooth_l1(scores: Tensor, targets: Tensor) -> Tensor:
    """Sum of w l / sum of w over the candidates of one image; (K,) each, K >= 1. Scalar.

    l: smooth L1 (quadratic below 1). w = e^max(0, target).
    """
    _check(scores, targets)
    weights = targets.clamp(min=0).exp()
    losses = functional.smooth_l1_loss(scores, targets, reduction="none")
    return (weights * losses).sum() / weights.sum()


def pairwise_ranking(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean over the pairs i, j with g_i > g_j of max(0, (g_i - g_j) - (s_i - s_j)); (K,) each. Scalar.

    The margin is the true difference, so that the loss is 0 exactly when every pair is at least as far apart
    as its MOS. Equal MOS make no pair; without pairs the loss is 0.
    """
    _check(scores, targets)
    wanted = targets[:, None] - targets
    found = scores[:, None] - scores
    ordered = wanted > 0
    losses = functional.relu(wanted - found) * ordered
    return losses.sum() / ordered.sum().clamp(min=1)


def crop_loss(scores: Sequence[Tensor], targets: Sequence[Tensor], *, rank_weight: float) -> CropLoss:
    """Mean over B images of both terms.

    scores, targets: B tensors (K_b,), K_b >= 1; targets are normalised MOS. rank_weight: >= 0, of the ranking.
    Raises ShapeError.
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
