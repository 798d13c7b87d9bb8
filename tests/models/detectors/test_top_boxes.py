"""The choice of the best boxes."""

import pytest
import torch

from models.detectors.interface import Detections
from models.detectors.top_boxes import top_boxes
from models.errors import NonFiniteError

# IoU of the first two: 8 x 10 of 12 x 10 = 2/3; the third overlaps neither.
LEFT, SHIFTED, FAR = [0.0, 0.0, 10.0, 10.0], [2.0, 0.0, 12.0, 10.0], [30.0, 0.0, 40.0, 10.0]


def detections(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    return Detections(torch.tensor(boxes).view(-1, 4), torch.tensor(scores), torch.tensor(labels, dtype=torch.int64))


def test_overlapping_boxes_of_two_classes_are_one_object() -> None:
    found = detections([LEFT, SHIFTED, FAR], [0.9, 0.8, 0.3], [1, 2, 1])
    best = top_boxes(found, top_n=5, score_threshold=0.0, nms_iou=0.5)
    assert best.boxes_xyxy_px.tolist() == [LEFT, FAR]
    assert best.labels.tolist() == [1, 1]
    # 0.7 is above their overlap of 2/3.
    assert len(top_boxes(found, top_n=5, score_threshold=0.0, nms_iou=0.7).scores) == 3


def test_best_first_from_any_order() -> None:
    found = detections([FAR, SHIFTED, LEFT], [0.3, 0.8, 0.9], [3, 2, 1])
    best = top_boxes(found, top_n=5, score_threshold=0.0, nms_iou=0.7)
    assert best.labels.tolist() == [1, 2, 3]
    assert best.boxes_xyxy_px.tolist() == [LEFT, SHIFTED, FAR]
    assert top_boxes(found, top_n=2, score_threshold=0.0, nms_iou=0.7).labels.tolist() == [1, 2]


def test_threshold_keeps_equal_scores() -> None:
    found = detections([LEFT, FAR], [0.5, 0.25], [1, 2])
    assert top_boxes(found, top_n=5, score_threshold=0.25, nms_iou=0.5).labels.tolist() == [1, 2]
    assert top_boxes(found, top_n=5, score_threshold=0.26, nms_iou=0.5).labels.tolist() == [1]
    assert top_boxes(found, top_n=5, score_threshold=0.6, nms_iou=0.5).boxes_xyxy_px.shape == (0, 4)


def test_equal_scores_keep_their_order() -> None:
    boxes = [[20.0 * place, 0.0, 20.0 * place + 10, 10.0] for place in range(40)]
    found = detections(boxes, [0.5] * 40, list(range(1, 41)))
    assert top_boxes(found, top_n=40, score_threshold=0.1, nms_iou=0.5).labels.tolist() == list(range(1, 41))
    overlapping = detections([SHIFTED, LEFT], [0.5, 0.5], [1, 2])
    assert top_boxes(overlapping, top_n=5, score_threshold=0.1, nms_iou=0.5).labels.tolist() == [1]


def test_no_boxes() -> None:
    best = top_boxes(detections([], [], []), top_n=5, score_threshold=0.1, nms_iou=0.5)
    assert best.boxes_xyxy_px.shape == (0, 4)
    assert len(best.scores) == len(best.labels) == 0


def test_numbers_that_are_none_are_refused() -> None:
    nan = float("nan")
    for broken in (detections([LEFT, [nan] * 4], [0.9, 0.5], [1, 2]), detections([LEFT, FAR], [nan, 0.5], [1, 2])):
        with pytest.raises(NonFiniteError, match="boxes or scores of 2 detections are NaN or infinite"):
            top_boxes(broken, top_n=5, score_threshold=0.1, nms_iou=0.5)


def test_same_as_a_slow_loop() -> None:
    random = torch.Generator().manual_seed(0)
    corners = torch.rand(60, 2, generator=random) * 50
    boxes = torch.cat([corners, corners + 5 + torch.rand(60, 2, generator=random) * 30], dim=1)
    # A grid of scores, so that many are equal.
    scores = (torch.rand(60, generator=random) * 8).round() / 8
    found = Detections(boxes, scores, torch.arange(60))

    def iou(first: list[float], second: list[float]) -> float:
        wide = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
        high = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
        return wide * high / (sum(areas) - wide * high)

    expected: list[int] = []
    for place in sorted(range(60), key=lambda place: -scores[place].item()):
        if scores[place] >= 0.25 and all(iou(boxes[place].tolist(), boxes[kept].tolist()) <= 0.4 for kept in expected):
            expected.append(place)
    assert 5 < len(expected) < 50
    assert top_boxes(found, top_n=60, score_threshold=0.25, nms_iou=0.4).labels.tolist() == expected
    assert top_boxes(found, top_n=3, score_threshold=0.25, nms_iou=0.4).labels.tolist() == expected[:3]
