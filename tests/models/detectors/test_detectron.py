"""detectron2's networks behind the interface. What needs the package is skipped where it is missing."""

import sys
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from models.config import problems_of
from models.detectors.build import build_detector
from models.detectors.config import VISUAL_GENOME, DetectronConfig
from models.detectors.detectron import DetectronDetector
from models.detectors.detectron_config import count_classes
from models.detectors.interface import DetectorError
from models.errors import NonFiniteError, ShapeError
from tests.configs import detectron_config

FPN = "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"
RESNET = (
    "MODEL.RESNETS.DEPTH 50 MODEL.RESNETS.STEM_OUT_CHANNELS 4 MODEL.RESNETS.RES2_OUT_CHANNELS 8 "
    "MODEL.RESNETS.WIDTH_PER_GROUP 4"
)
HEADS = " MODEL.FPN.OUT_CHANNELS 8 MODEL.ROI_BOX_HEAD.FC_DIM 8 MODEL.ANCHOR_GENERATOR.SIZES [[8],[16],[32],[64],[128]]"
SETTINGS: dict[str, Any] = {"min_size_px": 48, "max_size_px": 96, "min_score": 0.0}


def tiny(**changes: Any) -> DetectronConfig:
    settings: dict[str, Any] = {"config": FPN, "n_classes": 3, "options": RESNET + HEADS} | SETTINGS | changes
    return detectron_config(**settings)


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def detector() -> DetectronDetector:
    pytest.importorskip("detectron2")
    return build_detector(tiny(), seed=1)


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "detectron2", None)
    with pytest.raises(DetectorError) as error:
        build_detector(tiny())
    for text in ("not installed", "setuptools<81", "--no-build-isolation", "02b5c4e295e990042a714712c21dc79b731e8833"):
        assert text in str(error.value)


def test_config_names_every_problem() -> None:
    with pytest.raises(ValidationError) as error:
        tiny(n_classes=-1, labels="some", options="MODEL.DEVICE")
    for text in ("n_classes = -1: ", "labels = 'some': Input should be 'all' or 'best'", "KEY VALUE KEY VALUE"):
        assert text in problems_of(error.value)
    with pytest.raises(ValidationError, match="max_size_px = 32 must not be below min_size_px = 64"):
        tiny(min_size_px=64, max_size_px=32)


def test_classes_are_counted_from_the_weights() -> None:
    name = "roi_heads.box_predictor.cls_score.weight"
    assert count_classes({name: torch.zeros(1601, 4)}) == (1600, 0)
    attributes = {"roi_heads.box_predictor.attr_score.weight": torch.zeros(401, 4)}
    assert count_classes({name: torch.zeros(1601, 4)} | attributes) == (1600, 400)
    assert count_classes({"roi_heads.box_predictor.0.cls_score.weight": torch.zeros(81, 4)}) == (80, 0)
    assert count_classes({"head.cls_score.weight": torch.zeros(720, 4)}) == (0, 0)
    with pytest.raises(DetectorError, match=r"cls_score.weight has the shape \(1, 4\)"):
        count_classes({name: torch.zeros(1, 4)})


def test_same_boxes_as_detectron2_gives(detector: DetectronDetector) -> None:
    """detectron2's own way for one image: resize, to BGR, run, scale back."""
    from detectron2.data.transforms import ResizeShortestEdge

    frame = noise(0, 50, 70)
    bgr = frame[:, :, ::-1]
    image = ResizeShortestEdge([48, 48], 96).get_transform(bgr).apply_image(bgr)
    assert image.shape == (48, 67, 3)
    tensor = torch.as_tensor(image.astype("float32").transpose(2, 0, 1))
    with torch.no_grad():
        expected = detector.network([{"image": tensor, "height": 50, "width": 70}])[0]["instances"]
    (found,) = detector.detect([frame])
    assert 10 < len(found.scores) == len(expected)
    assert torch.equal(found.boxes_xyxy_px, expected.pred_boxes.tensor)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.labels, expected.pred_classes + 1)


