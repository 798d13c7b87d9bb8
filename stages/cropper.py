"""cropper: S²CNet, trained on crop scores in GAIC's format or imported from a public checkpoint.

A folder as source is trained on: gather, build, fit, save; the epoch with the best SRCC on the validation images is
kept, and the metrics are those of the test images. The state lies in `.cache/cropper`, named by all that the training
depends on: a killed training goes on there, and a finished one is not trained again. A file as source is a checkpoint:
the public release's, or one that this stage wrote.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from models.detectors.top_boxes import top_boxes
from models.s2cnet.config import S2CNetConfig
from models.s2cnet.features import load_backbone_state
from models.s2cnet.network import S2CNet, build_s2cnet, from_release
from models.s2cnet.release import RELEASE_MOS_MEAN, RELEASE_MOS_STD
from stages.datasets.gaic import ScoredImage, objects_path, read_gaic, read_objects, split_images
from stages.engine.cache import cache_root
from stages.engine.command import run, stage_arguments
from stages.engine.device import LIBRARIES, make_deterministic, pick_device, surroundings
from stages.engine.fingerprint import fingerprint
from stages.engine.progress import progress
from stages.engine.unneeded import leave_weights_empty
from stages.errors import DatasetError, ParamsError
from stages.io.digests import digest, file_sha256, hash_files, library_versions
from stages.io.json import write_json
from stages.io.weights import is_own_weights, read_checkpoint
from stages.params.load import load_params
from stages.params.schema import Params
from stages.steps.crops import load_cropper, save_cropper
from stages.steps.detectors import detector_values, load_detector
from stages.training.cropper import CropData, evaluate, fit
from stages.training.loaders.cropper import (
    FindObjects,
    gather_examples,
)
from stages.training.state import TrainingState


def object_finder(params: Params, detector: Path) -> FindObjects:
    """Where the objects of a batch of images come from, by `cropper.training.objects`. Raises WeightsError."""
    if params.cropper.training.objects == "files":
        return lambda images, frames: [read_objects(image, frame) for image, frame in zip(images, frames, strict=True)]
    network = load_detector(detector, pick_device(params.engine.device))
    rules = params.propose.rules()
    return lambda images, frames: [top_boxes(found, **rules).boxes_xyxy_px.numpy() for found in network.detect(frames)]


def gather(
    params: Params, source: Path, parts: Mapping[str, Sequence[ScoredImage]], find_objects: FindObjects
) -> CropData:
    """Everything in memory, at the network's size; raise DatasetError for data that cannot be trained on."""
    examples = {
        part: list(
            progress(
                gather_examples(images, find_objects, short_side_px=params.cropper.network.input_short_side_px),
                desc=f"objects, {part}",
                unit="image",
                total=len(images),
                leave=False,
            )
        )
        for part, images in parts.items()
    }
    mos = torch.cat([each.mos for each in examples["train"]]).double()
    if mos.max() == mos.min():
        raise DatasetError(f"{source}: all scores of the training images are {mos[0]:g}; nothing can be learned")
    return CropData(**examples, mos_mean=mos.mean().item(), mos_std=mos.std(correction=0).item())


def hash_images(images: Sequence[ScoredImage], *, workers: int) -> list[str]:
    """The contents of a part: of every image its pixels, its rated candidates, and the objects that lie beside it."""
    objects = [objects_path(image) for image in images]
    files = [path for image in images for path in (image.path, image.annotation)]
    return hash_files([*files, *(path for path in objects if path.is_file())], workers=workers)


def build(params: Params) -> S2CNet:
    """The network on the CPU, from scratch by seed or with the backbone's weights from a file."""
    settings = params.cropper
    config = S2CNetConfig(variant=settings.variant, objects=params.propose.top_n, **dict(settings.network))
    network = build_s2cnet(config, seed=settings.training.seed)
    if settings.training.pretrained:
        load_backbone_state(network.features.backbone, read_checkpoint(settings.training.pretrained))
    return network


