"""Detectors as files: safetensors whose metadata holds all that building the network, or the table of boxes, takes."""

import json
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import safe_open
from torch import Tensor

from models.config import problems_of
from models.detectors.build import build_detector
from models.detectors.config import TIMM_FPN, DetectionRules, DetectronConfig, FasterRcnnConfig
from models.detectors.detectron import DetectronDetector
from models.detectors.detectron_config import count_classes
from models.detectors.faster_rcnn import FasterRcnn
from models.detectors.interface import DetectorError
from models.detectors.published import read_published
from models.errors import listed
from stages.datasets.box_table import BoxTable
from stages.errors import WeightsError
from stages.io.digests import library_versions
from stages.io.weights import (
    CONFIG_KEY,
    is_own_weights,
    load_state,
    load_weights,
    read_checkpoint,
    save_weights,
    tensors_sha256,
)

Network = FasterRcnn | DetectronDetector
CONFIGS: dict[str, type[FasterRcnnConfig] | type[DetectronConfig]] = {
    "torchvision": FasterRcnnConfig,
    "detectron2": DetectronConfig,
}
TABLE = "table"
BOX_PREDICTOR = "roi_heads.box_predictor."
TABLE_TENSORS = ("starts", "frame_index", "boxes_xyxy_px", "scores", "labels", "rows")
# Buffers are made from the configuration; where a file brings them too, they have to agree, rounding aside.
BUFFER_TOLERANCE = 1e-3


def save_detector(path: str | Path, detector: Network, *, classes: Sequence[str], made_by: Mapping[str, Any]) -> None:
    """Write weights, configuration, the names of the labels 1, 2, ... (none: unknown) and what made them."""
    backend, settings = describe_config(detector)
    config = {
        "backend": backend,
        "detector": settings,
        "classes": [*classes],
        "made_by": dict(made_by),
    }
    save_weights(path, detector.network.state_dict(), config)


def save_boxes(path: str | Path, table: BoxTable, *, made_by: Mapping[str, Any]) -> None:
    """Write boxes that were brought along, in a detector's place."""
    config = {
        "backend": TABLE,
        "detector": table.config.model_dump(),
        "classes": [],
        "made_by": dict(made_by),
        "videos": table.videos,
        "places": table.places,
    }
    save_weights(path, {name: getattr(table, name) for name in TABLE_TENSORS}, config)


def load_detector(path: str | Path, device: torch.device | str = "cpu") -> Network | BoxTable:
    """What `save_detector` or `save_boxes` wrote, ready to detect; raise WeightsError naming the file."""
    detector = _load(path, {})[0]
    return detector if isinstance(detector, BoxTable) else detector.to(device)


def describe_detector(path: str | Path) -> dict[str, Any]:
    """What made the boxes of a detector's file: its backend, configuration, own history and library versions."""
    with safe_open(path, framework="pt") as file:
        config = json.loads((file.metadata() or {})[CONFIG_KEY])
    own = {name: config[name] for name in ("backend", "detector", "made_by")}
    return own | {"libraries": libraries_of(config["backend"], config["detector"])}


def describe_config(detector: Network) -> tuple[str, dict[str, Any]]:
    """The backend of a network and its configuration, as they stand in its file."""
    backend = next(name for name, kind in CONFIGS.items() if isinstance(detector.config, kind))
    return backend, detector.config.model_dump()


