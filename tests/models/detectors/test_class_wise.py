"""Suppression within each class, all classes of a box and its best one, held against slow loops and torchvision."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import clip_boxes_to_image

from models.detectors import class_wise
from models.detectors.class_wise import all_of_classes, best_of_classes, suppress_by_class
from models.errors import NonFiniteError, ShapeError


def iou(first: list[float], second: list[float]) -> float:
    wide = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    high = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return wide * high / (sum(areas) - wide * high)


def slow(boxes: Tensor, scores: Tensor, *, nms_iou: float, min_score: float, max_boxes: int) -> list[tuple[int, int]]:
    """As the rule is told: class after class, box after box."""
    best: dict[int, tuple[float, int]] = {}
    for label in range(scores.shape[1]):
        own = boxes[:, label if boxes.shape[1] > 1 else 0].tolist()
        kept: list[int] = []
        for row in sorted(range(len(own)), key=lambda row: -scores[row, label].item()):
            box, score = own[row], scores[row, label].item()
            has_area = box[2] > box[0] and box[3] > box[1]
            if has_area and score >= min_score and all(iou(box, own[other]) <= nms_iou for other in kept):
                kept.append(row)
        for row in kept:
            if row not in best or scores[row, label].item() > best[row][0]:
                best[row] = (scores[row, label].item(), label)
    ordered = sorted(best, key=lambda row: (-best[row][0], row))
    return [(row, best[row][1]) for row in ordered][:max_boxes]


def random_boxes(random: torch.Generator, *shape: int) -> Tensor:
    corners = torch.rand(*shape, 2, generator=random) * 40
    return torch.cat([corners, corners + torch.rand(*shape, 2, generator=random) * 30], dim=-1)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("first_pairs", [1, 7, 1024])
def test_same_as_a_slow_loop(monkeypatch: pytest.MonkeyPatch, seed: int, first_pairs: int) -> None:
    monkeypatch.setattr(class_wise, "FIRST_PAIRS", first_pairs)
    monkeypatch.setattr(class_wise, "OVERLAPS_AT_ONCE", (60, 2**20)[seed % 2])
    random = torch.Generator().manual_seed(seed)
    n_boxes, n_classes = (1, 9, 30)[seed % 3], (1, 4, 11)[seed % 4 % 3]
    boxes = random_boxes(random, n_boxes, n_classes if seed % 2 else 1)
    if n_boxes > 5:
        boxes[3, :, 2] = boxes[3, :, 0]
    scores = torch.rand(n_boxes, n_classes, generator=random)
    if seed % 3 == 1:
        # A grid of few values: equal scores between boxes and between classes.
        scores = (scores * 4).round() / 4
    settings: dict[str, Any] = {"nms_iou": 0.3, "min_score": (0.0, 0.5)[seed % 2], "max_boxes": (3, 100)[seed % 4 // 2]}
    rows, classes = best_of_classes(boxes, scores, **settings)
    assert list(zip(rows.tolist(), classes.tolist(), strict=True)) == slow(boxes, scores, **settings)


def test_a_box_falls_back_on_the_class_that_it_stayed_in() -> None:
    """Two boxes with an overlap of 2/3: the second loses class 0 to the first, and keeps class 1."""
    boxes = torch.tensor([[[0.0, 0, 10, 10]], [[2.0, 0, 12, 10]]])
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.3]])
    rows, classes = best_of_classes(boxes, scores, nms_iou=0.3, min_score=0.0, max_boxes=10)
    assert (rows.tolist(), classes.tolist()) == ([0, 1], [0, 1])
    # 0.7 is above their overlap: now both stay in class 0.
    rows, classes = best_of_classes(boxes, scores, nms_iou=0.7, min_score=0.0, max_boxes=10)
    assert (rows.tolist(), classes.tolist()) == ([0, 1], [0, 0])


def test_equal_scores_keep_the_order_of_boxes_and_classes() -> None:
    boxes = torch.tensor([[[20.0 * row, 0, 20.0 * row + 10, 10]] for row in range(50)])
    rows, classes = best_of_classes(boxes, torch.full((50, 3), 0.5), nms_iou=0.3, min_score=0.0, max_boxes=40)
    assert rows.tolist() == list(range(40))
    assert classes.tolist() == [0] * 40


def test_nothing_in_nothing_out() -> None:
    for boxes, scores in ((torch.zeros(0, 1, 4), torch.zeros(0, 5)), (torch.ones(3, 1, 4), torch.ones(3, 5))):
        rows, classes = best_of_classes(boxes, scores, nms_iou=0.3, min_score=0.0, max_boxes=10)
        assert rows.shape == classes.shape == (0,)
    assert suppress_by_class(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 0.5).shape == (0,)


def test_most_pairs_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 boxes of 1600 classes are 480000 pairs; 100 boxes are found among the 1024 best."""
    seen: list[int] = []

    def counted(boxes: Tensor, classes: Tensor, nms_iou: float) -> Tensor:
        seen.append(len(classes))
        return suppress_by_class(boxes, classes, nms_iou)

    monkeypatch.setattr(class_wise, "suppress_by_class", counted)
    random = torch.Generator().manual_seed(0)
    scores = torch.softmax(4 * torch.randn(300, 1600, generator=random), dim=1)
    rows, _ = best_of_classes(random_boxes(random, 300, 1600), scores, nms_iou=0.3, min_score=0.0, max_boxes=100)
    assert len(rows) == 100
    assert seen == [1024]


