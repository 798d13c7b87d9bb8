"""train: the quality model with FCL and FGM; the epoch with the best (SROCC + PLCC) / 2 on the validation part is kept.

Phases: gather, build, fit, save. The state after every epoch lies in `.cache/train`, named by all that the result
depends on: a killed training goes on there and gives the weights that an unbroken one gives.
"""

import argparse
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from dvclive import Live
from torch import Tensor

from models.errors import NonFiniteError
from models.fgm import fgm_backward
from models.losses import bce_loss, frame_consistency_loss, frame_scores, mae_loss, video_terms
from models.metrics import UndefinedMetricError, plcc, srocc
from models.quality import QualityConfig, QualityNet, build_quality, load_backbone, video_score
from models.training import parameter_groups, warmup_cosine
from stages.command import run
from stages.errors import DatasetError, EvaluationError
from stages.io.dataset import ClipDataset, ClipLoader, ClipSource
from stages.io.items import cache_root, digest, library_versions
from stages.io.state import TrainingState
from stages.io.tables import CROPS, FRAMES, Shards, read_labels
from stages.io.weights import read_checkpoint, save_weights
from stages.params import load_params
from stages.progress import progress
from stages.runtime import LIBRARIES, make_deterministic, pick_device
from stages.sections import Params, TrainParams

VERSION = 1
MIN_VIDEOS = 3


@dataclasses.dataclass(frozen=True)
class Data:
    """The training and validation parts: crops, and MOS (N,) on 0-100 in the order of the crops' ids.

    sigma: standard deviation of the training MOS, the width of the target density.
    """

    train: ClipLoader
    train_mos: Tensor
    val: ClipLoader
    val_mos: Tensor
    sigma: float


