"""Detectors as files."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from models.detectors.build import build_detector
from models.detectors.faster_rcnn import FasterRcnn
from models.detectors.published import CLASS_SCORES
from stages.datasets.box_table import BoxTable
from stages.datasets.boxes import read_boxes
from stages.errors import WeightsError
from stages.io.weights import check_sha256, load_weights, save_weights, tensors_sha256
from stages.params.load import merge
from stages.steps.detectors import (
    describe_detector,
    import_torchvision,
    load_detector,
    load_pretrained,
    read_pretrained,
    save_boxes,
    save_detector,
    trace_source,
)
from tests.configs import RULES, detection_rules, faster_rcnn_config

TINY = faster_rcnn_config(
    "timm_fpn", 2, 32, 64, min_score=0.0, backbone="test_resnet", fpn_channels=8, head_channels=8, rpn_boxes=10
)
SMALLEST = "fasterrcnn_mobilenet_v3_large_320_fpn"
SETTINGS = RULES | {"min_size_px": 64, "max_size_px": 96}


@pytest.fixture(scope="module")
def detector() -> FasterRcnn:
    return build_detector(TINY, seed=1)


@pytest.fixture
def file(tmp_path: Path, detector: FasterRcnn) -> Path:
    save_detector(
        tmp_path / "detector.safetensors", detector, classes=["disc", "star"], made_by={"detector": {"version": 1}}
    )
    return tmp_path / "detector.safetensors"


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """A state dict of torchvision's smallest network for two classes."""
    return torchvision.models.get_model(SMALLEST, weights=None, weights_backbone=None, num_classes=3).state_dict()


def test_a_file_is_all_that_detecting_takes(file: Path, detector: FasterRcnn) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    loaded = load_detector(file)
    assert loaded.config == TINY
    assert isinstance(loaded, FasterRcnn)
    assert not loaded.training
    (found,), (expected,) = loaded.detect([frame]), detector.detect([frame])
    assert len(found.scores) > 0
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_equal_networks_are_equal_bytes(file: Path, tmp_path: Path) -> None:
    save_detector(
        tmp_path / "again.safetensors",
        build_detector(TINY, seed=1),
        classes=["disc", "star"],
        made_by={"detector": {"version": 1}},
    )
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_a_file_of_this_project_brings_its_architecture_and_takes_the_settings(
    file: Path, detector: FasterRcnn
) -> None:
    asked: dict[str, Any] = SETTINGS | {"min_score": 0.3, "nms_iou": 0.7, "labels": "best", "max_detections": 4}
    imported, classes = import_torchvision(file, architecture=SMALLEST, **asked)
    assert classes == ["disc", "star"]
    assert imported.config == TINY.model_copy(update=asked)
    # The network itself follows: torchvision's parts have these numbers too.
    transform, heads = imported.network.transform, imported.network.roi_heads
    assert (transform.min_size, transform.max_size) == ((64,), 96)
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.3, 0.7, 4)
    assert all(
        torch.equal(value, detector.network.state_dict()[name]) for name, value in imported.network.state_dict().items()
    )
    # What is not asked for stays as it was saved.
    assert import_torchvision(file, architecture=SMALLEST)[0].config == TINY
    with pytest.raises(WeightsError, match=r"detector\.safetensors: .*max_size_px = 8 must not"):
        import_torchvision(file, architecture=SMALLEST, max_size_px=8)


def test_the_first_source_and_its_licence_are_carried_over(tmp_path: Path, file: Path, detector: FasterRcnn) -> None:
    first = trace_source(tmp_path / "coco.pth", sha256="1", licence="BSD-3-Clause")
    assert first == {"name": "coco.pth", "sha256": "1", "licence": "BSD-3-Clause"}
    made = {"version": 1, "source": first}
    one = tmp_path / "one.safetensors"
    save_detector(one, detector, classes=[], made_by={"detector": made})
    second = trace_source(one, sha256="2", licence=None)
    assert second == {"name": "one.safetensors", "sha256": "2", "licence": "BSD-3-Clause", "made_by": made}
    assert trace_source(one, sha256="2", licence="MIT") == second | {"licence": "MIT"}
    two = tmp_path / "two.safetensors"
    save_detector(two, detector, classes=[], made_by={"detector": {"source": second}})
    third = trace_source(two, sha256="3", licence=None)
    assert (third["licence"], third["made_by"]["source"]["made_by"]["source"]) == ("BSD-3-Clause", first)
    # Trained here: no source, and how it was trained.
    assert trace_source(file, sha256="4", licence=None) == {
        "name": "detector.safetensors", "sha256": "4", "licence": None, "made_by": {"version": 1},
    }  # fmt: skip