def test_wrong_shapes_and_numbers() -> None:
    limits: dict[str, Any] = {"nms_iou": 0.3, "min_score": 0.0, "max_boxes": 10}
    with pytest.raises(ShapeError, match=r"boxes have shape \(3, 2, 4\) and scores \(3, 5\)"):
        best_of_classes(torch.ones(3, 2, 4), torch.ones(3, 5), **limits)
    for place in (0, 1):
        broken = torch.rand(3, 1, 4), torch.rand(3, 5)
        broken[place][1, 0] = float("nan")
        with pytest.raises(NonFiniteError, match="of 3 boxes are not finite"):
            best_of_classes(broken[0], broken[1], **limits)


def every_class(
    boxes: Tensor, scores: Tensor, *, nms_iou: float, min_score: float, max_boxes: int
) -> list[tuple[int, int]]:
    """The rule of `all_of_classes` as a loop: class after class, box after box, then all pairs by score."""
    pairs: list[tuple[int, int]] = []
    for label in range(scores.shape[1]):
        own, kept = boxes[:, label].tolist(), []
        for row in sorted(range(len(own)), key=lambda row: -scores[row, label].item()):
            if scores[row, label] > min_score and all(iou(own[row], own[other]) <= nms_iou for other in kept):
                kept.append(row)
        pairs += [(row, label) for row in kept]
    return sorted(pairs, key=lambda pair: (-scores[pair].item(), pair))[:max_boxes]


@pytest.mark.parametrize("n_boxes", [30, 300])
def test_every_class_as_a_slow_loop_with_equal_scores(n_boxes: int) -> None:
    """From 1000 pairs on (here 1200) torchvision's order of equal scores is any order."""
    random = torch.Generator().manual_seed(n_boxes)
    boxes = random_boxes(random, n_boxes, 4) + torch.tensor([0.0, 0.0, 1.0, 1.0])
    scores = (torch.rand(n_boxes, 4, generator=random) * 8).round() / 8
    settings: dict[str, Any] = {"nms_iou": 0.5, "min_score": 0.1, "max_boxes": 40}
    rows, classes = all_of_classes(boxes, scores, **settings)
    found = list(zip(rows.tolist(), classes.tolist(), strict=True))
    assert found == every_class(boxes, scores, **settings)
    assert len(found) == 40


def test_all_scores_equal_keep_the_order_of_boxes_and_classes() -> None:
    boxes = torch.tensor([[[20.0 * row, 0, 20.0 * row + 10, 10]] * 3 for row in range(500)])
    rows, classes = all_of_classes(boxes, torch.full((500, 3), 0.5), nms_iou=0.5, min_score=0.0, max_boxes=100)
    assert list(zip(rows.tolist(), classes.tolist(), strict=True)) == [(at // 3, at % 3) for at in range(100)]


@pytest.mark.parametrize(("n_boxes", "min_score"), [(20, 0.0), (400, 0.05), (400, 0.3), (0, 0.0)])
def test_every_class_as_torchvision_without_equal_scores(n_boxes: int, min_score: float) -> None:
    """Bit for bit; 400 boxes of 4 classes are 1600 pairs, for which torchvision goes class by class."""
    random = torch.Generator().manual_seed(n_boxes)
    proposals = random_boxes(random, n_boxes) if n_boxes else torch.zeros(0, 4)
    logits, deltas = torch.randn(n_boxes, 5, generator=random), torch.randn(n_boxes, 20, generator=random)
    unused: Any = None
    heads = RoIHeads(unused, unused, unused, 0.5, 0.5, 8, 0.5, None, min_score, 0.5, 100)
    if n_boxes:
        expected = [part[0] for part in heads.postprocess_detections(logits, deltas, [proposals], [(60, 70)])]
    else:
        expected = [torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)]
    boxes = clip_boxes_to_image(heads.box_coder.decode(deltas, [proposals]).reshape(n_boxes, 5, 4)[:, 1:], (60, 70))
    scores = logits.softmax(dim=1)[:, 1:]
    rows, classes = all_of_classes(boxes, scores, nms_iou=0.5, min_score=min_score, max_boxes=100)
    assert len(rows) == (100 if n_boxes == 400 and min_score < 0.3 else len(expected[1]))
    for ours, theirs in zip((boxes[rows, classes], scores[rows, classes], classes + 1), expected, strict=True):
        assert torch.equal(ours, theirs)
