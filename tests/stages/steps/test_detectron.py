"""detectron2's weights as files: pickles of the published layout, imported, kept as safetensors, and run."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch

from tests.configs import detectron_config

pytest.importorskip("detectron2")

from models.detectors.build import build_detector
from models.detectors.config import VISUAL_GENOME
from models.detectors.detectron import DetectronDetector
from stages.errors import WeightsError
from stages.steps.detectors import describe_detector, import_detectron, import_torchvision, load_detector, save_detector
from tests.models.detectors.test_detectron import FPN, HEADS, RESNET

OPTIONS = {VISUAL_GENOME: f"{RESNET} MODEL.RPN.CONV_DIMS [8]", FPN: RESNET + HEADS}
SETTINGS: dict[str, Any] = {"min_size_px": 64, "max_size_px": 96, "min_score": 0.0, "nms_iou": 0.5, "labels": "best"}


def build(config: str, n_classes: int = 6, n_attributes: int = 0) -> DetectronDetector:
    return build_detector(
        detectron_config(config, n_classes, n_attributes=n_attributes, options=OPTIONS[config], **SETTINGS), seed=3
    )


def arrays(detector: DetectronDetector) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in detector.network.state_dict().items()}


def write(path: Path, state: dict[str, Any]) -> Path:
    """As detectron2's model zoo does, and those who followed it."""
    path.write_bytes(pickle.dumps({"model": state, "__author__": "test", "matching_heuristics": True}))
    return path


def bring(path: Path, config: str, **changes: Any) -> Any:
    return import_detectron(path, config=config, **({"options": OPTIONS.get(config, "")} | SETTINGS | changes))[0]


@pytest.mark.parametrize(("config", "n_attributes"), [(VISUAL_GENOME, 0), (VISUAL_GENOME, 7), (FPN, 0)])
def test_a_pickle_becomes_safetensors_and_gives_the_same_boxes(tmp_path: Path, config: str, n_attributes: int) -> None:
    original = build(config, n_attributes=n_attributes)
    imported = bring(write(tmp_path / "weights.pkl", arrays(original)), config)
    assert (imported.config.n_classes, imported.config.n_attributes) == (6, n_attributes)
    save_detector(tmp_path / "own.safetensors", imported, classes=[], made_by={"detector": {"licence": "MIT"}})
    loaded = load_detector(tmp_path / "own.safetensors")
    frames = [np.random.default_rng(seed).integers(0, 256, (50, 70, 3), dtype=np.uint8) for seed in range(2)]
    for found, expected in zip(loaded.detect(frames), original.detect(frames), strict=True):
        assert len(found.scores) > 0
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    about = describe_detector(tmp_path / "own.safetensors")
    assert about["backend"] == "detectron2"
    assert about["detector"]["config"] == config
    assert about["libraries"]["detectron2"].startswith("0.6")
    # Frames are scaled by Pillow.
    assert about["libraries"]["pillow"] == PIL.__version__
    # The project's own file brings its network, and takes the settings; another backend's does not take it.
    asked = {"min_size_px": 32, "max_size_px": 80, "min_score": 0.1, "nms_iou": 0.3, "labels": "all"}
    again = bring(tmp_path / "own.safetensors", "common/train.py", options="MODEL.RESNETS.DEPTH 18", **asked)
    assert again.config == imported.config.model_copy(update=asked)
    assert again.network.roi_heads.box_predictor.test_score_thresh == 0.1
    with pytest.raises(WeightsError, match="not the weights of a detector of the backend torchvision"):
        import_torchvision(tmp_path / "own.safetensors", architecture="fasterrcnn_resnet50_fpn")


def test_what_the_configuration_gives_may_stand_in_the_file_and_has_to_agree(tmp_path: Path) -> None:
    original = build(VISUAL_GENOME)
    buffers = {name: value.numpy() for name, value in original.network.named_buffers()}
    given = {"pixel_mean": buffers["pixel_mean"], "pixel_std": buffers["pixel_std"]}
    (anchors,) = [name for name in buffers if "cell_anchors" in name]
    state = arrays(original) | given | {anchors: buffers[anchors]}
    bring(write(tmp_path / "weights.pkl", state), VISUAL_GENOME)
    for name in ("pixel_mean", anchors):
        with pytest.raises(WeightsError, match=rf"weights\.pkl: {name} is .*the configuration says .*another network"):
            bring(write(tmp_path / "weights.pkl", state | {name: state[name] + 1}), VISUAL_GENOME)


def test_every_key_is_accounted_for(tmp_path: Path) -> None:
    state = arrays(build(FPN))
    lost = next(iter(state))
    path = tmp_path / "weights.pkl"
    with pytest.raises(WeightsError, match=rf"1 key does not fit: missing {lost}"):
        bring(write(path, {name: value for name, value in state.items() if name != lost}), FPN)
    with pytest.raises(WeightsError, match=r"1 key does not fit: unknown extra \(2,\)"):
        bring(write(path, state | {"extra": np.zeros(2, np.float32)}), FPN)
    with pytest.raises(WeightsError, match="weights that are not finite"):
        bring(write(path, state | {lost: state[lost] * np.nan}), FPN)


def test_weights_of_another_architecture_and_class_count(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.pkl", arrays(build(FPN)))
    with pytest.raises(WeightsError, match="weights of another network"):
        bring(path, VISUAL_GENOME)
    # Five scores for six classes' boxes.
    scores = {f"roi_heads.box_predictor.cls_score.{name}": np.zeros(shape, np.float32) for name, shape in
              (("weight", (6, 8)), ("bias", (6,)))}  # fmt: skip
    mixed = write(path, arrays(build(FPN)) | scores)
    with pytest.raises(WeightsError, match=r"bbox_pred.weight is \(24, 8\), expected \(20, 8\)"):
        bring(mixed, FPN)
    with pytest.raises(WeightsError, match="detectron2 has no config"):
        bring(path, FPN.replace("1x", "9x"), options="")


def test_files_of_torch_too(tmp_path: Path) -> None:
    original = build(FPN)
    torch.save({"model": original.network.state_dict(), "iteration": 90000}, tmp_path / "model_final.pth")
    imported = bring(tmp_path / "model_final.pth", FPN)
    assert all(
        torch.equal(value, original.network.state_dict()[name]) for name, value in imported.network.state_dict().items()
    )
