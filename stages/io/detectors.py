"""Detectors as files: safetensors whose metadata holds all that building the network takes."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.detectors import DetectorError, build_detector
from models.detectors.faster_rcnn import FasterRcnn, FasterRcnnConfig
from models.detectors.published import read_published
from stages.errors import WeightsError
from stages.io.weights import CONFIG_KEY, load_state, load_weights, read_checkpoint, save_weights


def save_detector(
    path: str | Path, detector: FasterRcnn, *, classes: Sequence[str], made_by: Mapping[str, Any]
) -> None:
    """Write weights, configuration, the names of the labels 1, 2, ... (none: unknown) and what made them."""
    config = {"detector": dataclasses.asdict(detector.config), "classes": [*classes], "made_by": dict(made_by)}
    save_weights(path, detector.network.state_dict(), config)


def load_detector(path: str | Path, device: torch.device | str = "cpu") -> FasterRcnn:
    """The detector that `save_detector` wrote, ready to detect; raise WeightsError naming the file."""
    return _load(path)[0].to(device)


def import_detector(path: str | Path, *, architecture: str, **settings: Any) -> tuple[FasterRcnn, list[str]]:
    """A detector from weights that lie elsewhere, and the names of its labels, as far as they are known.

    A file of `save_detector` brings its own configuration. Any other is a state dict of torchvision's `architecture`,
    by torch.save or in safetensors; `settings` are the fields of FasterRcnnConfig that weights do not tell.
    Raises WeightsError that lists every key that is missing, unknown or of another shape.
    """
    if _has_config(path):
        return _load(path)
    try:
        state, n_classes, frozen_norms = read_published(read_checkpoint(path), architecture=architecture)
        detector = build_detector(FasterRcnnConfig(architecture, n_classes, frozen_norms=frozen_norms, **settings))
    except DetectorError as error:
        raise WeightsError(f"{path}: {error}") from None
    _fill(detector, state, path)
    return detector, []


def _load(path: str | Path) -> tuple[FasterRcnn, list[str]]:
    state, config = load_weights(path)
    try:
        detector = build_detector(FasterRcnnConfig(**config["detector"]))
        classes = [str(name) for name in config["classes"]]
    except (KeyError, TypeError, DetectorError) as error:
        raise WeightsError(f"{path}: not the weights of a detector of this version ({error})") from None
    _fill(detector, state, path)
    return detector, classes


def _fill(detector: FasterRcnn, state: Mapping[str, Tensor], path: str | Path) -> None:
    load_state(detector.network, state, path)
    # A network with NaN in it finds nothing, and says nothing.
    broken = [name for name, value in state.items() if not math.isfinite(value.sum(dtype=torch.float64))]
    if broken:
        raise WeightsError(f"{path}: weights that are not finite: {', '.join(broken[:12])}")
    detector.eval()


def _has_config(path: str | Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return CONFIG_KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False
