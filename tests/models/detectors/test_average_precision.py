"""COCO's average precision, with values that can be worked out by hand."""

import pytest
import torch
from torch import Tensor

from models.detectors.average_precision import average_precision
from models.detectors.interface import Detections
from models.errors import ShapeError

BOX, FAR = [10.0, 10.0, 30.0, 30.0], [60.0, 10.0, 80.0, 30.0]


def found(*objects: tuple[list[float], float, int]) -> Detections:
    boxes = torch.tensor([box for box, _, _ in objects]).view(-1, 4)
    scores = torch.tensor([score for _, score, _ in objects])
    return Detections(boxes, scores, torch.tensor([label for _, _, label in objects], dtype=torch.int64))


def truth(*objects: tuple[list[float], int]) -> tuple[Tensor, Tensor]:
    boxes = torch.tensor([box for box, _ in objects]).view(-1, 4)
    return boxes, torch.tensor([label for _, label in objects], dtype=torch.int64)


def precision(detections: list[Detections], objects: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    boxes, labels = zip(*objects, strict=True)
    return average_precision(detections, boxes, labels, n_classes=2)


def test_all_found_and_none_found() -> None:
    objects = [truth((BOX, 1), (FAR, 2)), truth()]
    perfect = [found((BOX, 0.9, 1), (FAR, 0.8, 2)), found()]
    assert precision(perfect, objects) == pytest.approx({"ap": 1.0, "ap50": 1.0, "ap75": 1.0})
    assert precision([found(), found()], objects) == {"ap": 0.0, "ap50": 0.0, "ap75": 0.0}
    # The right box under the wrong class is wrong.
    assert precision([found((BOX, 0.9, 2)), found()], objects)["ap50"] == 0.0


def test_a_false_alarm_above_the_object_halves_the_precision(capsys: pytest.CaptureFixture[str]) -> None:
    figures = precision([found((FAR, 0.9, 1), (BOX, 0.8, 1))], [truth((BOX, 1))])
    # At every recall the best precision that is reached is 1 of 2.
    assert figures == pytest.approx({"ap": 0.5, "ap50": 0.5, "ap75": 0.5})
    assert capsys.readouterr().out == ""


def test_overlap_decides_which_thresholds_are_passed() -> None:
    # 20 x 20 against 14 x 20 inside it: IoU 0.7, which passes 0.5, 0.55, 0.6, 0.65 and 0.7, five of ten.
    figures = precision([found(([10.0, 10.0, 24.0, 30.0], 0.9, 1))], [truth((BOX, 1))])
    assert figures == pytest.approx({"ap": 0.5, "ap50": 1.0, "ap75": 0.0}, abs=0.11)
    assert figures["ap"] in (pytest.approx(0.5), pytest.approx(0.4))


def test_a_class_without_objects_does_not_count() -> None:
    assert precision([found((BOX, 0.9, 1))], [truth((BOX, 1))])["ap"] == pytest.approx(1.0)


def test_what_is_found_in_a_crowd_counts_neither_way() -> None:
    """Two hits inside a crowd's region stand above the object; without the region they would be false alarms."""
    inside = [60.0, 10.0, 70.0, 20.0], [70.0, 20.0, 80.0, 30.0]
    detections = [found((inside[0], 0.9, 1), (inside[1], 0.8, 1), (BOX, 0.7, 1))]
    boxes, labels = truth((BOX, 1))
    alone = average_precision(detections, [boxes], [labels], n_classes=1)
    among = average_precision(detections, [boxes], [labels], n_classes=1, crowds=[truth((FAR, 1))])
    assert alone["ap"] == pytest.approx(1 / 3)
    assert among["ap"] == pytest.approx(1.0)


def test_what_nothing_can_be_said_of() -> None:
    with pytest.raises(ShapeError, match="1 images without an object"):
        precision([found()], [truth()])
    with pytest.raises(ShapeError, match="2 detections, 1 boxes, 1 labels"):
        average_precision([found(), found()], *([each] for each in truth((BOX, 1))), n_classes=2)
