"""A step of fitting the quality model: what a process trains with, the loss, FGM, and what is refused."""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from models.distributed import gather_rows, without_statistics
from models.errors import NonFiniteError
from models.fgm import fgm_backward, gradient_norm
from models.methods.interface import Method
from stages.engine.device import random_state, restore_random_state
from stages.params.schema import TrainParams
from stages.training.processes import Processes, parallel

# Scales of the loss in float16 start at 65536 and halve with every skipped step: 20 steps in a row are below this.
MIN_SCALE = 2.0**-3
HALVES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


ADVICE = "a lower train.learning_rate or train.fgm.epsilon, or another train.precision, may help"


@dataclass(frozen=True)
class Training:
    """What one process trains with.

    Attributes:
        method: Says what loss and scores are.
        network: The weights.
        model: What is called: `network` itself, or its wrapper among processes.
        optimizer: Of the network's weights.
        scaler: Of the loss, at work in float16 alone.
        mean: Running mean of the weights (train.ema_decay), which is then what is validated and kept; None: there is
            none.
        settings: What the params say of the training.
        processes: All that train together.
    """

    method: Method
    network: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    mean: ModelEmaV3 | None
    settings: TrainParams
    processes: Processes

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.network.parameters()).device

    @property
    def kept(self) -> nn.Module:
        """The network that is validated and kept."""
        return self.network if self.mean is None else self.mean.module

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on; one entry a process of what differs between them."""
        return {
            "network": self.network.state_dict(),
            "mean": None if self.mean is None else self.mean.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": self.processes.gather(random_state(self.device)),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.network.load_state_dict(saved["network"])
        if self.mean is not None:
            self.mean.module.load_state_dict(saved["mean"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        restore_random_state(saved["random"][self.processes.rank], self.device)


def set_up(method: Method, network: nn.Module, settings: TrainParams, processes: Processes) -> Training:
    """Build what surrounds the network; the random numbers of this process start here.

    Args:
        method: Of the network.
        network: On its device already; layout, checkpointing and compilation change it in place.
        settings: What the params say of the training.
        processes: All that train together.

    Raises:
        AigcVqaError: The method's network cannot do what the params ask for.
    """
    if settings.channels_last:
        network.to(memory_format=torch.channels_last)
    if settings.checkpointing:
        method.checkpoint(network)
    mean = ModelEmaV3(network, decay=settings.ema_decay, use_warmup=True) if settings.ema_decay else None
    model = parallel(network, method, processes)
    if settings.compile:
        method.compile(network)
    groups = method.groups(network, weight_decay=settings.weight_decay, layer_decay=settings.layer_decay)
    for group in groups:
        group["lr"] = settings.learning_rate * group["lr_scale"]
    optimizer: torch.optim.Optimizer = (
        torch.optim.AdamW(groups, eps=settings.adamw.eps, foreach=True)
        if settings.optimizer == "adamw"
        else torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.sgd.momentum, foreach=True)
    )
    # Only float16 needs a scaled loss; a scaler that is not enabled hands everything through.
    scaler = torch.amp.GradScaler(next(network.parameters()).device.type, enabled=settings.precision == "fp16")
    # Processes draw dropout masks of their own.
    torch.manual_seed(settings.seed + 1_000_003 * processes.rank)
    return Training(method, network, model, optimizer, scaler, mean, settings, processes)


def radius(training: Training) -> float:
    """FGM's epsilon in weight units: the share that the params say of the norm of all trainable weights.

    A share means the same for every backbone; the norm of all weights is 52 for the demo's and 146 for ConvNeXt-T.
    """
    share = training.settings.fgm.epsilon
    weights = [weight.detach() for weight in training.network.parameters() if weight.requires_grad]
    norm = gradient_norm(weights) if share else 0.0
    # Weights that broke have no norm: the loss at them says so.
    return share * norm if math.isfinite(norm) else 0.0


def train_step(
    training: Training, samples: Tensor, mos: Tensor, labels: Mapping[str, float]
) -> tuple[Tensor, dict[str, Tensor]]:
    """One step of the optimiser.

    Args:
        training: Its weights move.
        samples: (B, ...), those of this process's videos of the batch.
        mos: (N,), 0-100, of the whole batch, in the processes' order.
        labels: What the method learnt from all training labels.

    Returns:
        The loss, a scalar, and its terms, each (N,).

    Raises:
        NonFiniteError: A loss or a gradient is NaN or infinite; the weights have not moved. In float16 the scaler
            skips such a gradient's step, and the error comes when it keeps skipping.
    """
    method, half = training.method, HALVES[training.settings.precision]
    sizes = training.processes.sizes(len(mos))
    done: list[Tensor] = []

    def forward() -> Tensor:
        with torch.autocast(samples.device.type, dtype=half, enabled=half is not None):
            output = training.model(samples)
        # Every process computes the loss of the whole batch.
        output = gather_rows(output, sizes)
        done.append(output.detach())
        return method.loss(output, mos, labels)

    training.optimizer.zero_grad(set_to_none=True)
    statistics = contextlib.nullcontext() if sizes[training.processes.rank] else without_statistics(training.network)
    try:
        with statistics:
            loss = fgm_backward(training.model, forward, radius(training), scaler=training.scaler)
    except NonFiniteError as error:
        raise NonFiniteError(f"{error}; there {terms_text(method.terms(done[-1], mos, labels))}") from None
    terms = method.terms(done[0], mos, labels)
    if not torch.isfinite(loss):
        raise NonFiniteError(f"the loss is {loss.item()}: {terms_text(terms)}; {ADVICE}")
    check_gradient(training, loss, terms)
    training.scaler.step(training.optimizer)
    training.scaler.update()
    return loss, terms


def terms_text(terms: Mapping[str, Tensor]) -> str:
    """The terms of every video for a message, such as `MAE [0.1, 0.3], BCE [2.5, 3.1]`."""
    return ", ".join(f"{name.upper()} {values.tolist()}" for name, values in terms.items())


def check_gradient(training: Training, loss: Tensor, terms: Mapping[str, Tensor]) -> None:
    """Raise NonFiniteError for a gradient that AdamW cannot use: with a NaN or an infinity, or whose square is one."""
    if training.scaler.is_enabled():
        if (scale := training.scaler.get_scale()) < MIN_SCALE:
            raise NonFiniteError(
                f"float16 overflows in step after step, also with the loss scaled by {scale:g}: the loss is "
                f"{loss.item()}: {terms_text(terms)}; a lower train.fgm.epsilon, or train.precision bf16, may help"
            )
        return
    gradients = [weight.grad for weight in training.network.parameters() if weight.grad is not None]
    norm = torch.stack(torch._foreach_norm(gradients)).norm()
    if not torch.isfinite(norm):
        raise NonFiniteError(
            f"the gradient has norm {norm.item()} though the loss is {loss.item()}: {terms_text(terms)}; {ADVICE}"
        )
