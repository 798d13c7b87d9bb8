"""Fitting the quality model: an epoch, a validation; the run over all epochs."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from dvclive import Live
from torch import Tensor

from models.errors import NonFiniteError
from models.metrics import plcc, srocc
from models.optim import epoch_generator, epoch_seed, schedule_rates
from stages.engine.progress import progress
from stages.errors import DatasetError
from stages.params.schema import TrainParams
from stages.training.loaders.augment import mirror_clips
from stages.training.loaders.clips import ClipLoader, in_batches
from stages.training.state import TrainingState
from stages.training.step import ADVICE, Training, terms_text, train_step

# What torch's and our batch normalisation say of a batch without any variance.
ONE_VALUE = "Expected more than 1 value per channel"
# Equal frames get scores this close, on 0-100, whatever batch they stand in: no spread that a correlation may rank.
ROUNDING = 1e-4


@dataclass(frozen=True)
class QualityData:
    """The training and the validation part.

    Attributes:
        train: Samples of the training videos.
        train_mos: (N,) float32, 0-100, in the order of the samples' ids.
        val: Samples of the validation videos.
        val_mos: (M,) float32, 0-100, in the order of the samples' ids.
        labels: What the method learnt from the training MOS.
        val_batch_videos: Validation videos scored at once.
    """

    train: ClipLoader
    train_mos: Tensor
    val: ClipLoader
    val_mos: Tensor
    labels: Mapping[str, float]
    val_batch_videos: int


def shuffled_batches(n_videos: int, batch_videos: int, random: torch.Generator, *, least: int = 1) -> list[list[int]]:
    """Every video once, in the batches of an epoch.

    Args:
        n_videos: Of the training part.
        batch_videos: Videos per batch; the last one may be smaller.
        random: Where the order comes from.
        least: Fewest videos of a batch; the last one joins the one before it where it has fewer.

    Returns:
        The videos' positions, 0 to n_videos - 1, batch by batch.
    """
    batches = in_batches(torch.randperm(n_videos, generator=random).tolist(), batch_videos)
    if len(batches) > 1 and len(batches[-1]) < least:
        batches[-2:] = [batches[-2] + batches[-1]]
    return batches


def video_names(data: QualityData, group: Sequence[int]) -> str:
    """The names of a batch's videos for a message, such as `videos: a.mp4, b.mp4`."""
    return "videos: " + ", ".join(data.train.clips.ids[index] for index in group)


def train_epoch(training: Training, data: QualityData, epoch: int) -> dict[str, float]:
    """One pass over the training part.

    Args:
        training: Trained in place.
        data: Only the training part is read.
        epoch: 0 for the first.

    Returns:
        `train/loss` and the terms of the method, such as `train/mae`, means over the videos, and the `learning_rate`
        of the last step.

    Raises:
        NonFiniteError: A loss or a gradient is NaN or infinite; the message names the step and its videos.
        DatasetError: A batch is too small for the network's batch normalisation.
    """
    settings, device = training.settings, training.device
    random = epoch_generator(settings.seed, epoch)
    n_videos = len(data.train_mos)
    groups = shuffled_batches(n_videos, settings.batch_videos, random, least=training.method.least_batch)
    flips = torch.rand(n_videos, generator=random) < 0.5
    # A process without a video in a small last batch takes one along, which counts neither in loss nor in statistics.
    shares = [training.processes.share(group) or group[:1] for group in groups]
    batches = data.train.batches(shares, seed=epoch_seed(settings.seed, epoch))
    factor = partial(
        training.method.rate_factor,
        epochs=settings.epochs,
        steps_per_epoch=len(groups),
        warmup_fraction=settings.warmup_fraction,
    )
    schedule = schedule_rates(training.optimizer, factor, done=epoch * len(groups))
    totals: dict[str, float] = {}
    training.model.train()
    bar = progress(batches, desc=f"epoch {epoch + 1}/{settings.epochs}", unit="step", leave=False)
    for number, ((samples, indices), group) in enumerate(zip(bar, groups, strict=True)):
        samples, mos = samples.to(device, non_blocking=True), data.train_mos[group].to(device)
        if settings.flip and training.method.mirrors:
            samples = mirror_clips(samples, flips[indices])
        rate = float(max(schedule.get_last_lr()))
        try:
            loss, terms = train_step(training, samples, mos, data.labels)
        except NonFiniteError as error:
            raise NonFiniteError(f"epoch {epoch + 1}, step {number + 1}: {error}; {video_names(data, group)}") from None
        except ValueError as error:
            if ONE_VALUE not in str(error):
                raise
            raise DatasetError(
                f"epoch {epoch + 1}, step {number + 1}: a batch normalisation of the network has one value a channel "
                f"and needs more: {len(group)} video, a sample of {tuple(samples.shape[1:])}; another "
                "train.batch_videos, more decode.frames, larger frames or a network without it helps"
            ) from None
        if training.mean is not None:
            training.mean.update(training.network, step=epoch * len(groups) + number + 1)
        schedule.step()
        sums = {"loss": loss * len(mos)} | {name: each.sum() for name, each in terms.items()}
        for name, value in zip(sums, torch.stack([*sums.values()]).tolist(), strict=True):
            totals[name] = totals.get(name, 0.0) + value
        bar.set_postfix(loss=f"{loss.item():.4f}")
    return {f"train/{name}": total / n_videos for name, total in totals.items()} | {"learning_rate": rate}


