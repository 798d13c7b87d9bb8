"""detector: trains Faster R-CNN on COCO-format boxes (a folder), imports weights (a file), or takes over boxes.

Phases of a training: read, build, fit, validate, save. The weights after the last epoch are kept: the held-out images
select nothing. The state after every epoch lies in `.cache/detector`, named by all that training depends on: a killed
training goes on there, and when only detecting has changed since, nothing is trained again.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch

from models.detectors.average_precision import average_precision
from models.detectors.build import build_detector
from models.detectors.config import BoxRules, DetectionRules, FasterRcnnConfig, TorchvisionNetwork
from models.detectors.faster_rcnn import FasterRcnn
from models.detectors.interface import Detections
from models.detectors.recall import count_covered
from models.detectors.top_boxes import top_boxes
from stages.datasets.boxes import read_boxes
from stages.datasets.coco import ObjectImage, ObjectSet, merge_classes, read_coco, stop_on
from stages.engine.cache import cache_root
from stages.engine.command import run, stage_arguments
from stages.engine.device import make_deterministic, pick_device, surroundings
from stages.engine.fingerprint import fingerprint
from stages.engine.progress import progress
from stages.engine.unneeded import leave_weights_empty
from stages.errors import DatasetError
from stages.io.digests import digest, file_sha256, hash_files, library_versions
from stages.io.json import write_json
from stages.io.weights import check_sha256
from stages.params.load import load_params
from stages.params.schema import DetectorParams, Params
from stages.steps.detectors import (
    describe_config,
    import_detectron,
    import_torchvision,
    libraries_of,
    load_pretrained,
    read_pretrained,
    save_boxes,
    save_detector,
    trace_source,
)
from stages.training.detector import fit
from stages.training.state import TrainingState

RECALL_IOU = 0.5
# Of `detector.training` what changes no weights: what is measured afterwards, and the name of the file to start from,
# whose content counts.
NOT_TRAINED = {"recall_boxes", "pretrained"}
NOTHING_MEASURED = {"imported": 1, "n_images": 0, "n_boxes": 0}


class ObjectSets(NamedTuple):
    """The two parts of the source folder; `val` takes no part in training."""

    train: ObjectSet
    val: ObjectSet


def read(source: Path, *, merge: bool) -> ObjectSets:
    """`train.json` and `val.json` with `images/`, as one class if wanted; raise DatasetError when categories differ."""
    data = ObjectSets(*(read_coco(source / f"{part}.json", source / "images") for part in ObjectSets._fields))
    if not merge and data.train.classes != data.val.classes:
        raise DatasetError(
            f"{source}: the categories of train.json ({', '.join(data.train.classes)}) and of val.json "
            f"({', '.join(data.val.classes)}) differ"
        )
    return ObjectSets(*map(merge_classes, data)) if merge else data


def build(params: DetectorParams, *, n_classes: int) -> FasterRcnn:
    """The network on the CPU, from scratch by seed or from a file; raise DetectorError for an unusable backbone."""
    own = dict(params.torchvision) | params.values_of(BoxRules)
    pretrained, seed = params.training.pretrained, params.training.seed
    if pretrained is None:
        return build_detector(FasterRcnnConfig(n_classes=n_classes, **own), seed=seed)
    state, frozen_norms = read_pretrained(pretrained, architecture=params.torchvision.architecture)
    detector = build_detector(FasterRcnnConfig(n_classes=n_classes, frozen_norms=frozen_norms, **own), seed=seed)
    load_pretrained(detector, state, pretrained)
    return detector


def validate(detector: FasterRcnn, data: ObjectSet, params: DetectorParams, *, batch_frames: int) -> dict[str, float]:
    """Recall of the best boxes, how many there are an image, and COCO's average precision of all boxes."""
    covered, proposed = 0, 0
    everything: list[Detections] = []
    starts = range(0, len(data.images), batch_frames)
    for start in progress(starts, desc="detector recall", unit="batch", leave=False):
        images = data.images[start : start + batch_frames]
        everything += detector.detect([image.read() for image in images])
    objects = [torch.from_numpy(image.boxes_xyxy_px) for image in data.images]
    for boxes, found in zip(objects, everything, strict=True):
        best = top_boxes(
            found, top_n=params.training.recall_boxes, score_threshold=params.min_score, nms_iou=params.nms_iou
        )
        covered += count_covered(best.boxes_xyxy_px, boxes, iou=RECALL_IOU)
        proposed += len(best.scores)
    labels = [torch.from_numpy(image.labels) for image in data.images]
    crowds = [(torch.from_numpy(image.crowds_xyxy_px), torch.from_numpy(image.crowd_labels)) for image in data.images]
    return average_precision(everything, objects, labels, n_classes=len(data.classes), crowds=crowds) | {
        "recall_at_n": covered / data.n_boxes,
        "n": params.training.recall_boxes,
        "iou": RECALL_IOU,
        "n_images": len(data.images),
        "n_boxes": data.n_boxes,
        "mean_proposals": proposed / len(data.images),
    }