def train(params: Params, *, source: Path, detector: Path, weights: Path, metrics: Path, made: dict[str, Any]) -> None:
    """Train on a folder; write the weights, and the metrics of the test images."""
    device, training = pick_device(params.engine.device), params.cropper.training
    network = build(params).to(device)
    made |= {"params": params.cropper.model_dump(), "network": network.config.model_dump()}
    if training.pretrained:
        made |= {"pretrained": file_sha256(training.pretrained)}
    if training.objects == "detector":
        made |= {"propose": params.propose.rules(), "detector": detector_values(detector)}
    parts = split_images(read_gaic(source), val_fraction=training.val_fraction, seed=training.seed)
    contents = {part: hash_images(images, workers=params.engine.n_workers) for part, images in parts.items()}
    around, folder = surroundings(device, threads=params.engine.n_threads), cache_root() / "cropper"
    key = digest(made, around, contents["train"], contents["val"])
    # The objects of all images take longest: a training that is finished asks for none.
    finished = TrainingState(folder / f"{digest(key, contents['test'])}.result.pt")
    if (result := finished.load()) is None:
        data = gather(params, source, parts, object_finder(params, detector))
        best = fit(network, data, training, state=TrainingState(folder / f"{key}.pt"))
        found = evaluate(network, data.test, batch_images=training.batch_images)
        result = {"best": best, "test": found, "mos_mean": data.mos_mean, "mos_std": data.mos_std}
        finished.save(**result)
    else:
        print("cropper: trained already; nothing that the training depends on has changed since then")
    best, found = result["best"], result["test"]
    network.load_state_dict(best["weights"])
    save_cropper(
        weights,
        network,
        mos_mean=result["mos_mean"],
        mos_std=result["mos_std"],
        config={"made_by": {"cropper": made}},
    )
    write_json(metrics, found | {"val_srcc": best["srcc"], "best_epoch": best["epoch"], "imported": 0})
    print(
        f"cropper: epoch {best['epoch']} of {training.epochs} kept, validation SRCC {best['srcc']:.4f}; "
        f"on {found['n_images']} test images SRCC {found['srcc']:.4f}, Acc5 {found['acc5']:.4f}, "
        f"Acc10 {found['acc10']:.4f}"
    )


def take_over(
    params: Params, *, source: Path, detector: Path, weights: Path, metrics: Path, made: dict[str, Any]
) -> None:
    """Import a checkpoint; nothing is known of its quality here, and the metrics say so by having none.

    The network is the checkpoint's, whatever `cropper.network` asks for. Raises WeightsError,
    CheckpointError, and ParamsError where `cropper.variant` is not the checkpoint's.
    """
    if is_own_weights(source):
        loaded = load_cropper(source, torch.device("cpu"))
        network, mos_mean, mos_std = loaded.network, loaded.mos_mean, loaded.mos_std
    else:
        network = from_release(read_checkpoint(source))
        mos_mean, mos_std = RELEASE_MOS_MEAN, RELEASE_MOS_STD
    config = network.config
    if config.variant != params.cropper.variant:
        raise ParamsError(
            f"{source} is a network of the variant {config.variant}, but cropper.variant is "
            f"{params.cropper.variant}; a checkpoint is imported as what it is"
        )
    save_cropper(
        weights,
        network,
        mos_mean=mos_mean,
        mos_std=mos_std,
        # No param of a training makes a difference to an import.
        config={"made_by": {"cropper": made | {"source": file_sha256(source)}}},
    )
    write_json(metrics, {"imported": 1, "n_images": 0})
    print(f"cropper: imported {source} ({config.variant}, {config.backbone}); its quality was not measured")


def cropper(params: Params, *, source: Path, detector: Path, weights: Path, metrics: Path) -> None:
    """Train S2CNet on a folder of crop scores, or import a checkpoint.

    Args:
        params: The checked params.
        source: Folder in GAIC's format, or a checkpoint.
        detector: Weights of the detector, for objects.
        weights: Weights to write (safetensors).
        metrics: Metrics to write (JSON).

    Raises:
        DatasetError: The source is missing, or cannot be trained on.
        WeightsError: Weights are damaged or of another network.
        CheckpointError: The checkpoint is not that of the release.
        ParamsError: `cropper.variant` is not the checkpoint's.
        NonFiniteError: The loss is not finite.
    """
    if not params.reads_crops:
        leave_weights_empty("cropper", weights=weights, metrics=metrics, method=params.method)
        return
    make_deterministic(threads=params.engine.n_threads)
    if not source.exists():
        raise DatasetError(f"{source}: no such folder of crop scores (images/, annotations/) or checkpoint")
    made = {"code": fingerprint("stages.cropper"), "libraries": library_versions("opencv-python-headless", *LIBRARIES)}
    phase = train if source.is_dir() else take_over
    phase(params, source=source, detector=detector, weights=weights, metrics=metrics, made=made)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage.

    Args:
        argv: The words after `python -m stages.cropper`; None: those of the process.
    """
    arguments = stage_arguments(cropper, argv)
    cropper(load_params(), **arguments)


if __name__ == "__main__":
    run(main)