def test_truncated_and_missing_files(file: Path, tmp_path: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"detector\.safetensors: not a readable safetensors file"):
        load_detector(file)
    with pytest.raises(WeightsError, match=r"detector\.safetensors: "):
        import_torchvision(file, architecture=SMALLEST, **SETTINGS)
    with pytest.raises(WeightsError, match=r"none\.safetensors: no such"):
        load_detector(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match=r"none\.pth: no such file"):
        import_torchvision(tmp_path / "none.pth", architecture=SMALLEST, **SETTINGS)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"network": {}}, "not the weights of a detector"),
        ({"detector": {"architecture": "timm_fpn"}, "classes": []}, "not the weights of a detector"),
        ({"detector": TINY.model_dump() | {"colour": 1}, "classes": []}, "colour"),
        (
            {"detector": merge(TINY.model_dump(), {"timm_fpn": {"backbone": "test_resnt"}}), "classes": []},
            "nearest: test_resnet",
        ),
    ],
)
def test_files_of_other_parts_and_versions(tmp_path: Path, detector: FasterRcnn, config: dict, words: str) -> None:
    save_weights(tmp_path / "other.safetensors", detector.network.state_dict(), config)
    with pytest.raises(WeightsError, match=rf"other\.safetensors: .*{words}"):
        load_detector(tmp_path / "other.safetensors")


def test_weights_of_another_network(tmp_path: Path, detector: FasterRcnn) -> None:
    config = TINY.model_dump() | {"n_classes": 3}
    path = tmp_path / "other.safetensors"
    save_weights(path, detector.network.state_dict(), {"detector": config, "classes": []})
    with pytest.raises(WeightsError) as error:
        load_detector(path)
    # 2 and 3 classes, and the background.
    assert f"{CLASS_SCORES} is (3, 8), expected (4, 8)" in str(error.value)


def test_weights_that_are_not_finite(tmp_path: Path, detector: FasterRcnn) -> None:
    state = detector.network.state_dict() | {CLASS_SCORES: torch.full((3, 8), torch.nan)}
    path = tmp_path / "broken.safetensors"
    save_weights(path, state, {"detector": TINY.model_dump(), "classes": []})
    with pytest.raises(WeightsError, match=rf"broken\.safetensors: weights that are not finite: {CLASS_SCORES}"):
        load_detector(path)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_published_weights_go_through_a_file(tmp_path: Path, published: dict, suffix: str) -> None:
    path = tmp_path / f"published.{suffix}"
    if suffix == "pth":
        torch.save(published, path)
    else:
        save_file(published, path)
    imported, classes = import_torchvision(path, architecture=SMALLEST, **(SETTINGS | {"min_score": 0.2}))
    assert classes == []
    assert (imported.config.n_classes, imported.config.min_score) == (2, 0.2)
    save_detector(tmp_path / "own.safetensors", imported, classes=classes, made_by={})
    state, _ = load_weights(tmp_path / "own.safetensors")
    assert state.keys() == published.keys()
    assert all(torch.equal(value, published[name]) for name, value in state.items())
    assert load_detector(tmp_path / "own.safetensors").config == imported.config


def test_weights_of_another_architecture(tmp_path: Path, published: dict) -> None:
    path = tmp_path / "published.pth"
    torch.save(published, path)
    with pytest.raises(WeightsError, match=r"published\.pth: weights of another network; .*missing backbone"):
        import_torchvision(path, architecture="fasterrcnn_resnet50_fpn", **SETTINGS)
    with pytest.raises(WeightsError, match=r"published\.pth: 'timm_fpn' has no published weights"):
        import_torchvision(path, architecture="timm_fpn", **SETTINGS)


