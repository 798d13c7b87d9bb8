"""Configurations of the networks for tests: small, or the release's, with what a test changes."""

from typing import Any

import numpy as np

from models.backbones import IMAGENET_MEAN, IMAGENET_STD
from models.detectors.config import DetectionRules, DetectronConfig, FasterRcnnConfig, TimmFpn
from models.methods.frame_consistency.config import FrameConsistencyParams, QualityConfig
from models.methods.frame_consistency.method import FrameConsistency
from models.s2cnet.candidates import GRID
from models.s2cnet.config import CandidateConfig, S2CNetConfig
from models.s2cnet.network import GAICV2
from stages.params.load import load_params, merge
from stages.steps.familiarity import frame_statistics
from tests.conftest import ROOT

_SHIPPED = load_params(ROOT / "params.yaml")
RULES: dict[str, Any] = {"min_score": 0.05, "nms_iou": 0.5, "labels": "all"}
TIMM_FPN: dict[str, Any] = {
    "backbone": "test_resnet",
    "stride_px": 8,
    "levels": 2,
    "anchor_px": 24.0,
    "fpn_channels": 64,
    "head_channels": 128,
}


def faster_rcnn_config(
    architecture: str, n_classes: int, min_size_px: int, max_size_px: int, **changes: Any
) -> FasterRcnnConfig:
    """A detector of torchvision's; the keys of `TIMM_FPN` among the changes are the network's."""
    own = {name: changes.pop(name) for name in list(changes) if name in TIMM_FPN}
    values: dict[str, Any] = {"architecture": architecture, "n_classes": n_classes} | RULES | changes
    timm_fpn = TimmFpn(**(TIMM_FPN | own))
    return FasterRcnnConfig(min_size_px=min_size_px, max_size_px=max_size_px, timm_fpn=timm_fpn, **values)


def detectron_config(
    config: str, n_classes: int, min_size_px: int, max_size_px: int, **changes: Any
) -> DetectronConfig:
    """A detector of detectron2's."""
    sizes = {"min_size_px": min_size_px, "max_size_px": max_size_px}
    values: dict[str, Any] = {"config": config, "n_classes": n_classes, "options": ""} | sizes | RULES | changes
    return DetectronConfig(**values)


def detection_rules(**changes: Any) -> DetectionRules:
    """Which boxes stay."""
    return DetectionRules(**(RULES | changes))


def s2cnet_config(**changes: Any) -> S2CNetConfig:
    """The release's network for GAICv2 with changes, its head reading all nodes."""
    return S2CNetConfig(**(GAICV2.model_dump() | changes))


def candidate_config(**changes: Any) -> CandidateConfig:
    """The grid, or what the changes make of it."""
    return CandidateConfig(**(GRID.model_dump() | changes))


def quality_config(backbone: str, pooling: str, dropout: float, input_px: int, **changes: Any) -> QualityConfig:
    """A quality network with ImageNet's pixel statistics."""
    own: dict[str, Any] = {"backbone": backbone, "pooling": pooling, "dropout": dropout, "input_px": input_px,
                           "probabilities": "sigmoid"}  # fmt: skip
    statistics: dict[str, Any] = {"pixel_mean": IMAGENET_MEAN, "pixel_std": IMAGENET_STD}
    return QualityConfig(**(own | statistics | changes))


def frame_consistency(**changes: Any) -> FrameConsistency:
    """The paper's method with the params that are shipped and some changes."""
    return FrameConsistency(FrameConsistencyParams.model_validate(merge(_SHIPPED.chosen.model_dump(), changes)))


def shipped_section(name: str) -> Any:
    """The section of a method as params.yaml has it: small, for the demo."""
    return getattr(_SHIPPED.methods, name)


def frame_consistency_weights(config: QualityConfig) -> dict[str, Any]:
    """What a file of its weights holds beside history and reliability."""
    return {"method": "frame_consistency", "params": _SHIPPED.chosen.model_dump(), "network": config.model_dump()}


def sections(**changes: Any) -> dict[str, Any]:
    """Changes of a training with the paper's method as params.yaml has them, the method's own keys in its section."""
    own = {name: changes.pop(name) for name in list(changes) if name in FrameConsistencyParams.model_fields}
    return {"train": changes, "methods": {"frame_consistency": own}}


def placed(section: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The changes of a section of params.yaml as it is nested: each key in the first sub-section that has it.

    >>> placed({"source": "a", "training": {"seed": 1}}, {"seed": 2})
    {"training": {"seed": 2}}
    """

    def place(values: dict[str, Any], key: str, value: Any) -> dict[str, Any] | None:
        if key in values:
            return {key: value}
        for name, inner in values.items():
            if isinstance(inner, dict) and (found := place(inner, key, value)) is not None:
                return {name: found}
        return None

    result: dict[str, Any] = {}
    for key, value in changes.items():
        found = place(section, key, value)
        assert found is not None, key
        result = merge(result, found)
    return result


def reliability(*, quantile: float | None = 0.5) -> dict[str, Any]:
    """A reliability as weights hold it, to which no video is unlike."""
    size = len(frame_statistics(np.zeros((8, 8, 3), np.uint8)))
    everything = {"mean": [0.0] * size, "scale": [1.0] * size, "precision": np.eye(size).tolist(), "distances": [1e9]}
    return {"confidence": 0.9, "quantile": quantile, "n_videos": 40, "familiarity": everything}
