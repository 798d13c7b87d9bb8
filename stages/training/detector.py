"""The training loop of the detector stage: batches of images with boxes, warm-up, a state after every epoch."""

import math

import torch
from torch import nn

from models.detectors.faster_rcnn import FasterRcnn
from models.errors import NonFiniteError
from models.optim import epoch_seed, parameter_groups, warmup_cosine
from stages.datasets.coco import ObjectSet
from stages.engine.progress import progress
from stages.params.schema.detector import DetectorTraining
from stages.training.loaders.detector import ObjectBatches
from stages.training.state import TrainingState

MAX_GRADIENT_NORM = 10.0


def fit(detector: FasterRcnn, data: ObjectSet, params: DetectorTraining, *, state: TrainingState) -> float:
    """Train to the last epoch, from where `state` left off.

    Args:
        detector: Trained in place.
        data: Its images are the training set.
        params: What the params say of the training.
        state: Where the training is kept after every epoch.

    Returns:
        The mean loss of the last epoch.

    Raises:
        NonFiniteError: A loss is NaN or infinite.
        DatasetError: An image cannot be read.
    """
    batches = ObjectBatches(
        data.images, params.batch_images, params.flip, params.color_jitter, params.seed, zoom=params.zoom
    )
    optimizer = torch.optim.AdamW(
        parameter_groups(detector.network, params.weight_decay), lr=params.learning_rate, foreach=True
    )
    losses: list[float] = []
    if (saved := state.resume("detector", epochs=params.epochs)) is not None:
        detector.network.load_state_dict(saved["network"])
        losses = saved["losses"]
        if saved["epochs_done"] < params.epochs:
            optimizer.load_state_dict(saved["optimizer"])
    for epoch in range(len(losses), params.epochs):
        with torch.random.fork_rng():
            # torchvision draws the boxes of the loss from the global generators.
            torch.manual_seed(epoch_seed(params.seed, epoch))
            losses.append(train_epoch(detector, optimizer, batches, params, epoch=epoch))
        print(f"epoch {epoch + 1:>{len(str(params.epochs))}}/{params.epochs}  loss {losses[-1]:.4f}", flush=True)
        # A finished training needs no optimizer any more.
        rest = {"optimizer": optimizer.state_dict()} if len(losses) < params.epochs else {}
        state.save(network=detector.network.state_dict(), losses=losses, epochs_done=len(losses), **rest)
    return losses[-1]


def train_epoch(
    detector: FasterRcnn,
    optimizer: torch.optim.Optimizer,
    batches: ObjectBatches,
    params: DetectorTraining,
    *,
    epoch: int,
) -> float:
    """One pass over the training images.

    Args:
        detector: Trained in place.
        optimizer: Of the network's weights.
        batches: What an epoch consists of.
        params: Epochs and schedule.
        epoch: 0 for the first.

    Returns:
        The mean loss of the epoch's steps.

    Raises:
        NonFiniteError: A loss is NaN or infinite; the weights are those of the step before.
        DatasetError: An image cannot be read.
    """
    total, steps = 0.0, len(batches)
    title = f"detector epoch {epoch + 1}/{params.epochs}"
    bar = progress(batches.epoch(epoch), desc=title, unit="step", total=steps, leave=False)
    schedule = warmup_cosine(
        optimizer, steps=params.epochs * steps, warmup_fraction=params.warmup_fraction, done=epoch * steps
    )
    for step, batch in enumerate(bar):
        optimizer.zero_grad(set_to_none=True)
        terms = detector.losses(batch.frames, batch.boxes_xyxy_px, batch.labels)
        loss = torch.stack([*terms.values()]).sum()
        value = loss.item()
        if not math.isfinite(value):
            shown = ", ".join(f"{name} {term.item():g}" for name, term in terms.items())
            raise NonFiniteError(
                f"the loss is {value} in epoch {epoch + 1}, step {step + 1}: {shown}; images: "
                f"{', '.join(batch.names)}; a lower detector.training.learning_rate may help"
            )
        loss.backward()
        nn.utils.clip_grad_norm_(detector.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        schedule.step()
        total += value
        bar.set_postfix(loss=f"{value:.3f}")
    return total / steps
