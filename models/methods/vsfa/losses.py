"""VSFA's loss: the absolute error on labels scaled to 0..1.

Source: lidq92/VSFA at b78751b.
"""

import torch
from torch import Tensor

from models.labels import check_labels
from models.methods.vsfa.sampling import VsfaInputError


def scaled_l1_loss(scores: Tensor, mos: Tensor, *, label_scale: float) -> Tensor:
    """Mean of |score - mos / label_scale|.

    Args:
        scores: (B,) float, as the network gives them.
        mos: (B,) float. Negative labels, as CVD2014 has, are as good as others.
        label_scale: MOS points that a score of 1 stands for.

    Returns:
        A scalar >= 0.

    Raises:
        ShapeError: The shapes differ, or are not (B,).
        NonFiniteError: A label is NaN or infinite.
        VsfaInputError: The scale is not positive.
    """
    check_labels(scores, mos)
    if not label_scale > 0:
        raise VsfaInputError(f"label_scale is {label_scale}; needed: more than 0")
    with torch.autocast(scores.device.type, enabled=False):
        return (scores.float() - mos.float() / label_scale).abs().mean()


def mos_of(scores: Tensor, *, label_scale: float) -> Tensor:
    """Scores of the network as MOS points: (B,) or (B, T) -> the same shape."""
    return scores * label_scale