def test_scores_and_boxes_of_different_class_counts(tmp_path: Path, published: dict) -> None:
    path = tmp_path / "mixed.pth"
    scores = {CLASS_SCORES: torch.zeros(5, 1024), CLASS_SCORES.replace("weight", "bias"): torch.zeros(5)}
    torch.save(published | scores, path)
    with pytest.raises(WeightsError) as error:
        import_torchvision(path, architecture=SMALLEST, **SETTINGS)
    # Four coordinates for each of 3 outputs, where 5 outputs have scores.
    assert "roi_heads.box_predictor.bbox_pred.weight is (12, 1024), expected (20, 1024)" in str(error.value)


def test_pickles_are_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "bomb.pth").write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(WeightsError, match=r"bomb\.pth: not a checkpoint that can be read without running its code"):
        import_torchvision(tmp_path / "bomb.pth", architecture=SMALLEST, **SETTINGS)
    assert not (tmp_path / "ran").exists()


def test_pretrained_weights_keep_all_but_the_classes(tmp_path: Path, published: dict) -> None:
    torch.save(published, tmp_path / "coco.pth")
    state, frozen_norms = read_pretrained(tmp_path / "coco.pth", architecture=SMALLEST)
    assert not frozen_norms
    detector = build_detector(faster_rcnn_config(SMALLEST, 5, 64, 96), seed=1)
    fresh = {name: value.clone() for name, value in detector.network.state_dict().items()}
    load_pretrained(detector, state, "coco.pth")
    assert detector.training
    for name, value in detector.network.state_dict().items():
        expected = fresh[name] if name.startswith("roi_heads.box_predictor.") else published[name]
        assert torch.equal(value, expected)


def test_pretrained_weights_of_another_network(tmp_path: Path, file: Path, published: dict) -> None:
    state, _ = read_pretrained(file, architecture="timm_fpn")
    assert "roi_heads.box_predictor.cls_score.weight" in state
    with pytest.raises(WeightsError, match="weights of timm_fpn, wanted is fasterrcnn"):
        read_pretrained(file, architecture=SMALLEST)
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth: the weights have no roi_heads"):
        read_pretrained(tmp_path / "other.pth", architecture=SMALLEST)
    wider = build_detector(faster_rcnn_config("timm_fpn", 3, 32, 64, fpn_channels=16))
    with pytest.raises(WeightsError, match="weights of another network"):
        load_pretrained(wider, state, file)


def test_a_hash_that_is_wanted(tmp_path: Path, file: Path) -> None:
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    assert check_sha256(file, None) == check_sha256(file, found.upper()) == found
    with pytest.raises(WeightsError, match=rf"detector\.safetensors: its SHA-256 is {found}, expected {'0' * 64}"):
        check_sha256(file, "0" * 64)
    with pytest.raises(WeightsError, match="no such file"):
        check_sha256(tmp_path / "none", None)


def test_tensors_have_a_hash_of_their_own(tmp_path: Path, file: Path, detector: FasterRcnn) -> None:
    save_detector(tmp_path / "renamed.safetensors", detector, classes=["a", "b"], made_by={})
    save_detector(tmp_path / "other.safetensors", build_detector(TINY, seed=2), classes=[], made_by={})
    assert tensors_sha256(file) == tensors_sha256(tmp_path / "renamed.safetensors")
    assert tensors_sha256(file) != tensors_sha256(tmp_path / "other.safetensors")


def test_boxes_in_a_detectors_place(tmp_path: Path) -> None:
    source = tmp_path / "boxes"
    (source / "a.avi").mkdir(parents=True)
    (source / "a.avi" / "4.txt").write_text("1 2 3 4\n")
    table = read_boxes(source, detection_rules(min_score=0.1))
    save_boxes(tmp_path / "table.safetensors", table, made_by={"detector": {"version": 1}})
    loaded = load_detector(tmp_path / "table.safetensors")
    assert isinstance(loaded, BoxTable)
    assert loaded.config == table.config
    assert loaded.look_up("a.avi", 4).boxes_xyxy_px.tolist() == [[2, 1, 4, 3]]
    assert loaded.name_row(0) == "a.avi/4.txt, row 1"
    about = describe_detector(tmp_path / "table.safetensors")
    assert about["backend"] == "table"
    assert set(about["libraries"]) == {"torch", "torchvision"}
    with pytest.raises(WeightsError, match="not the weights of a detector of the backend torchvision"):
        import_torchvision(tmp_path / "table.safetensors", architecture=SMALLEST, **SETTINGS)
