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
from models.methods.frame_consistency.losses import VideoTerms, bce_loss, frame_consistency_loss, mae_loss, video_terms
from models.methods.frame_consistency.network import QualityNet, checkpoint_activations
from models.optim import layered_groups
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
        network: The weights.
        model: What is called: `network` itself, or its wrapper among processes.
        optimizer: Of the network's weights.
        scaler: Of the loss, at work in float16 alone.
        mean: Running mean of the weights (train.ema_decay), which is then what is validated and kept; None: there is
            none.
        settings: What the params say of the training.
        processes: All that train together.
    """

    network: QualityNet
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    mean: ModelEmaV3 | None
    settings: TrainParams
    processes: Processes

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return self.network.head.weight.device

    @property
    def kept(self) -> QualityNet:
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


def set_up(network: QualityNet, settings: TrainParams, processes: Processes) -> Training:
    """Build what surrounds the network; the random numbers of this process start here.

    Args:
        network: On its device already; layout, checkpointing and compilation change it in place.
        settings: What the params say of the training.
        processes: All that train together.
    """
    if settings.channels_last:
        network.to(memory_format=torch.channels_last)
    if settings.checkpointing:
        checkpoint_activations(network)
    mean = ModelEmaV3(network, decay=settings.ema_decay, use_warmup=True) if settings.ema_decay else None
    model = parallel(network, processes)
    if settings.compile:
        network.compile_backbone()
    groups = layered_groups(network, network.backbone, settings.weight_decay, layer_decay=settings.layer_decay)
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
    return Training(network, model, optimizer, scaler, mean, settings, processes)


def radius(training: Training) -> float:
    """FGM's epsilon in weight units: the share that the params say of the norm of all trainable weights.

    A share means the same for every backbone; the norm of all weights is 52 for the demo's and 146 for ConvNeXt-T.
    """
    share = training.settings.fgm.epsilon
    weights = [weight.detach() for weight in training.network.parameters() if weight.requires_grad]
    norm = gradient_norm(weights) if share else 0.0
    # Weights that broke have no norm: the loss at them says so.
    return share * norm if math.isfinite(norm) else 0.0


def loss_of(logits: Tensor, mos: Tensor, sigma: float, params: TrainParams) -> Tensor:
    """The loss that the params choose.

    Args:
        logits: (B, F, 100).
        mos: (B,), 0-100.
        sigma: Width of the target density, points.
        params: Names the loss and its reduction.

    Returns:
        A scalar.
    """
    if params.loss == "mae":
        return mae_loss(logits, mos)
    if params.loss == "bce":
        return bce_loss(logits, mos, sigma)
    return frame_consistency_loss(logits, mos, sigma, reduction=params.fcl.reduction)


def train_step(training: Training, crops: Tensor, mos: Tensor, sigma: float) -> tuple[Tensor, VideoTerms]:
    """One step of the optimiser.

    Args:
        training: Its weights move.
        crops: (B, F, 3, S, S) uint8 RGB, this process's videos of the batch.
        mos: (N,), 0-100, of the whole batch, in the processes' order.
        sigma: Width of the target density, points.

    Returns:
        The loss, a scalar, and the terms of all N videos.

    Raises:
        NonFiniteError: A loss or a gradient is NaN or infinite; the weights have not moved. In float16 the scaler
            skips such a gradient's step, and the error comes when it keeps skipping.
    """
    half, sizes = HALVES[training.settings.precision], training.processes.sizes(len(mos))
    done: list[Tensor] = []

    def forward() -> Tensor:
        with torch.autocast(crops.device.type, dtype=half, enabled=half is not None):
            logits = training.model(crops)
        # Every process computes the loss of the whole batch.
        logits = gather_rows(logits, sizes)
        done.append(logits.detach())
        return loss_of(logits, mos, sigma, training.settings)

    training.optimizer.zero_grad(set_to_none=True)
    statistics = contextlib.nullcontext() if sizes[training.processes.rank] else without_statistics(training.network)
    try:
        with statistics:
            loss = fgm_backward(training.model, forward, radius(training), scaler=training.scaler)
    except NonFiniteError as error:
        raise NonFiniteError(f"{error}; there {terms_text(video_terms(done[-1], mos, sigma))}") from None
    terms = video_terms(done[0], mos, sigma)
    if not torch.isfinite(loss):
        raise NonFiniteError(f"the loss is {loss.item()}: {terms_text(terms)}; {ADVICE}")
    check_gradient(training, loss, terms)
    training.scaler.step(training.optimizer)
    training.scaler.update()
    return loss, terms


def terms_text(terms: VideoTerms) -> str:
    """The terms of every video for a message, such as `MAE [0.1, 0.3], BCE [2.5, 3.1]`."""
    return f"MAE {terms.mae.tolist()}, BCE {terms.bce.tolist()}"


def check_gradient(training: Training, loss: Tensor, terms: VideoTerms) -> None:
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