def libraries_of(backend: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Versions of the libraries that a backend's values depend on."""
    if backend == "detectron2":
        # detectron2 scales frames by Pillow.
        return library_versions("pillow", "torch", "torchvision") | {"detectron2": detectron2_version()}
    uses_timm = backend == "torchvision" and config["architecture"] == TIMM_FPN
    return library_versions("torch", "torchvision", *(["timm"] if uses_timm else []))


def detectron2_version() -> str:
    """`0.6`, and the commit where pip knows it: upstream's version number has stood still for years."""
    installed = distribution("detectron2")
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    commit = origin.get("vcs_info", {}).get("commit_id", "")
    return f"{installed.version}+{commit[:8]}" if commit else installed.version


def import_torchvision(path: str | Path, *, architecture: str, **settings: Any) -> tuple[FasterRcnn, list[str]]:
    """A detector from weights that torchvision's `architecture` fits, and the names of its labels, where known.

    A file of `save_detector` brings its own architecture and classes. Any other is a state dict of torchvision's, by
    torch.save or in safetensors. `settings` are the fields of FasterRcnnConfig that weights do not tell, such as sizes
    and thresholds: they are what the detector uses, whichever a file was saved with.
    Raises WeightsError that counts and names the keys that are missing, unknown or of another shape.
    """
    if is_own_weights(path):
        return _load_as(path, FasterRcnn, backend="torchvision", settings=settings)
    try:
        state, n_classes, frozen_norms = read_published(read_checkpoint(path), architecture=architecture)
    except DetectorError as error:
        raise WeightsError(f"{path}: {error}") from None
    own = {"architecture": architecture, "n_classes": n_classes, "frozen_norms": frozen_norms}
    detector = build_detector(FasterRcnnConfig(**(settings | own)))
    _fill(detector, state, path)
    return detector, []


def import_detectron(path: str | Path, *, config: str, options: str, **settings: Any) -> tuple[Any, list[str]]:
    """A detector from weights in detectron2's names: a pickle of its zoo, a file of torch.save, or safetensors.

    The rest as in `import_torchvision`: a file of `save_detector` also brings its own config and options; `settings`
    are the other fields of DetectronConfig that weights do not tell.
    """
    if is_own_weights(path):
        return _load_as(path, DetectronDetector, backend="detectron2", settings=settings)
    state = read_checkpoint(path)
    try:
        n_classes, n_attributes = count_classes(state)
        wanted = DetectronConfig(
            config=config, n_classes=n_classes, n_attributes=n_attributes, options=options, **settings
        )
        detector = build_detector(wanted)
    except ValidationError as error:
        raise WeightsError(f"{path}: detectron2: {problems_of(error)}") from None
    except DetectorError as error:
        raise WeightsError(f"{path}: {error}") from None
    _fill(detector, _without_buffers(state, detector.network, path), path)
    return detector, []


def trace_source(path: str | Path, *, sha256: str, licence: str | None) -> dict[str, Any]:
    """Where imported weights come from: the file's name, `sha256` and `licence`.

    For a file of `save_detector` also what made that file, its own source included, which may be a file of
    `save_detector` in turn; its licence stays unless another is given.
    """
    origin = {"name": Path(path).name, "sha256": sha256, "licence": licence}
    if not is_own_weights(path):
        return origin
    before = load_weights(path)[1].get("made_by", {}).get("detector", {})
    if licence is None:
        origin["licence"] = before.get("source", {}).get("licence")
    return origin | {"made_by": before}


def read_pretrained(path: str | Path, *, architecture: str) -> tuple[dict[str, Tensor], bool]:
    """Weights of torchvision's backend to start a training from, and whether their normalisation is frozen.

    A file of `save_detector` or of torchvision's. Raises WeightsError.
    """
    if is_own_weights(path):
        detector, _ = _load_as(path, FasterRcnn, backend="torchvision", settings={})
        if detector.config.architecture != architecture:
            raise WeightsError(f"{path}: weights of {detector.config.architecture}, wanted is {architecture}")
        return detector.network.state_dict(), detector.config.frozen_norms
    try:
        state, _, frozen_norms = read_published(read_checkpoint(path), architecture=architecture)
    except DetectorError as error:
        raise WeightsError(f"{path}: {error}") from None
    return state, frozen_norms


def load_pretrained(detector: FasterRcnn, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Fill a network from weights for other classes: what predicts classes and their boxes stays as it is."""
    own = detector.network.state_dict()
    kept = {name: value for name, value in own.items() if name.startswith(BOX_PREDICTOR)}
    rest = {name: value for name, value in state.items() if not name.startswith(BOX_PREDICTOR)}
    _fill(detector, rest | kept, path)
    detector.train()


def _load_as(path: str | Path, kind: type[Any], *, backend: str, settings: Mapping[str, Any]) -> tuple[Any, list[str]]:
    detector, classes = _load(path, settings)
    if not isinstance(detector, kind):
        raise WeightsError(f"{path}: not the weights of a detector of the backend {backend}")
    return detector, classes


def _load(path: str | Path, settings: Mapping[str, Any]) -> tuple[Network | BoxTable, list[str]]:
    """What a file holds; of a network's configuration, `settings` stand in the place of its own."""
    state, config = load_weights(path)
    try:
        backend, classes = config.get("backend", "torchvision"), [str(name) for name in config["classes"]]
        if backend == TABLE:
            places = tuple((int(first), str(name)) for first, name in config["places"])
            return BoxTable(DetectionRules(**config["detector"]), tuple(config["videos"]), places, **state), classes
        detector = build_detector(CONFIGS[backend](**(config["detector"] | settings)))
    except ValidationError as error:
        raise WeightsError(f"{path}: not the weights of a detector of this version ({problems_of(error)})") from None
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: not the weights of a detector of this version ({error})") from None
    _fill(detector, state, path)
    return detector, classes


def _fill(detector: Network, state: Mapping[str, Tensor], path: str | Path) -> None:
    load_state(detector.network, state, path)
    # A network with NaN in it finds nothing, and says nothing.
    broken = [name for name, value in state.items() if not math.isfinite(value.sum(dtype=torch.float64))]
    if broken:
        raise WeightsError(f"{path}: weights that are not finite: {listed(broken)}")
    detector.eval()


def _without_buffers(state: Mapping[str, Tensor], network: torch.nn.Module, path: str | Path) -> dict[str, Tensor]:
    """The state without what the configuration gives, such as anchors and pixel means, which older files hold too."""
    own = network.state_dict()
    left = dict(state)
    for name, value in network.named_buffers():
        if name in own or name not in left:
            continue
        given = left.pop(name)
        if given.numel() != value.numel() or not torch.allclose(
            given.flatten().float(), value.flatten().float(), rtol=0, atol=BUFFER_TOLERANCE
        ):
            raise WeightsError(
                f"{path}: {name} is {given.flatten().tolist()[:8]}, the configuration says "
                f"{value.flatten().tolist()[:8]}: weights of another network"
            )
    return left


def detector_values(path: str | Path) -> dict[str, Any]:
    """All that boxes depend on: backend, configuration, the SHA-256 of the tensors (`weights`) and library versions."""
    about = describe_detector(path)
    return {name: about[name] for name in ("backend", "detector", "libraries")} | {"weights": tensors_sha256(path)}


def detector_history(path: str | Path) -> dict[str, Any]:
    """What made the file, stage by stage, without notes that change no box: a licence stays with the weights."""
    return {stage: _without_licence(made) for stage, made in describe_detector(path)["made_by"].items()}


def _without_licence(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _without_licence(inner) for name, inner in value.items() if name != "licence"}
