"""What all trainings share: the learning rate over the steps, which weights decay, and how fast each layer learns."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timm.optim import param_groups_layer_decay
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(optimizer: Optimizer, *, steps: int, warmup_fraction: float, done: int) -> LambdaLR:
    """The schedule of `cosine_factor`; see `schedule_rates`.

    Args:
        optimizer: Its groups get the rates.
        steps: Of the whole training.
        warmup_fraction: 0 to 1, 1 not included.
        done: Steps that were taken before.
    """
    factor = partial(cosine_factor, steps=steps, warmup_fraction=warmup_fraction)
    return schedule_rates(optimizer, factor, done=done)


def cosine_factor(step: int, *, steps: int, warmup_fraction: float) -> float:
    """Linear warm-up, not from zero, then half a cosine (arXiv 1608.03983, without restarts) down to zero.

    Args:
        step: From 0.
        steps: Of the whole training.
        warmup_fraction: Share of the steps with a rising rate, 0 to 1, 1 not included.

    Returns:
        0 to 1, what the learning rate of the step is multiplied by.
    """
    # timm's CosineLRScheduler and torch's LinearLR warm up from a fixed rate or share over whole steps: other rates.
    warmup = warmup_fraction * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def schedule_rates(optimizer: Optimizer, factor: Callable[[int], float], *, done: int) -> LambdaLR:
    """A schedule of learning rates: each group's own times a factor of the step.

    The rate of a step depends on nothing but its number, so a training that goes on has the rates of an unbroken one.

    Args:
        optimizer: Its groups get the rates.
        factor: Of a step, counted from 0.
        done: Steps that were taken before.

    Returns:
        The schedule; the groups have the rate of step `done` already. Call its `step` after the optimiser's.
    """
    # A step that the scaler of float16 skips is one of the schedule's all the same.
    warnings.filterwarnings("ignore", message=r"Detected call of `lr_scheduler.step\(\)` before")
    for group in optimizer.param_groups:
        # What LambdaLR starts from; it asks for it where it does not start at step 0.
        group.setdefault("initial_lr", group["lr"])
    return LambdaLR(optimizer, factor, last_epoch=done - 1)


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of one epoch's random numbers: epochs of neighbouring seeds share none.

    Args:
        seed: Of the training.
        epoch: 0 for the first.
    """
    return seed * 1_000_003 + epoch


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """A generator on the CPU with one epoch's numbers, apart from the global one, from which dropout draws.

    Args:
        seed: Of the training.
        epoch: 0 for the first.
    """
    return torch.Generator().manual_seed(epoch_seed(seed, epoch))


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser: decay pulls on matrices and kernels; biases and norms keep their scale.

    Args:
        network: Weights that need no gradient are left out.
        weight_decay: Of the first group; the second has none.

    Returns:
        Two groups as torch's optimisers take them.
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    return [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]


def layered_groups(
    network: nn.Module, backbone: nn.Module, weight_decay: float, *, layer_decay: float
) -> list[dict[str, Any]]:
    """`parameter_groups` with an `lr_scale` each: layer_decay to the power of a layer's distance from the top.

    Layer-wise decay as in BEiT (arXiv 2106.08254, appendix): pretrained early layers move least. The layers are those
    that timm sees in `backbone`; what else `network` holds, such as a fresh head, learns at the full rate.

    Args:
        network: Weights that need no gradient are left out.
        backbone: A part of `network`, from timm.
        weight_decay: Of matrices and kernels.
        layer_decay: More than 0, at most 1; with 1 all scales are 1 and the groups are those of `parameter_groups`.

    Returns:
        Groups as torch's optimisers take them, each with `lr_scale`, the share of the rate that its weights learn at.
    """
    if layer_decay == 1:
        return [group | {"lr_scale": 1.0} for group in parameter_groups(network, weight_decay)]
    groups = param_groups_layer_decay(backbone, weight_decay=weight_decay, layer_decay=layer_decay)
    inside = {id(weight) for weight in backbone.parameters()}
    head = [weight for weight in network.parameters() if weight.requires_grad and id(weight) not in inside]
    matrices, others = [weight for weight in head if weight.ndim > 1], [weight for weight in head if weight.ndim <= 1]
    groups += [
        {"params": matrices, "weight_decay": weight_decay, "lr_scale": 1.0},
        {"params": others, "weight_decay": 0.0, "lr_scale": 1.0},
    ]
    return [{name: group[name] for name in ("params", "weight_decay", "lr_scale")} for group in groups]