def check_images(data: ObjectSets, *, workers: int) -> None:
    """Raise DatasetError with all images of both parts that are none, or of another size: before hours of training."""

    def problem(image: ObjectImage) -> str | None:
        try:
            image.read()
        except DatasetError as error:
            return str(error)
        return None

    for part, objects in zip(ObjectSets._fields, data, strict=True):
        with ThreadPoolExecutor(workers) as threads:
            stop_on([text for text in threads.map(problem, objects.images) if text], Path(f"{part}.json"))
        if objects.n_crowds:
            print(f"detector: {objects.n_crowds} regions of crowds in {part}.json are no objects to learn or to find")
        if objects.n_left_out:
            print(f"detector: {objects.n_left_out} annotations in {part}.json have no box with an area: left out")


def imported_from(origin: dict[str, Any], libraries: dict[str, str]) -> dict[str, Any]:
    """What the file of an import depends on beside its configuration, which stands in it: no param of a training."""
    return {"code": fingerprint("stages.detector"), "libraries": libraries, "source": origin}


def train(params: Params, *, source: Path, weights: Path, metrics: Path) -> None:
    """Train on a folder; write the weights, and what the held-out images measure."""
    settings, training = params.detector, params.detector.training
    if settings.backend != "torchvision" or settings.sha256 is not None:
        key = "backend" if settings.backend != "torchvision" else "sha256"
        raise DatasetError(
            f"{source} is a folder to train on, detector.{key} = {getattr(settings, key)} is for a weights file; "
            "allowed with a folder: backend torchvision, sha256 null"
        )
    data = read(source, merge=training.merge_classes)
    detector = build(settings, n_classes=len(data.train.classes))
    libraries = libraries_of(*describe_config(detector)) | library_versions("opencv-python-headless")
    sections = {
        # Neither how objects are looked for afterwards nor where the data lie changes the training.
        "network": detector.config.model_dump(exclude=set(BoxRules.model_fields)),
        "training": training.model_dump(exclude=NOT_TRAINED),
    }
    trained: dict[str, Any] = {"code": fingerprint("stages.detector"), "params": sections, "libraries": libraries}
    if training.pretrained is not None:
        trained |= {"pretrained": file_sha256(training.pretrained)}
    made = trained | {"params": sections | {"source": settings.source} | settings.values_of(BoxRules)}
    device, folder = pick_device(params.engine.device), cache_root() / "detector"
    around = surroundings(device, threads=params.engine.n_threads)
    workers = params.engine.n_workers
    contents = {
        part: hash_files([source / f"{part}.json", *(image.path for image in objects.images)], workers=workers)
        for part, objects in data._asdict().items()
    }
    key = digest(trained, around, contents["train"])
    state = TrainingState(folder / f"{key}.pt")
    measures = digest(
        key, settings.values_of(BoxRules), training.recall_boxes, params.engine.batch_frames, contents["val"]
    )
    measured = TrainingState(folder / f"{measures}.validation.pt")
    if (results := measured.load()) is None:
        # What was measured was checked then: the keys hold the contents of all images.
        check_images(data, workers=workers)
    detector = detector.to(device)
    loss = fit(detector, data.train, training, state=state)
    if results is None:
        results = validate(detector, data.val, settings, batch_frames=params.engine.batch_frames)
        measured.save(**results)
    save_detector(weights, detector, classes=data.train.classes, made_by={"detector": made})
    write_json(metrics, results | {"imported": 0, "train_loss": loss})
    print(
        f"detector: {results['recall_at_n']:.1%} of {data.val.n_boxes} objects in {len(data.val.images)} held-out "
        f"images are among the best {training.recall_boxes} boxes (IoU {RECALL_IOU:g}); COCO AP {results['ap']:.3f}"
    )


