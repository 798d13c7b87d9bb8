"""What all trainings share: the learning rate over the steps, and which weights decay."""

import math
from typing import Any

from torch import nn


def warmup_cosine(step: int, *, steps: int, peak: float, warmup_fraction: float) -> float:
    """Learning rate of step 0..steps-1: linear warm-up, then half a cosine (arXiv 1608.03983, without restarts).

    It rises to `peak` over the first `warmup_fraction` of the steps, not from zero, and then falls to zero.
    """
    warmup = warmup_fraction * steps
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser: decay pulls on matrices and kernels; biases and norms keep their scale."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    return [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
