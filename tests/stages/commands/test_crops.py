"""The look at one video: which boxes are drawn with which scores, and that picture and film hold them."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from models.detectors.interface import Detections
from models.s2cnet.scoring import CropScores
from stages.commands.crops import BEST, OBJECT, SELECTED, WORST, Mark, crops, draw_picture, marked_boxes, write_film
from stages.errors import DatasetError
from stages.steps.clips import ClipFrame
from stages.steps.scorer import Analysis

CANDIDATES = np.array([[0, 0, 60, 40], [4, 4, 40, 44], [20, 8, 64, 48]], np.float32)
OBJECTS = np.array([[10, 10, 20, 20], [30, 12, 50, 40]], np.float32)


def analysis(*scores: tuple[float, ...], selected: int, candidates: np.ndarray = CANDIDATES) -> Analysis:
    """A grey clip of 64x48, a frame for every tuple of candidate scores."""
    n = len(scores)
    frame = np.full((48, 64, 3), 128, np.uint8)
    found = Detections(torch.from_numpy(OBJECTS), torch.tensor([0.9, 0.4]), torch.ones(2, dtype=torch.int64))
    return Analysis(
        clip=[ClipFrame(2 * number, number / 4, frame) for number in range(n)],
        objects=[found] * n,
        candidates=[CropScores(candidates, np.array(own, np.float32)) for own in scores],
        selected_xyxy_px=np.repeat(candidates[selected][None], n, axis=0),
        scores=pd.DataFrame(
            {"frame_index": [2 * number for number in range(n)], "time_s": [number / 4 for number in range(n)],
             "score": [50.0 + number for number in range(n)], "sharpness": 1.0}
        ),
    )  # fmt: skip


def drawn(marks: list[Mark]) -> list[tuple[str, list[float], str]]:
    return [(mark.color, mark.box_xyxy_px.tolist(), mark.text) for mark in marks if mark.color != OBJECT]


def test_the_selected_crop_is_the_frames_best() -> None:
    marks = marked_boxes(analysis((0.5, 1.5, 1.0), selected=1), 0)
    assert [(mark.color, mark.text) for mark in marks[:2]] == [(OBJECT, "0.90"), (OBJECT, "0.40")]
    assert drawn(marks) == [(WORST, [0, 0, 60, 40], "+0.50"), (SELECTED, [4, 4, 40, 44], "+1.50")]


def test_one_crop_for_the_video_is_drawn_with_its_own_score_beside_the_best() -> None:
    marks = marked_boxes(analysis((0.5, 1.5, 1.0), selected=2), 0)
    assert drawn(marks) == [
        (WORST, [0, 0, 60, 40], "+0.50"),
        (BEST, [4, 4, 40, 44], "+1.50"),
        (SELECTED, [20, 8, 64, 48], "+1.00"),
    ]


def test_a_single_candidate_is_drawn_once() -> None:
    marks = marked_boxes(analysis((-0.25,), selected=0, candidates=CANDIDATES[:1]), 0)
    assert drawn(marks) == [(SELECTED, [0, 0, 60, 40], "-0.25")]


def test_crops_that_no_network_chose_have_no_score() -> None:
    marks = marked_boxes(analysis((np.nan, np.nan, np.nan), selected=2), 0)
    assert drawn(marks) == [(SELECTED, [20, 8, 64, 48], "")]


def color_share(image: np.ndarray, color: str) -> float:
    """Share of the pixels of a BGR image that have about that colour."""
    rgb = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)])
    return float((np.abs(image[:, :, ::-1].astype(int) - rgb).max(axis=2) < 40).mean())


def test_the_picture_shows_every_kind_of_box(tmp_path: Path) -> None:
    draw_picture(analysis((0.5, 1.5, 1.0), (0.1, 0.2, 0.3), selected=2), tmp_path / "look.png", title="a <b> $c$")
    image = cv2.imread(str(tmp_path / "look.png"))
    assert image is not None
    assert all(color_share(image, color) > 1e-4 for color in (OBJECT, SELECTED, BEST, WORST))


def test_the_film_has_a_frame_a_second_with_its_boxes(tmp_path: Path) -> None:
    write_film(analysis((0.5, 1.5, 1.0), (0.1, 0.2, 0.3), selected=2), tmp_path / "look.mp4")
    capture = cv2.VideoCapture(str(tmp_path / "look.mp4"))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert [frame.shape for frame in frames] == [(480, 640, 3)] * 2
    assert capture.get(cv2.CAP_PROP_FPS) == 1
    assert color_share(frames[0], SELECTED) > 1e-3
    assert not [path for path in tmp_path.iterdir() if path.name != "look.mp4"]


def test_other_endings_are_refused_before_work(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"allowed endings are \.png and \.mp4"):
        crops(Path("a.mp4"), out=tmp_path / "look.gif")