def import_weights(params: Params, *, source: Path, weights: Path, metrics: Path) -> None:
    """Import a weights file; nothing is known of its recall, and the metrics say so by having none."""
    settings = params.detector
    rules = settings.values_of(BoxRules)
    origin = trace_source(source, sha256=check_sha256(source, settings.sha256), licence=settings.licence)
    if settings.backend == "detectron2":
        detector, classes = import_detectron(source, **dict(settings.detectron2), **rules)
    else:
        own = settings.torchvision.values_of(TorchvisionNetwork)
        detector, classes = import_torchvision(source, **own, **rules)
    backend, config = describe_config(detector)
    made = imported_from(origin, libraries_of(backend, config))
    save_detector(weights, detector, classes=classes, made_by={"detector": made})
    write_json(metrics, NOTHING_MEASURED)
    name = config["config"] if backend == "detectron2" else config["architecture"]
    count = f"{config['n_classes']} classes" if config["n_classes"] else "classes as its config says"
    print(f"detector: imported {source} ({backend}, {name}, {count}); recall was not measured")


def take_over_boxes(params: Params, *, source: Path, weights: Path, metrics: Path) -> None:
    """Put boxes that were found elsewhere in a detector's place."""
    settings = params.detector
    if source.is_dir() and settings.sha256 is not None:
        raise DatasetError(f"{source} is a folder, detector.sha256 is for a file; allowed with a folder: sha256 null")
    files = sorted(source.rglob("*.txt")) if source.is_dir() else [source]
    names = {file.relative_to(source).as_posix() if source.is_dir() else file.name: file for file in files}
    if source.is_dir():
        found = digest({name: file_sha256(file) for name, file in names.items()})
    else:
        found = check_sha256(source, settings.sha256)
    table = read_boxes(source, DetectionRules(**settings.values_of(BoxRules)))
    origin = {"name": source.name, "sha256": found, "licence": settings.licence}
    save_boxes(weights, table, made_by={"detector": imported_from(origin, libraries_of("table", {}))})
    write_json(metrics, NOTHING_MEASURED)
    print(f"detector: took over {len(table.scores)} boxes of {len(table.videos)} videos from {source}")


def detector(params: Params, *, source: Path, weights: Path, metrics: Path) -> None:
    """Train Faster R-CNN on a folder of boxes, import weights, or take over precomputed boxes.

    Args:
        params: The checked params.
        source: Folder to train on, weights file, or boxes.
        weights: Weights to write (safetensors).
        metrics: Metrics to write (JSON).

    Raises:
        DatasetError: The source is missing, or cannot be trained on.
        TableError: The boxes cannot be read.
        WeightsError: The weights are damaged or of another network.
        DetectorError: The network cannot be built.
        NonFiniteError: The loss is not finite.
    """
    if not params.reads_crops:
        leave_weights_empty("detector", weights=weights, metrics=metrics, method=params.method)
        return
    make_deterministic(threads=params.engine.n_threads)
    if not source.exists():
        raise DatasetError(
            f"{source}: no such folder of object boxes (train.json, val.json, images/) or weights file; "
            "`make weights` fetches the files that the params name"
        )
    bring = train if source.is_dir() else import_weights
    phase = take_over_boxes if params.detector.backend == "table" else bring
    phase(params, source=source, weights=weights, metrics=metrics)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage.

    Args:
        argv: The words after `python -m stages.detector`; None: those of the process.
    """
    arguments = stage_arguments(detector, argv)
    detector(load_params(), **arguments)


if __name__ == "__main__":
    run(main)
