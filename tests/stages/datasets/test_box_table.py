"""Boxes that were brought along."""

import dataclasses

import numpy as np
import pytest
import torch

from models.detectors.class_wise import best_of_classes
from models.detectors.interface import DetectorError
from stages.datasets.box_table import BoxTable
from tests.configs import detection_rules

# IoU of the first two: 2/3; the third overlaps neither.
LEFT, SHIFTED, FAR = [0.0, 0.0, 10.0, 10.0], [2.0, 0.0, 12.0, 10.0], [30.0, 0.0, 40.0, 10.0]


def table(**config: float) -> BoxTable:
    """Video a: frame 0 with three boxes, frame 4 with one; video b: frame 2 with two of different labels."""
    settings = detection_rules(**({"min_score": 0.1} | config))
    return BoxTable(
        settings,
        ("a", "b"),
        ((1, "one.txt"), (5, "two.txt")),
        starts=torch.tensor([0, 4, 6]),
        frame_index=torch.tensor([0, 0, 0, 4, 2, 2]),
        boxes_xyxy_px=torch.tensor([LEFT, SHIFTED, FAR, FAR, LEFT, SHIFTED]),
        scores=torch.tensor([0.9, 0.8, 0.05, 0.5, 0.7, 0.6]),
        labels=torch.tensor([1, 1, 1, 1, 1, 2]),
        rows=torch.tensor([3, 1, 2, 4, 5, 7]),
    )


def test_a_frame_gets_its_boxes_as_a_detector_would_give_them() -> None:
    # SHIFTED overlaps LEFT of the same label; FAR's score is below 0.1.
    assert table().look_up("a", 0).boxes_xyxy_px.tolist() == [LEFT]
    assert table(nms_iou=0.7).look_up("a", 0).boxes_xyxy_px.tolist() == [LEFT, SHIFTED]
    assert table(nms_iou=0.7, min_score=0.0).look_up("a", 0).boxes_xyxy_px.tolist() == [LEFT, SHIFTED, FAR]
    assert table(nms_iou=0.7, max_detections=1).look_up("a", 0).boxes_xyxy_px.tolist() == [LEFT]
    assert table().look_up("a", 4).scores.tolist() == [0.5]
    # Different labels do not push each other out.
    assert table().look_up("b", 2).labels.tolist() == [1, 2]


def test_the_best_label_of_a_box_that_stands_under_several() -> None:
    """As a network's boxes: suppression within each label first, then each box once, under the best label left."""
    boxes = [LEFT, SHIFTED, LEFT, FAR, SHIFTED, LEFT]
    made = BoxTable(
        detection_rules(min_score=0.1, nms_iou=0.5, labels="best"),
        ("a",),
        ((1, "boxes.parquet"),),
        starts=torch.tensor([0, 6]),
        frame_index=torch.zeros(6, dtype=torch.int64),
        boxes_xyxy_px=torch.tensor(boxes),
        scores=torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]),
        labels=torch.tensor([1, 1, 2, 1, 3, 3]),
        rows=torch.arange(1, 7),
    )
    found = made.look_up("a", 0)
    # LEFT is best under 1, where it takes SHIFTED's place; SHIFTED is left under 3, where it is better than LEFT.
    assert found.boxes_xyxy_px.tolist() == [LEFT, FAR, SHIFTED]
    assert found.labels.tolist() == [1, 1, 3]
    assert found.scores.tolist() == pytest.approx([0.9, 0.6, 0.5])
    rows, classes = best_of_classes(
        torch.tensor([[LEFT], [SHIFTED], [FAR]]),
        torch.tensor([[0.9, 0.7, 0.4], [0.8, 0.0, 0.5], [0.6, 0.0, 0.0]]),
        nms_iou=0.5, min_score=0.1, max_boxes=100,
    )  # fmt: skip
    assert (rows.tolist(), (classes + 1).tolist()) == ([0, 2, 1], found.labels.tolist())
    assert dataclasses.replace(made, config=made.config.model_copy(update={"max_detections": 2})).look_up(
        "a", 0
    ).labels.tolist() == [
        1,
        1,
    ]
    every = dataclasses.replace(made, config=made.config.model_copy(update={"labels": "all"})).look_up("a", 0)
    assert every.labels.tolist() == [1, 2, 1, 3]


@pytest.mark.parametrize(("video", "frame"), [("a", 1), ("a", 5), ("b", 0), ("c", 0)])
def test_no_boxes(video: str, frame: int) -> None:
    for labels in ("all", "best"):
        made = table()
        found = dataclasses.replace(made, config=made.config.model_copy(update={"labels": labels})).look_up(
            video, frame
        )
        assert found.boxes_xyxy_px.shape == (0, 4)
        assert len(found.scores) == len(found.labels) == 0


def test_rows_are_named_by_file() -> None:
    # Rows 1 to 4 are of the first file, rows from 5 on of the second.
    assert [table().name_row(place) for place in (0, 3, 4, 5)] == [
        "one.txt, row 3", "one.txt, row 4", "two.txt, row 1", "two.txt, row 3",
    ]  # fmt: skip


def test_other_frames_need_a_network() -> None:
    with pytest.raises(DetectorError, match=r"boxes of 2 videos were brought along .*in 1 other frames"):
        table().detect([np.zeros((4, 4, 3), np.uint8)])
