"""The interface of detectors, on Faster R-CNN with tiny widths."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from models.backbones import BackboneError
from models.config import problems_of
from models.detectors import faster_rcnn
from models.detectors.build import build_detector
from models.detectors.faster_rcnn import FasterRcnn, SharedBoxPredictor, scaled_size
from models.detectors.interface import DetectorError
from models.detectors.passes import check_finite
from models.errors import NonFiniteError, ShapeError
from tests.configs import faster_rcnn_config

TINY = faster_rcnn_config(
    "timm_fpn",
    n_classes=2,
    min_size_px=32,
    max_size_px=64,
    min_score=0.0,
    backbone="test_resnet",
    anchor_px=12,
    fpn_channels=8,
    head_channels=8,
    rpn_boxes=10,
)


@pytest.fixture(scope="module")
def detector() -> FasterRcnn:
    return build_detector(TINY, seed=3)


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_detections_are_sorted_and_inside_the_frame(detector: FasterRcnn) -> None:
    for frame, found in zip(frames := [noise(0, 40, 56), noise(1, 130, 40)], detector.detect(frames), strict=True):
        boxes, scores, labels = found
        assert (boxes.dtype, scores.dtype, labels.dtype) == (torch.float32, torch.float32, torch.int64)
        assert boxes.shape == (len(scores), 4)
        assert len(scores) == len(labels) > 0
        height, width = frame.shape[:2]
        assert boxes.min() >= 0
        assert boxes[:, [0, 2]].max() <= width
        assert boxes[:, [1, 3]].max() <= height
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        # The larger frame is scaled down to 64 px, the boxes come back in its own pixels.
        assert boxes[:, 3].max() > 0.6 * height
        assert all(first >= second for first, second in pairwise(scores.tolist()))
        assert set(labels.tolist()) <= {1, 2}


def test_a_frame_gives_the_same_beside_any_neighbours(detector: FasterRcnn) -> None:
    frames = [noise(0, 40, 56), noise(1, 32, 32), noise(2, 40, 56), noise(3, 64, 40), noise(4, 40, 56)]
    together = detector.detect(frames)
    for frame, found in zip(frames, together, strict=True):
        alone = detector.detect([frame])[0]
        torch.testing.assert_close(found.boxes_xyxy_px, alone.boxes_xyxy_px, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.scores, alone.scores, atol=1e-5, rtol=0)
        # Rounding swaps no ranks: it is far smaller than what lies between two scores here.
        assert torch.equal(found.labels, alone.labels)


def test_passes_are_cut_by_their_pixels(detector: FasterRcnn, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [noise(seed, 32, 32) for seed in range(5)]
    whole = detector.detect(frames)
    sizes: list[int] = []
    handle = detector.network.backbone.register_forward_hook(lambda _module, inputs, _out: sizes.append(len(inputs[0])))
    # Two frames of 32 x 32 px are 2048 px.
    monkeypatch.setattr(faster_rcnn, "PASS_PX", 2048)
    cut = detector.detect(frames)
    handle.remove()
    assert sizes == [2, 2, 1]
    for first, second in zip(whole, cut, strict=True):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)


def test_no_frames_and_no_objects() -> None:
    strict = build_detector(TINY.model_copy(update={"min_score": 1.0}))
    assert strict.detect([]) == []
    (found,) = strict.detect([noise(0, 32, 32)])
    assert found.boxes_xyxy_px.shape == (0, 4)
    assert found.scores.shape == found.labels.shape == (0,)
    assert (found.boxes_xyxy_px.dtype, found.labels.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("labels", ["all", "best"])
def test_no_proposals(labels: str) -> None:
    detector = build_detector(TINY.model_copy(update={"labels": labels}))
    rpn, frames = detector.network.rpn, [noise(0, 32, 40), noise(1, 32, 40)]
    rpn.score_thresh = 2.0
    assert [len(found.scores) for found in detector.detect(frames)] == [0, 0]
    # One frame of a pass without proposals: the other one is as it is alone.
    rpn.score_thresh = 0.0
    expected = detector.detect(frames[1:])[0]
    given = rpn.forward
    rpn.forward = lambda *inputs: ([torch.zeros(0, 4), given(*inputs)[0][1]], {})
    none, found = detector.detect(frames)
    assert len(none.scores) == 0
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("labels", ["all", "best"])
@pytest.mark.parametrize(
    ("weight", "value", "words"),
    [
        ("backbone.fpn.layer_blocks.0.0.bias", float("nan"), r"features \(0\)"),
        ("rpn.head.cls_logits.bias", float("nan"), r"first stage \(objectness 0, objectness 1\)"),
        # Finite: in pixels 5e37 times the side of an anchor is infinite.
        ("rpn.head.bbox_pred.bias", 5e37, r"first stage \(box deltas 0, box deltas 1\)"),
        ("roi_heads.box_predictor.cls_score.bias", float("inf"), r"second stage \(class scores\)"),
        ("roi_heads.box_predictor.bbox_pred.bias", float("-inf"), r"second stage \(box deltas, boxes\)"),
        ("roi_heads.box_predictor.bbox_pred.bias", 3e38, r"second stage \(boxes\)"),
    ],
)
def test_a_broken_network_is_no_empty_frame(labels: str, weight: str, value: float, words: str) -> None:
    detector = build_detector(TINY.model_copy(update={"labels": labels}))
    detector.network.get_parameter(weight).data.fill_(value)
    with pytest.raises(NonFiniteError, match=rf"the detector's {words} hold NaN or infinities"):
        detector.detect([noise(0, 32, 32)])


def test_large_finite_numbers_are_no_error() -> None:
    """Their sum overflows."""
    check_finite({"first": torch.full((8,), 1e38), "second": torch.zeros(2)})
    with pytest.raises(NonFiniteError, match=r"features \(second\)"):
        check_finite({"first": torch.full((8,), 1e38), "second": torch.tensor([0.0, float("nan")])})


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1)])
def test_frames_of_one_pixel_and_lines(detector: FasterRcnn, height: int, width: int) -> None:
    (found,) = detector.detect([noise(0, height, width)])
    assert torch.isfinite(found.boxes_xyxy_px).all()
    assert (found.boxes_xyxy_px <= torch.tensor([width, height] * 2)).all()


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((8, 9), np.uint8),
        np.zeros((8, 9, 1), np.uint8),
        np.zeros((8, 9, 4), np.uint8),
        np.zeros((0, 9, 3), np.uint8),
        np.zeros((8, 9, 3), np.float32),
    ],
)
def test_other_arrays_are_refused_with_their_shape(detector: FasterRcnn, frame: np.ndarray) -> None:
    with pytest.raises(ShapeError) as error:
        detector.detect([noise(0, 8, 8), frame])
    assert f"frame 1 has shape {frame.shape} and dtype {frame.dtype}" in str(error.value)


def test_detecting_keeps_the_mode_and_leaves_no_gradient() -> None:
    detector = build_detector(TINY)
    detector.train()
    statistics = {name: value.clone() for name, value in detector.named_buffers()}
    (found,) = detector.detect([noise(0, 32, 32)])
    assert detector.network.training
    assert not found.scores.requires_grad
    assert all(torch.equal(value, statistics[name]) for name, value in detector.named_buffers())


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build_detector(TINY, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_losses_without_objects() -> None:
    detector = build_detector(TINY)
    frames = [noise(0, 32, 32), noise(1, 40, 32)]
    none, no_labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    terms = detector.losses(frames, [none] * 2, [no_labels] * 2)
    # Without objects there are no boxes to be right or wrong about; saying "background" can still be wrong.
    assert terms["loss_box_reg"] == terms["loss_rpn_box_reg"] == 0
    assert terms["loss_objectness"] > 0
    assert terms["loss_classifier"] > 0
    torch.stack([*terms.values()]).sum().backward()
    assert all(weight.grad is None or torch.isfinite(weight.grad).all() for weight in detector.parameters())


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((96, 128), (96, 128)),
        ((480, 640), (96, 128)),  # scales 96/480 = 0.2 and 160/640 = 0.25: the smaller one
        ((100, 400), (40, 160)),  # 96/100 and 160/400 = 0.4
        ((24, 30), (96, 120)),
        ((1, 1000), (1, 160)),  # 0.16 px high would be nothing
    ],
)
def test_scaled_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert scaled_size(*size, min_size_px=96, max_size_px=160) == expected


def test_anchors_double_from_level_to_level(detector: FasterRcnn) -> None:
    generator = detector.network.rpn.anchor_generator
    # Square anchors of level 0: 12 and 12 x 2^0.5 = 16.97; of level 1: 24 and 33.94.
    assert [[round(side, 2) for side in level] for level in generator.sizes] == [[12.0, 16.97], [24.0, 33.94]]
    assert generator.num_anchors_per_location() == [6, 6]
    maps = detector.network.backbone(torch.zeros(1, 3, 64, 32))
    assert [tuple(map_.shape) for map_ in maps.values()] == [(1, 8, 8, 4), (1, 8, 4, 2)]


def test_one_box_for_all_classes() -> None:
    scores, deltas = SharedBoxPredictor(5, 3)(torch.rand(4, 5))
    assert scores.shape == (4, 3)
    assert torch.equal(deltas.view(4, 3, 4), deltas[:, None, :4].expand(4, 3, 4))


def test_config_names_every_problem() -> None:
    with pytest.raises(ValidationError) as error:
        faster_rcnn_config("yolo", n_classes=0, min_size_px=64, max_size_px=96, nms_iou=1.5)
    text = problems_of(error.value)
    for part in ("architecture = 'yolo': ", "'timm_fpn', ", "n_classes = 0: ", "nms_iou = 1.5: "):
        assert part in text
    with pytest.raises(ValidationError, match="max_size_px = 32 must not be below min_size_px = 64"):
        faster_rcnn_config("timm_fpn", 1, 64, 32)
    with pytest.raises(ValidationError, match="anchor_px"):
        faster_rcnn_config("timm_fpn", 1, 32, 64, anchor_px=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "test_resnt"}, "nearest: test_resnet"),
        ({"stride_px": 3}, r"no features of stride \[3, 6\]; it has: \[2, 4, 8, 16, 32\]"),
        ({"levels": 4}, r"no features of stride \[64\]"),
        ({"backbone": "swin_tiny_patch4_window7_224"}, "gives no feature maps: Input height"),
        ({"backbone": "mambaout_femto"}, r"\(B, D, H, W\) with D of \[96, 192\]"),  # channels come last
    ],
)
def test_backbones_that_do_not_fit(changes: dict, message: str) -> None:
    # The meta device has shapes without numbers, which is all that these errors take.
    with pytest.raises((DetectorError, BackboneError), match=message), torch.device("meta"):
        build_detector(faster_rcnn_config("timm_fpn", 2, 64, 96, **changes))
