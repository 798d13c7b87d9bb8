"""Precomputed boxes against their videos: wrong rows are named, roundings clipped, missing boxes reported."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.datasets.box_checks import Video, coverage, fit_to_videos
from stages.datasets.box_table import BoxTable
from stages.datasets.boxes import read_boxes
from stages.errors import TableError
from tests.configs import detection_rules

KEEP_ALL = detection_rules(min_score=0.0, nms_iou=1.0)
# Video a: frames 0 and 4 of 5 were decoded, 40x32 px. Video b: frame 2 of 6, 20x10 px.
VIDEOS = {"a": Video({0: (32, 40), 4: (32, 40)}, [0, 4]), "b": Video({2: (10, 20)}, [2])}
N_FRAMES = {"a": 5, "b": 6, "lost": 9, "unreadable": None}
Row = tuple[str, int, list[float]]


@pytest.fixture
def bring(tmp_path: Path):
    def call(*rows: Row) -> BoxTable:
        boxes = np.array([row[2] for row in rows], dtype=float)
        columns = {"video_id": [row[0] for row in rows], "frame_index": [row[1] for row in rows], "score": 0.5}
        table = pd.DataFrame(columns | {name: boxes[:, place] for place, name in enumerate(("x0", "y0", "x1", "y1"))})
        table.to_parquet(tmp_path / "boxes.parquet")
        return read_boxes(tmp_path / "boxes.parquet", KEEP_ALL)

    return call


@pytest.fixture
def bring_texts(tmp_path: Path):
    def call(**texts: str) -> BoxTable:
        for name, text in texts.items():
            path = tmp_path / "boxes" / f"{name.replace('__', '/')}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return read_boxes(tmp_path / "boxes", KEEP_ALL)

    return call


def test_roundings_past_the_edge_are_clipped(bring) -> None:
    """To the frame's own size, of a frame that was not decoded to the largest of its video; nothing else moves."""
    table = fit_to_videos(
        bring(
            ("a", 0, [0, 0, 40.75, 33]),
            ("a", 3, [1, 2, 41, 4]),
            ("b", 2, [1.5, 2, 20.5, 9]),
            ("lost", 8, [0, 0, 99, 99]),
        ),
        VIDEOS,
        N_FRAMES,
    )
    assert table.look_up("a", 0).boxes_xyxy_px.tolist() == [[0, 0, 40, 32]]
    assert table.look_up("a", 3).boxes_xyxy_px.tolist() == [[1, 2, 40, 4]]
    assert table.look_up("b", 2).boxes_xyxy_px.tolist() == [[1.5, 2, 20, 9]]
    # Not decoded: nothing is known of its size.
    assert table.look_up("lost", 8).boxes_xyxy_px.tolist() == [[0, 0, 99, 99]]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("a", 0, [0, 0, 999, 9]), r"the box 0, 0, 999, 9 reaches more than 1 px outside of frame 0 \(40x32 px\)"),
        (("a", 0, [0, 0, 9, 33.00001]), r"the box 0, 0, 9, 33.00001 reaches more than 1 px outside of frame 0"),
        (("a", 3, [0, 0, 41.5, 9]), r"the box 0, 0, 41.5, 9 reaches more than 1 px outside of frame 3 \(40x32 px\)"),
        (("b", 2, [20, 0, 20.5, 9]), r"the box 20, 0, 20.5, 9 lies outside of frame 2 \(20x10 px\)"),
        (("a", 5, [0, 0, 9, 9]), "frame 5, but the video has frames 0 to 4"),
        (("b", 9999, [0, 0, 9, 9]), "frame 9999, but the video has frames 0 to 5"),
        (("lost", 9, [0, 0, 9, 9]), "frame 9, but the video has frames 0 to 8"),
    ],
)
def test_rows_that_do_not_fit_are_named(bring, row: Row, words: str) -> None:
    good: Row = ("a", 0, [0, 0, 9, 9])
    with pytest.raises(TableError, match=rf"1 boxes do not fit their videos\n  boxes\.parquet, row 3: {words}"):
        fit_to_videos(bring(good, good, row, good), VIDEOS, N_FRAMES)