@pytest.mark.parametrize("labels", ["all", "best"])
def test_boxes_lie_in_frames_of_any_size(labels: str) -> None:
    pytest.importorskip("detectron2")
    detector = build_detector(tiny(labels=labels), seed=1)
    frames = [noise(0, 50, 70), noise(1, 1, 1), noise(2, 1, 300), noise(3, 120, 40), noise(4, 50, 70)]
    for frame, found in zip(frames, detector.detect(frames), strict=True):
        boxes, scores, classes = found
        assert (boxes.dtype, scores.dtype, classes.dtype) == (torch.float32, torch.float32, torch.int64)
        assert 0 < len(scores) <= 100
        assert boxes.min() >= 0
        assert (boxes <= torch.tensor([frame.shape[1], frame.shape[0]] * 2)).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (scores[1:] <= scores[:-1]).all()
        assert set(classes.tolist()) <= {1, 2, 3}
    alone = detector.detect(frames[4:])[0]
    torch.testing.assert_close(detector.detect(frames)[4], alone, atol=1e-4, rtol=1e-4)


def test_best_labels_give_every_box_once(detector: DetectronDetector) -> None:
    """Each proposal under all of the three classes, or under one: its best score is the same."""
    best = build_detector(tiny(labels="best", nms_iou=1.0), seed=1)
    every = build_detector(tiny(nms_iou=1.0, max_detections=3000), seed=1)
    frame = noise(0, 50, 70)
    (once,), (thrice,) = best.detect([frame]), every.detect([frame])
    assert len(once.scores) == 100
    assert len(thrice.scores) > 300
    assert torch.equal(once.scores[0], thrice.scores[0])
    assert torch.equal(once.boxes_xyxy_px[0], thrice.boxes_xyxy_px[0])


def test_weights_depend_on_the_seed_alone(detector: DetectronDetector) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again, other = (build_detector(tiny(), seed=seed).network.state_dict() for seed in (1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    first = detector.network.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_grey_frames_are_refused_and_no_frames_are_fine(detector: DetectronDetector) -> None:
    assert detector.detect([]) == []
    with pytest.raises(ShapeError, match=r"frame 0 has shape \(8, 9\)"):
        detector.detect([np.zeros((8, 9), np.uint8)])


def test_a_broken_network_is_loud() -> None:
    pytest.importorskip("detectron2")
    detector = build_detector(tiny(), seed=1)
    with torch.no_grad():
        next(detector.network.parameters())[0] = float("inf")
    with pytest.raises(NonFiniteError, match="features"):
        detector.detect([noise(0, 50, 70)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"config": "COCO-Detection/faster_rcnn_R_50_FPN_9x.yaml"},
            "detectron2 has no config .*allowed: visual_genome",
        ),
        ({"config": "../config/defaults.py"}, "detectron2 has no config"),
        ({"options": "MODEL.RESNETS.DEEP 50"}, "refuses the options 'MODEL.RESNETS.DEEP 50'"),
        ({"options": "MODEL.RESNETS.DEPTH 51"}, "cannot build .*MODEL.RESNETS.DEPTH 51"),
        ({"config": "COCO-Detection/rpn_R_50_FPN_1x.yaml", "options": ""}, "ProposalNetwork finds no objects alone"),
        ({"config": "COCO-Detection/fast_rcnn_R_50_FPN_1x.yaml"}, "GeneralizedRCNN finds no objects alone"),
        ({"config": "COCO-Detection/retinanet_R_50_FPN_1x.yaml", "labels": "best", "options": ""}, "labels all"),
    ],
)
def test_what_cannot_be_built(changes: dict, message: str) -> None:
    pytest.importorskip("detectron2")
    with pytest.raises(DetectorError, match=message):
        build_detector(tiny(**changes))


def test_a_network_without_a_second_stage() -> None:
    pytest.importorskip("detectron2")
    retina = "COCO-Detection/retinanet_R_50_FPN_1x.yaml"
    options = f"{RESNET} MODEL.FPN.OUT_CHANNELS 8 MODEL.ANCHOR_GENERATOR.SIZES [[8],[16],[32],[64],[128]]"
    detector = build_detector(tiny(config=retina, n_classes=0, options=options))
    (found,) = detector.detect([noise(0, 50, 70)])
    assert 0 < len(found.scores) <= 100
    assert found.labels.max() <= 80


def test_visual_genome_is_a_config_too() -> None:
    pytest.importorskip("detectron2")
    options = f"{RESNET} MODEL.RPN.CONV_DIMS [8]"
    detector = build_detector(tiny(config=VISUAL_GENOME, options=options, labels="best", min_size_px=64), seed=3)
    assert all(len(found.scores) > 0 for found in detector.detect([noise(0, 50, 70), noise(1, 1, 1)]))
