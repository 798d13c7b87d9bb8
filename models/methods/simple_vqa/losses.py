"""SimpleVQA's loss: the absolute error, and a rank loss over pairs of videos of nearly equal quality.

Source: sunwei925/SimpleVQA at 017edda.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from models.labels import check_labels
from models.methods.simple_vqa.config import RankOrder
from models.methods.simple_vqa.sampling import SimpleVqaInputError

# Pairs further apart are left to the absolute error; MOS points.
PAIR_DISTANCE_MAX = 1.0
# Where no pair counts, the rank loss is 0 / epsilon = 0.
COUNT_EPSILON = 1e-8


class SimpleVqaTerms(NamedTuple):
    """The two terms of the loss.

    Attributes:
        l1: A scalar >= 0, MOS points: mean absolute error.
        rank: A scalar >= 0, MOS points: mean of what pairs lack to be in order.
    """

    l1: Tensor
    rank: Tensor

    @property
    def total(self) -> Tensor:
        """The loss: both, with equal weight."""
        return self.l1 + self.rank


def loss_terms(scores: Tensor, mos: Tensor, *, order: RankOrder = "named") -> SimpleVqaTerms:
    """Absolute error and rank loss.

    Args:
        scores: (B,) float, MOS points; B = 1 has no pair, and a rank loss of 0.
        mos: (B,) float.
        order: named: pairs with 0 < |y_i - y_j| < 1 count, with relu(-sign(y_j - y_i) (p_j - p_i)) each. released: the
            public trainer passes labels and predictions in each other's place, so that y and p change roles there:
            the rank term then has no gradient.

    Raises:
        ShapeError: The shapes differ, or are not (B,).
        NonFiniteError: A label is NaN or infinite.
        SimpleVqaInputError: There is no such order.
    """
    check_labels(scores, mos)
    if order not in ("named", "released"):
        raise SimpleVqaInputError(f"order is {order!r}; allowed: 'named', 'released'")
    with torch.autocast(scores.device.type, enabled=False):
        predicted, labels = scores.float(), mos.float()
        l1 = (predicted - labels).abs().mean()
        rank = _rank(predicted, labels) if order == "named" else _rank(labels, predicted.detach())
    return SimpleVqaTerms(l1, rank)


def _rank(ranked: Tensor, reference: Tensor) -> Tensor:
    distance = reference[None, :] - reference[:, None]
    counted = (distance != 0) & (distance.abs() < PAIR_DISTANCE_MAX)
    lacking = torch.relu(-distance.sign() * (ranked[None, :] - ranked[:, None]))
    return (lacking * counted).sum() / (counted.sum() + COUNT_EPSILON)