def test_a_video_that_cannot_be_read_has_no_known_end(bring) -> None:
    fitted = fit_to_videos(bring(("a", 0, [0, 0, 9, 9]), ("unreadable", 77, [0, 0, 9, 9])), VIDEOS, N_FRAMES)
    assert sorted(fitted.frame_index.tolist()) == [0, 77]


def test_many_rows_that_do_not_fit_are_counted_in_the_order_of_the_file(bring) -> None:
    rows: list[Row] = [("ba"[place % 2], 0, [0, 0, 99, 9]) for place in range(30)]
    with pytest.raises(TableError, match="30 boxes do not fit") as error:
        fit_to_videos(bring(*rows), VIDEOS, N_FRAMES)
    lines = str(error.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:21]] == [f"boxes.parquet, row {row}" for row in range(1, 21)]
    assert lines[21:] == ["  and 10 more"]


def test_videos_that_the_manifest_does_not_have(bring, bring_texts) -> None:
    with pytest.raises(TableError, match=r"1 videos that the manifest does not have\n  boxes\.parquet, row 2: 'c'"):
        fit_to_videos(bring(("a", 0, [0, 0, 9, 9]), ("c", 0, [0, 0, 9, 9])), VIDEOS, N_FRAMES)
    with pytest.raises(TableError, match=r"1 videos .*\n  empty text files: 'c'"):
        fit_to_videos(bring_texts(a__0="0 0 9 9", c__0=""), VIDEOS, N_FRAMES)


def test_full_coverage_is_one_line(bring) -> None:
    table = bring(("a", 0, [0, 0, 9, 9]), ("a", 4, [0, 0, 9, 9]), ("b", 2, [0, 0, 9, 9]))
    assert coverage(table, VIDEOS) == (
        "there are precomputed boxes for 2 of 2 videos and 3 of 3 frames that are looked at"
    )


def test_what_has_no_boxes_is_told(bring) -> None:
    many = VIDEOS | {f"more{number:02d}": VIDEOS["b"] for number in range(13)}
    table = bring(("a", 4, [0, 0, 9, 9]), ("a", 3, [0, 0, 9, 9]), ("lost", 0, [0, 0, 9, 9]))
    # 2 frames of a, one of each of the 14 others. More than a dozen names are counted.
    names = ", ".join(["b", *(f"more{number:02d}" for number in range(11))])
    assert coverage(table, many).splitlines() == [
        "there are precomputed boxes for 1 of 15 videos and 1 of 16 frames that are looked at",
        f"  none for {names}, and 2 more",
        "  none for 1 frames of videos that have some: a",
        "  2 of 3 boxes are at frames that are not looked at",
    ]


def test_an_empty_text_file_is_an_answer_and_a_missing_one_is_named(bring_texts) -> None:
    assert coverage(bring_texts(a__0="0 0 9 9", a__004=""), VIDEOS).splitlines() == [
        "there are precomputed boxes for 1 of 2 videos and 2 of 3 frames that are looked at",
        "  none for b",
    ]
    assert coverage(bring_texts(b__2=""), VIDEOS).splitlines() == [
        "there are precomputed boxes for 2 of 2 videos and 3 of 3 frames that are looked at"
    ]


def test_a_missing_text_file_of_a_video_that_has_others(bring_texts) -> None:
    assert coverage(bring_texts(a__4="0 0 9 9", b__2=""), VIDEOS).splitlines() == [
        "there are precomputed boxes for 2 of 2 videos and 2 of 3 frames that are looked at",
        "  no text file for a (frames 0)",
    ]


def test_no_box_at_a_frame_that_is_looked_at(bring) -> None:
    table = bring(("a", 1, [0, 0, 9, 9]), ("a", 3, [0, 0, 9, 9]), ("b", 5, [0, 0, 9, 9]))
    with pytest.raises(TableError, match=r"none of 3 boxes .*; a has boxes at frames 1, 3, looked at are 0, 4"):
        coverage(table, VIDEOS)
    with pytest.raises(TableError, match=r"none of 1 boxes .*all are of videos that could not be decoded"):
        coverage(bring(("lost", 1, [0, 0, 9, 9])), VIDEOS)
