"""Proposals as table rows. The stage itself runs in test_pipeline.py."""

import numpy as np
import torch

from models.detectors import Detections
from stages.engine import Item
from stages.io.clips import ClipFrame
from stages.io.tables import PROPOSALS
from stages.propose import proposals_table

FRAME = np.zeros((8, 8, 3), np.uint8)


def found(*boxes: tuple[float, ...]) -> Detections:
    count = len(boxes)
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.linspace(0.9, 0.5, count),
        torch.arange(1, count + 1),
    )


def test_rows_come_frame_by_frame_and_ranks_start_anew() -> None:
    clip = [ClipFrame(index, 0.0, FRAME) for index in (0, 4, 7)]
    table = proposals_table(
        Item("a.avi", "key"), clip, [found((0, 0, 2, 2), (1, 1, 3, 3)), found(), found((4, 4, 8, 8))]
    )
    assert table.schema.equals(PROPOSALS)
    assert table["frame_index"].to_pylist() == [0, 0, 7]
    assert table["rank"].to_pylist() == [0, 1, 0]
    assert table["x1"].to_pylist() == [2.0, 3.0, 8.0]
    assert table["label"].to_pylist() == [1, 2, 1]
    assert set(table["video_id"].to_pylist()) == {"a.avi"}


def test_a_video_without_objects_has_no_rows() -> None:
    table = proposals_table(Item("a.avi", "key"), [ClipFrame(0, 0.0, FRAME)], [found()])
    assert table.num_rows == 0
    assert table.schema.equals(PROPOSALS)
