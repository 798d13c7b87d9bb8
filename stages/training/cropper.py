"""The training loop of the cropper stage: images of mixed shapes, the best epoch by SRCC on the validation images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import NonFiniteError
from models.optim import epoch_generator, epoch_seed, parameter_groups, warmup_cosine
from models.s2cnet.loss import CropLoss, crop_loss
from models.s2cnet.metrics import evaluate_crops
from models.s2cnet.network import S2CNet
from models.s2cnet.scoring import normalise
from stages.engine.progress import progress
from stages.params.schema.cropper import CropperTraining
from stages.training.loaders.cropper import Example, augment, collate, make_batches
from stages.training.state import TrainingState

# Of the global norm. The guarded quotient of the paper's variant can make a rare step large.
GRADIENT_NORM_MAX = 5.0


@dataclass(frozen=True)
class CropData:
    """What the cropper learns from.

    Attributes:
        train: Examples of the training part.
        val: Examples of the validation part, which choose the best epoch.
        test: Examples of the test part; the training never sees them.
        mos_mean: Mean MOS of the training part, on the data's own scale.
        mos_std: Standard deviation of the MOS of the training part.
    """

    train: list[Example]
    val: list[Example]
    test: list[Example]
    mos_mean: float
    mos_std: float


def train_epoch(
    network: S2CNet, optimizer: torch.optim.Optimizer, data: CropData, settings: CropperTraining, epoch: int
) -> dict[str, float]:
    """One pass over the training images.

    Args:
        network: Trained in place.
        optimizer: Of the network's weights.
        data: Only the training part is read.
        settings: Batches, schedule, augmentation and loss.
        epoch: 0 for the first.

    Returns:
        Means over the images of the loss and its terms, by the names of `CropLoss`.

    Raises:
        NonFiniteError: A loss is NaN or infinite; the weights are those of the step before.
    """
    device = next(network.parameters()).device
    random = epoch_generator(settings.seed, epoch)
    changes = np.random.default_rng((settings.seed, epoch))
    batches = make_batches(data.train, batch_images=settings.batch_images, random=random)
    schedule = warmup_cosine(
        optimizer,
        steps=settings.epochs * len(batches),
        warmup_fraction=settings.warmup_fraction,
        done=epoch * len(batches),
    )
    totals = torch.zeros(3, dtype=torch.float64)
    network.train()
    bar = progress(batches, desc=f"epoch {epoch + 1}/{settings.epochs}", unit="step", leave=False)
    for step, indices in enumerate(bar):
        batch = collate([data.train[index] for index in indices])
        batch = augment(batch, flip=settings.flip, jitter=settings.color_jitter, random=changes)
        scores = network(normalise(batch.pixels.to(device)), batch.candidates, batch.objects)
        targets = [((mos - data.mos_mean) / data.mos_std).to(device) for mos in batch.mos]
        loss = crop_loss(scores, targets, rank_weight=settings.rank_weight)
        if not torch.isfinite(loss.total):
            raise NonFiniteError(
                f"the loss is {loss.total.item()} in epoch {epoch + 1}, step {step + 1}: regression "
                f"{loss.regression.item()}, ranking {loss.ranking.item()}; images: {', '.join(batch.names)}; "
                "a lower cropper.training.learning_rate may help"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM_MAX)
        optimizer.step()
        schedule.step()
        totals += torch.stack(loss).detach().double().cpu() * len(indices)
        bar.set_postfix(loss=f"{loss.total.item():.4f}")
    return dict(zip(CropLoss._fields, (totals / len(data.train)).tolist(), strict=True))


@torch.inference_mode()
def evaluate(network: S2CNet, examples: Sequence[Example], *, batch_images: int) -> dict[str, float]:
    """Measure the network on a part.

    Args:
        network: Set to evaluation mode.
        examples: The part's images.
        batch_images: Images at once.

    Returns:
        srcc, acc5, acc10 and n_images; see `models.s2cnet.metrics`.
    """
    device = next(network.parameters()).device
    network.eval()
    scores: dict[int, Tensor] = {}
    for indices in make_batches(examples, batch_images=batch_images, random=None):
        batch = collate([examples[index] for index in indices])
        found = network(normalise(batch.pixels.to(device)), batch.candidates, batch.objects)
        scores |= zip(indices, (each.cpu() for each in found), strict=True)
    ordered = [scores[index].numpy() for index in range(len(examples))]
    return evaluate_crops(ordered, [each.mos.numpy() for each in examples])


def fit(network: S2CNet, data: CropData, settings: CropperTraining, *, state: TrainingState) -> dict[str, Any]:
    """Train to the last epoch, from where `state` left off.

    Args:
        network: Trained in place; in the end it has the best epoch's weights.
        data: Training and validation part.
        settings: What the params say of the training.
        state: Where the training is kept after every epoch.

    Returns:
        The record of the best epoch by SRCC on the validation part: means of the loss, metrics, `epoch` (1 for the
        first) and `weights`.

    Raises:
        NonFiniteError: A loss is NaN or infinite.
    """
    optimizer = torch.optim.AdamW(
        parameter_groups(network, settings.weight_decay), lr=settings.learning_rate, foreach=True
    )
    done = 0
    best: dict[str, Any] = {"srcc": -math.inf}
    if (saved := state.resume("cropper", epochs=settings.epochs)) is not None:
        done, best = saved["epochs_done"], saved["best"]
        if done < settings.epochs:
            network.load_state_dict(saved["network"])
            optimizer.load_state_dict(saved["optimizer"])
    for epoch in range(done, settings.epochs):
        with torch.random.fork_rng():
            torch.manual_seed(epoch_seed(settings.seed, epoch))  # dropout draws from the global generators
            record: dict[str, Any] = train_epoch(network, optimizer, data, settings, epoch)
        record |= evaluate(network, data.val, batch_images=settings.batch_images)
        print(
            f"epoch {epoch + 1:>{len(str(settings.epochs))}}/{settings.epochs}  loss {record['total']:.4f} "
            f"(regression {record['regression']:.4f}, ranking {record['ranking']:.4f})  "
            f"val SRCC {record['srcc']:.4f}",
            flush=True,
        )
        if record["srcc"] > best["srcc"]:
            weights = {name: tensor.cpu().clone() for name, tensor in network.state_dict().items()}
            best = record | {"epoch": epoch + 1, "weights": weights}
        # A finished training needs nothing but its best epoch any more.
        rest = (
            {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            if epoch + 1 < settings.epochs
            else {}
        )
        state.save(epochs_done=epoch + 1, best=best, **rest)
    network.load_state_dict(best["weights"])
    return best
