"""What of a detector's file counts downstream."""

from pathlib import Path
from typing import Any

import torch

from models.detectors.build import build_detector
from stages.steps.detectors import detector_history, detector_values, save_detector
from tests.configs import faster_rcnn_config

TINY: dict[str, Any] = {"backbone": "test_resnet", "fpn_channels": 8, "head_channels": 8}


def write(path: Path, *, seed: int = 0, nms_iou: float = 0.5, classes: tuple[str, ...] = (), licence: str = "") -> Path:
    network = build_detector(faster_rcnn_config("timm_fpn", 1, 32, 48, nms_iou=nms_iou, **TINY), seed=seed)
    made = {"version": 2, "source": {"name": "w.pth", "sha256": "00", "licence": licence}}
    save_detector(path, network, classes=classes, made_by={"detector": made})
    return path


def test_what_boxes_depend_on(tmp_path: Path) -> None:
    first = detector_values(write(tmp_path / "first.safetensors"))
    assert (first["backend"], first["detector"]["nms_iou"]) == ("torchvision", 0.5)
    assert first["libraries"]["torch"] == torch.__version__.partition("+")[0]
    assert first == detector_values(write(tmp_path / "noted.safetensors", classes=("disc",), licence="MIT"))
    looser = detector_values(write(tmp_path / "looser.safetensors", nms_iou=0.6))
    other = detector_values(write(tmp_path / "other.safetensors", seed=1))
    assert first["weights"] == looser["weights"] != other["weights"]
    assert first != looser


def test_history_without_its_notes(tmp_path: Path) -> None:
    path = write(tmp_path / "detector.safetensors", licence="MIT")
    assert detector_history(path) == {"detector": {"version": 2, "source": {"name": "w.pth", "sha256": "00"}}}
