"""How the FAST family learns, as pure functions: groups of parameters, rates over the steps, the running mean, scales.

Source: facts about VQAssessment/FAST-VQA-and-FasterVQA at 9f264e4; SAMA has the same.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.errors import ShapeError


class Calibration(NamedTuple):
    """Middle and width of the sigmoid that takes a public network's scores to 0..1."""

    middle: float
    width: float


# Of the public script that scores a single video, for the public weights.
CALIBRATIONS = {
    "FAST-VQA": Calibration(-0.110198185, 0.04178565),
    "FAST-VQA-M": Calibration(0.023889644, 0.030781006),
    "FasterVQA": Calibration(0.14759505, 0.03613452),
    "FasterVQA-MS": Calibration(0.15218826, 0.03230298),
    "FasterVQA-MT": Calibration(0.14699507, 0.036453716),
}


def learning_groups(network: nn.Module, *, backbone_rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for AdamW: children with "backbone" in their name learn at a share of the rate of the others.

    Weight decay is on every parameter, norms and biases too.

    Args:
        network: Parameters that need no gradient are left out.
        backbone_rate: That share; the release has 0.1 of 1e-3.
        weight_decay: Of all weights; the release has 0.05.

    Returns:
        Groups with `lr_scale`, the share that their weights learn at.
    """
    groups = []
    for share, is_backbone in ((backbone_rate, True), (1.0, False)):
        weights = [
            weight
            for name, weight in network.named_parameters()
            if weight.requires_grad and ("backbone" in name.partition(".")[0]) == is_backbone
        ]
        if weights:
            groups.append({"params": weights, "lr_scale": share, "weight_decay": weight_decay})
    return groups


def rate_factor(step: int, *, steps_per_epoch: int, epochs: int, warmup_epochs: float = 2.5) -> float:
    """What a step's learning rate is multiplied by: a linear rise from 0, then the start of half a cosine.

    The cosine's length is that of the whole training, not of what is left after the rise: it does not reach 0. The
    last factor is 0.017 of 30 epochs and 0.15 of 10.

    Args:
        step: From 0, over all epochs.
        steps_per_epoch: Batches of an epoch.
        epochs: Of the training.
        warmup_epochs: In which the factor rises.

    Returns:
        0 to 1.
    """
    warmup = int(warmup_epochs * steps_per_epoch)
    if step <= warmup:
        return step / warmup if warmup else 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (epochs * steps_per_epoch)))


@torch.no_grad()
def follow(mean: nn.Module, network: nn.Module, *, decay: float) -> None:
    """One step of the running mean of the weights: e = decay e + (1 - decay) p, parameters only.

    Args:
        mean: Changed in place; a copy of the network from when the training began.
        network: After its step.
        decay: 0.999 in the release.
    """
    for kept, new in zip(mean.parameters(), network.parameters(), strict=True):
        kept.lerp_(new.to(kept.device), 1 - decay)


def rescaled(scores: Tensor, mos: Tensor) -> Tensor:
    """Scores with the mean and the deviation of the MOS, as the release does before RMSE.

    It reads the MOS of the very videos that it is measured on, so its RMSE flatters.

    Args:
        scores: (N,) float, not all the same.
        mos: (N,).

    Returns:
        (N,), the order of the scores kept.

    Raises:
        ShapeError: The shapes do not fit together.
    """
    if scores.ndim != 1 or scores.shape != mos.shape or len(scores) == 0:
        raise ShapeError(f"scores have shape {tuple(scores.shape)}, mos {tuple(mos.shape)}; needed: both (N,)")
    standardised = (scores - scores.mean()) / scores.std(correction=0)
    return standardised * mos.std(correction=0) + mos.mean()


def calibrated(scores: Tensor, calibration: Calibration) -> Tensor:
    """Scores of public weights on 0..1: sigmoid((s - middle) / width), any shape."""
    return ((scores - calibration.middle) / calibration.width).sigmoid()