@torch.inference_mode()
def validate(training: Training, data: QualityData) -> dict[str, float]:
    """Measure the network on the validation part.

    In float32 whatever train.precision is: the scores are those that the predict stage gives.

    Args:
        training: Its kept network is set to evaluation mode.
        data: Only the validation part is read.

    Returns:
        `val/srocc`, `val/plcc` and their mean `val/selection`; -1 while the predictions are still constant.

    Raises:
        NonFiniteError: A score is NaN or infinite.
    """
    network = training.kept.eval()
    own = training.processes.share(range(len(data.val_mos)))
    scores = torch.zeros(len(data.val_mos), device=training.device)
    for samples, indices in data.val.batches(in_batches(own, data.val_batch_videos)):
        scores[indices.to(scores.device)] = training.method.scores(network(samples.to(scores.device)))
    # Each process filled in its own videos and left zeros for the others.
    scores = training.processes.summed(scores).cpu()
    if n_broken := int((~scores.isfinite()).sum()):
        raise NonFiniteError(f"{n_broken} of {len(scores)} validation scores are not finite")
    correlations = {"val/srocc": -1.0, "val/plcc": -1.0}
    if scores.max() - scores.min() > ROUNDING:
        correlations = {"val/srocc": srocc(scores, data.val_mos), "val/plcc": plcc(scores, data.val_mos)}
    return correlations | {"val/selection": sum(correlations.values()) / 2}


@torch.inference_mode()
def last_step(training: Training, data: QualityData, epoch: int) -> str:
    """For an error's message: the videos of an epoch's last step, and their terms at the weights that it left."""
    settings = training.settings
    random, least = epoch_generator(settings.seed, epoch), training.method.least_batch
    group = shuffled_batches(len(data.train_mos), settings.batch_videos, random, least=least)[-1]
    ((samples, _),) = data.train.batches([group], seed=epoch_seed(settings.seed, epoch))
    output = training.network.eval()(samples.to(training.device))
    terms = training.method.terms(output, data.train_mos[group].to(output.device), data.labels)
    return f"{terms_text(terms)}; {ADVICE}; {video_names(data, group)}"


def fit(training: Training, data: QualityData, *, state: TrainingState, curves: Path) -> dict[str, Any]:
    """Train to the last epoch, from where `state` left off.

    The first process writes curves and state; what it returns is what counts.

    Args:
        training: Trained in place.
        data: Training and validation part.
        state: Where the training is kept after every epoch.
        curves: Folder for the curves of all epochs.

    Returns:
        The record of the best epoch by `val/selection`, with `epoch` (1 for the first) and `weights`; without
        `weights` when no epoch gave predictions that differ.

    Raises:
        NonFiniteError: A loss, a gradient or a score is NaN or infinite, or float16 overflowed in every step.
        DatasetError: A batch is too small for the network's batch normalisation.
    """
    settings, first = training.settings, training.processes.is_first
    history: list[dict[str, float]] = []
    # An epoch of constant predictions has -1, and is no best one.
    best: dict[str, Any] = {"val/selection": -1.0}
    if (saved := state.resume("train", epochs=settings.epochs)) is not None:
        history, best = saved["history"], saved["best"]
        if saved["epochs_done"] < settings.epochs:
            training.restore(saved)
    writer = Live(str(curves), dvcyaml=None, report=None, save_dvc_exp=False) if first else contextlib.nullcontext()
    with writer as live:
        for record in history:
            log_epoch(live, record)
        for epoch in range(len(history), settings.epochs):
            record = train_epoch(training, data, epoch)
            try:
                record |= validate(training, data)
            except NonFiniteError as error:
                raise NonFiniteError(
                    f"epoch {epoch + 1}: {error}; the weights broke in its last step, after which it has "
                    f"{last_step(training, data, epoch)}"
                ) from None
            history.append(record)
            log_epoch(live, record)
            print_epoch(epoch, record, settings)
            if record["val/selection"] > best["val/selection"]:
                weights = {name: tensor.cpu().clone() for name, tensor in training.kept.state_dict().items()}
                best = record | {"epoch": epoch + 1, "weights": weights}
            # AdamW holds nothing before its first step, and float16 skips a step whose gradient overflows.
            if epoch + 1 == settings.epochs and not training.optimizer.state:
                raise NonFiniteError(f"float16 overflowed in every step of the training: nothing was learnt; {ADVICE}")
            # A finished training needs nothing but its history and its best epoch any more.
            current = training.state() if epoch + 1 < settings.epochs else {}
            if first:
                state.save(**current, history=history, best=best, epochs_done=len(history))
    return best


def log_epoch(live: Live | None, record: Mapping[str, float]) -> None:
    """Write an epoch's numbers to the curves; processes beside the first have none."""
    if live is not None:
        for name, value in record.items():
            live.log_metric(name, value, timestamp=False)
        live.next_step()


def print_epoch(epoch: int, record: Mapping[str, float], params: TrainParams) -> None:
    """Print an epoch's line."""
    print(
        f"epoch {epoch + 1:>{len(str(params.epochs))}}/{params.epochs}  loss {record['train/loss']:.4f}  "
        f"val SROCC {record['val/srocc']:.4f}  PLCC {record['val/plcc']:.4f}",
        flush=True,
    )
