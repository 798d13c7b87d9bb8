"""detector: trains Faster R-CNN on COCO-format boxes (a folder), or imports weights (a file).

Phases: read, build, fit, validate, save. The weights after the last epoch are kept: the held-out images select nothing.
The state after every epoch lies in `.cache/detector`, named by all that the result depends on: a killed training goes
on there.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from models.detectors import build_detector
from models.detectors.faster_rcnn import FasterRcnn, FasterRcnnConfig
from models.detectors.recall import count_covered
from models.detectors.top_boxes import top_boxes
from models.errors import NonFiniteError
from models.training import warmup_cosine
from stages.command import run
from stages.datasets.coco import ObjectSet, merge_classes, read_coco
from stages.datasets.object_batches import ObjectBatches
from stages.errors import DatasetError
from stages.io.detectors import import_detector, save_detector
from stages.io.files import file_sha256, write_json
from stages.io.items import cache_root, digest, library_versions
from stages.io.state import TrainingState
from stages.params import load_params
from stages.progress import progress
from stages.runtime import LIBRARIES, make_deterministic, pick_device
from stages.sections import DetectorParams, Params

VERSION = 1
RECALL_IOU = 0.5
MAX_GRADIENT_NORM = 10.0


class Data(NamedTuple):
    """The two parts of the source folder; `val` takes no part in training."""

    train: ObjectSet
    val: ObjectSet


def read(source: Path, *, merge: bool) -> Data:
    """`train.json` and `val.json` with `images/`, as one class if wanted; raise DatasetError when categories differ."""
    data = Data(*(read_coco(source / f"{part}.json", source / "images") for part in Data._fields))
    if data.train.classes != data.val.classes:
        raise DatasetError(
            f"{source}: the categories of train.json ({', '.join(data.train.classes)}) and of val.json "
            f"({', '.join(data.val.classes)}) differ"
        )
    return Data(*map(merge_classes, data)) if merge else data


def build(params: DetectorParams, *, n_classes: int) -> FasterRcnn:
    """The network on the CPU, from scratch by seed; raise DetectorError for a backbone that cannot be used."""
    names = ("backbone", "stride_px", "levels", "anchor_px", "fpn_channels", "head_channels")
    own = {name: getattr(params, name) for name in names}
    config = FasterRcnnConfig(params.architecture, n_classes, **common_settings(params), **own)
    return build_detector(config, seed=params.seed)


def common_settings(params: DetectorParams) -> dict[str, Any]:
    """What a network of any architecture takes from the params."""
    return {name: getattr(params, name) for name in ("min_size_px", "max_size_px", "min_score", "nms_iou")}


def train_epoch(
    detector: FasterRcnn,
    optimizer: torch.optim.Optimizer,
    batches: ObjectBatches,
    params: DetectorParams,
    *,
    epoch: int,
) -> float:
    """One pass over the training images; returns the mean loss of its steps."""
    total, steps = 0.0, len(batches)
    title = f"detector epoch {epoch + 1}/{params.epochs}"
    bar = progress(batches.epoch(epoch), desc=title, unit="step", total=steps, leave=False)
    for step, batch in enumerate(bar):
        rate = warmup_cosine(
            epoch * steps + step,
            steps=params.epochs * steps,
            peak=params.learning_rate,
            warmup_fraction=params.warmup_fraction,
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        terms = detector.losses(batch.frames, batch.boxes_xyxy_px, batch.labels)
        loss = torch.stack([*terms.values()]).sum()
        value = loss.item()
        if not math.isfinite(value):
            shown = ", ".join(f"{name} {term.item():g}" for name, term in terms.items())
            raise NonFiniteError(
                f"the loss is {value} in epoch {epoch + 1}, step {step + 1}: {shown}; images: "
                f"{', '.join(batch.names)}; a lower detector.learning_rate may help"
            )
        loss.backward()
        nn.utils.clip_grad_norm_(detector.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        total += value
        bar.set_postfix(loss=f"{value:.3f}")
    return total / steps


def fit(detector: FasterRcnn, data: ObjectSet, params: DetectorParams, *, state: TrainingState) -> float:
    """Train to the last epoch, from where `state` left off; returns the mean loss of the last epoch."""
    batches = ObjectBatches(data.images, params.batch_images, params.flip, params.color_jitter, params.seed)
    optimizer = torch.optim.AdamW(
        detector.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay, foreach=True
    )
    losses: list[float] = []
    if (saved := state.load()) is not None:
        detector.network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        losses = saved["losses"]
        print(f"detector: goes on after epoch {len(losses)} of {params.epochs}")
    for epoch in range(len(losses), params.epochs):
        with torch.random.fork_rng():
            # torchvision draws the boxes of the loss from the global generators.
            torch.manual_seed(params.seed * 1_000_003 + epoch)
            losses.append(train_epoch(detector, optimizer, batches, params, epoch=epoch))
        print(f"epoch {epoch + 1:>{len(str(params.epochs))}}/{params.epochs}  loss {losses[-1]:.4f}", flush=True)
        state.save(network=detector.network.state_dict(), optimizer=optimizer.state_dict(), losses=losses)
    return losses[-1]


def validate(detector: FasterRcnn, data: ObjectSet, params: DetectorParams, *, batch_frames: int) -> dict[str, float]:
    """Recall of the best boxes, and how many there are an image."""
    covered, proposed = 0, 0
    starts = range(0, len(data.images), batch_frames)
    for start in progress(starts, desc="detector recall", unit="batch", leave=False):
        images = data.images[start : start + batch_frames]
        for image, found in zip(images, detector.detect([image.read() for image in images]), strict=True):
            best = top_boxes(found, top_n=params.recall_boxes, score_threshold=params.min_score, nms_iou=params.nms_iou)
            objects = torch.from_numpy(image.boxes_xyxy_px)
            covered += count_covered(best.boxes_xyxy_px, objects, iou=RECALL_IOU)
            proposed += len(best.scores)
    return {
        "recall_at_n": covered / data.n_boxes,
        "n": params.recall_boxes,
        "iou": RECALL_IOU,
        "n_images": len(data.images),
        "n_boxes": data.n_boxes,
        "mean_proposals": proposed / len(data.images),
    }


def train(params: Params, *, source: Path, weights: Path, metrics: Path, made: dict[str, Any]) -> None:
    settings = params.detector
    data = read(source, merge=settings.merge_classes)
    # Pixels are not hashed: a training set can be large, and the state outlives a killed run only.
    files = [(image.path.name, image.path.stat().st_size, image.path.stat().st_mtime_ns) for image in data.train.images]
    key = digest(made, file_sha256(source / "train.json"), files)
    state = TrainingState(cache_root() / "detector" / f"{key}.pt")
    detector = build(settings, n_classes=len(data.train.classes)).to(pick_device(params.engine.device))
    loss = fit(detector, data.train, settings, state=state)
    results = validate(detector, data.val, settings, batch_frames=params.engine.batch_frames)
    save_detector(weights, detector, classes=data.train.classes, made_by={"detector": made})
    write_json(metrics, results | {"imported": 0, "train_loss": loss})
    state.remove()
    print(
        f"detector: {results['recall_at_n']:.1%} of {data.val.n_boxes} objects in {len(data.val.images)} held-out "
        f"images are among the best {settings.recall_boxes} boxes (IoU {RECALL_IOU:g})"
    )


def take_over(params: Params, *, source: Path, weights: Path, metrics: Path, made: dict[str, Any]) -> None:
    """Import a weights file; nothing is known of its recall, and the metrics say so by having none."""
    settings = params.detector
    detector, classes = import_detector(source, architecture=settings.architecture, **common_settings(settings))
    made = made | {"source": file_sha256(source)}
    save_detector(weights, detector, classes=classes, made_by={"detector": made})
    write_json(metrics, {"imported": 1, "n_images": 0, "n_boxes": 0})
    config = detector.config
    print(f"detector: imported {source} ({config.architecture}, {config.n_classes} classes); recall was not measured")


def detect(params: Params, *, source: Path, weights: Path, metrics: Path) -> None:
    """Write weights and metrics. Raises DatasetError, WeightsError, DetectorError or NonFiniteError."""
    make_deterministic(threads=params.engine.n_threads)
    made = {
        "version": VERSION,
        "params": params.detector.model_dump(),
        "libraries": library_versions(*LIBRARIES),
    }
    if not source.exists():
        raise DatasetError(f"{source}: no such folder of object boxes (train.json, val.json, images/) or weights file")
    phase = train if source.is_dir() else take_over
    phase(params, source=source, weights=weights, metrics=metrics, made=made)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.detector", description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder to train on, or weights file to import")
    parser.add_argument("--weights", type=Path, required=True, help="safetensors to write")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON to write")
    arguments = parser.parse_args(argv)
    detect(load_params(), **vars(arguments))


if __name__ == "__main__":
    run(main)