def gather(params: Params, labels: pd.DataFrame, frames: Shards, crops: Shards) -> Data:
    """Crops and MOS of the videos that can be used; raise DatasetError when a part cannot be trained or selected on."""
    n_frames = crops.made_by["decode"]["params"]["frames"]
    source = ClipSource(frames, crops, params.train.input_px, n_frames)
    # Validation has no backward pass: as many frames at once as any other scoring.
    batch_videos = {"train": params.train.batch_videos, "val": max(1, params.engine.batch_frames // n_frames)}
    parts = {}
    for part in ("train", "val"):
        rows = labels[(labels["part"] == part) & labels["video_id"].isin(crops.ids)].sort_values("video_id")
        if len(rows) < MIN_VIDEOS:
            raise DatasetError(f"the part {part} has {len(rows)} usable videos; at least {MIN_VIDEOS} are needed")
        if rows["mos"].nunique() == 1:
            raise DatasetError(
                f"all MOS of the part {part} are {rows['mos'].iloc[0]:g}; nothing can be learned from it"
            )
        clips = ClipDataset(source, rows["video_id"].tolist(), cache_gib=params.engine.cache_gib)
        loader = ClipLoader(clips, batch_videos=batch_videos[part], workers=params.engine.n_workers)
        parts[part] = (loader, torch.tensor(rows["mos"].to_numpy(), dtype=torch.float32))
    return Data(*parts["train"], *parts["val"], sigma=float(parts["train"][1].std(correction=0)))


def build(params: TrainParams) -> QualityNet:
    """The network on the CPU, from scratch by seed or with the backbone's weights from a file."""
    config = QualityConfig(params.backbone, params.pooling, params.dropout, params.input_px)
    network = build_quality(config, seed=params.seed)
    if params.pretrained:
        load_backbone(network, read_checkpoint(params.pretrained))
    return network


def loss_of(logits: Tensor, mos: Tensor, sigma: float, params: TrainParams) -> Tensor:
    if params.loss == "mae":
        return mae_loss(logits, mos)
    if params.loss == "bce":
        return bce_loss(logits, mos, sigma)
    return frame_consistency_loss(logits, mos, sigma, reduction=params.fcl.reduction)


def train_epoch(
    network: QualityNet, optimizer: torch.optim.Optimizer, data: Data, params: Params, epoch: int
) -> dict[str, float]:
    """One pass over the training part; returns the means of loss, MAE and BCE over its videos."""
    settings, device = params.train, next(network.parameters()).device
    random = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    n_videos = len(data.train_mos)
    batches = data.train.batches(torch.randperm(n_videos, generator=random).tolist())
    flips = torch.rand(n_videos, generator=random) < 0.5
    totals = torch.zeros(3, dtype=torch.float64)
    network.train()
    bar = progress(batches, desc=f"epoch {epoch + 1}/{settings.epochs}", unit="step", leave=False)
    for step, (crops, indices) in enumerate(bar):
        crops, mos = crops.to(device, non_blocking=True), data.train_mos[indices].to(device)
        if settings.flip:
            mirrored = flips[indices].to(device).view(-1, 1, 1, 1, 1)
            crops = torch.where(mirrored, crops.flip(-1), crops)
        done: list[Tensor] = []

        def forward(crops: Tensor = crops, mos: Tensor = mos, done: list[Tensor] = done) -> Tensor:
            logits = network(crops)
            done.append(logits.detach())
            return loss_of(logits, mos, data.sigma, settings)

        rate = warmup_cosine(
            epoch * len(batches) + step,
            steps=settings.epochs * len(batches),
            peak=settings.learning_rate,
            warmup_fraction=settings.warmup_fraction,
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss = fgm_backward(network, forward, settings.fgm.epsilon)
        terms = video_terms(done[0], mos, data.sigma)
        if not torch.isfinite(loss):
            names = ", ".join(data.train.clips.ids[index] for index in indices.tolist())
            raise NonFiniteError(
                f"the loss is {loss.item()} in epoch {epoch + 1}, step {step + 1}: MAE {terms.mae.tolist()}, "
                f"BCE {terms.bce.tolist()}; videos: {names}; a lower train.learning_rate or train.fgm.epsilon may help"
            )
        optimizer.step()
        totals += torch.stack([loss * len(mos), terms.mae.sum(), terms.bce.sum()]).double().cpu()
        bar.set_postfix(loss=f"{loss.item():.4f}")
    means = (totals / n_videos).tolist()
    return dict(zip(("train/loss", "train/mae", "train/bce"), means, strict=True)) | {"learning_rate": rate}


@torch.inference_mode()
def validate(network: QualityNet, data: Data) -> dict[str, float]:
    """SROCC, PLCC and their mean on the validation part; -1 while the predictions are still constant."""
    device = next(network.parameters()).device
    network.eval()
    batches = data.val.batches(range(len(data.val_mos)))
    scores = torch.cat([video_score(frame_scores(network(crops.to(device)))).score.cpu() for crops, _ in batches])
    try:
        correlations = {"val/srocc": srocc(scores, data.val_mos), "val/plcc": plcc(scores, data.val_mos)}
    except UndefinedMetricError:
        correlations = {"val/srocc": -1.0, "val/plcc": -1.0}
    return correlations | {"val/selection": sum(correlations.values()) / 2}


def fit(network: QualityNet, data: Data, params: Params, *, state: TrainingState, log: Path) -> dict[str, Any]:
    """Train to the last epoch, from where `state` left off; returns the best epoch's record with its `weights`."""
    optimizer = torch.optim.AdamW(
        parameter_groups(network, params.train.weight_decay), lr=params.train.learning_rate, foreach=True
    )
    history: list[dict[str, float]] = []
    best: dict[str, Any] = {"val/selection": -math.inf}
    if (saved := state.load()) is not None:
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        history, best = saved["history"], saved["best"]
        torch.set_rng_state(saved["random"])
        print(f"train: goes on after epoch {len(history)} of {params.train.epochs}")
    with Live(str(log), dvcyaml=None, report=None, save_dvc_exp=False) as live:
        for record in history:
            log_epoch(live, record)
        for epoch in range(len(history), params.train.epochs):
            record = train_epoch(network, optimizer, data, params, epoch)
            record |= validate(network, data)
            history.append(record)
            log_epoch(live, record)
            print_epoch(epoch, record, params.train)
            if record["val/selection"] > best["val/selection"]:
                weights = {name: tensor.cpu().clone() for name, tensor in network.state_dict().items()}
                best = record | {"epoch": epoch + 1, "weights": weights}
            state.save(
                network=network.state_dict(),
                optimizer=optimizer.state_dict(),
                history=history,
                best=best,
                random=torch.get_rng_state(),
            )
    return best


def log_epoch(live: Live, record: Mapping[str, float]) -> None:
    for name, value in record.items():
        live.log_metric(name, value, timestamp=False)
    live.next_step()


def print_epoch(epoch: int, record: Mapping[str, float], params: TrainParams) -> None:
    print(
        f"epoch {epoch + 1:>{len(str(params.epochs))}}/{params.epochs}  loss {record['train/loss']:.4f}  "
        f"val SROCC {record['val/srocc']:.4f}  PLCC {record['val/plcc']:.4f}",
        flush=True,
    )


def train(params: Params, *, manifest: Path, split: Path, frames: Path, crops: Path, weights: Path, log: Path) -> None:
    """Write the weights of the best epoch, with everything that scoring needs in their metadata."""
    make_deterministic(threads=params.engine.n_threads)
    labels = read_labels(manifest, split)
    frames_table, crops_table = Shards(frames, schema=FRAMES), Shards(crops, schema=CROPS)
    data = gather(params, labels, frames_table, crops_table)
    network = build(params.train).to(pick_device(params.engine.device))
    torch.manual_seed(params.train.seed)

    settings = params.train.model_dump()
    made = {"version": VERSION, "params": settings, "libraries": library_versions(*LIBRARIES)}
    used = [[(name, crops_table.keys[name]) for name in loader.clips.ids] for loader in (data.train, data.val)]
    key = digest(made, used, data.train_mos.tolist(), data.val_mos.tolist())
    state = TrainingState(cache_root() / "train" / f"{key}.pt")
    best = fit(network, data, params, state=state, log=log)
    if "weights" not in best:
        raise EvaluationError("no epoch gave predictions that a correlation with the MOS can be computed from")
    config = {
        "network": dataclasses.asdict(
            QualityConfig(params.train.backbone, params.train.pooling, params.train.dropout, params.train.input_px)
        ),
        "made_by": crops_table.made_by | {"train": made},
        "sigma": data.sigma,
        "best": {name: value for name, value in best.items() if name != "weights"},
    }
    save_weights(weights, best["weights"], config)
    state.remove()
    print(
        f"train: epoch {best['epoch']} of {params.train.epochs} kept, validation SROCC {best['val/srocc']:.4f}, "
        f"PLCC {best['val/plcc']:.4f}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--frames", type=Path, required=True)
    parser.add_argument("--crops", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="safetensors to write")
    parser.add_argument("--log", type=Path, required=True, help="folder for the training curves")
    arguments = parser.parse_args(argv)
    train(load_params(), **vars(arguments))


if __name__ == "__main__":
    run(main)
