"""Boxes that users bring along: what is read, and how wrong rows are named."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.datasets.box_table import BoxTable
from stages.datasets.boxes import boxes_digest, described_frames, read_boxes, show_box
from stages.errors import TableError
from tests.configs import detection_rules

KEEP_ALL = detection_rules(min_score=0.0, nms_iou=1.0)


def rows(**changes: Any) -> pd.DataFrame:
    """Video b, frame 3: two boxes, the worse one first; video a, frame 0: one."""
    table = pd.DataFrame(
        {
            "video_id": ["b.mp4", "b.mp4", "x/a.mp4"],
            "frame_index": [3, 3, 0],
            "x0": [1.0, 2.0, 0.0],
            "y0": [1.0, 2.0, 0.0],
            "x1": [5.0, 8.0, 4.0],
            "y1": [4.0, 9.0, 4.0],
            "score": [0.25, 0.5, 1.0],
        }
    )
    for name, values in changes.items():
        table[name] = values
    return table


def read(table: pd.DataFrame, tmp_path: Path) -> BoxTable:
    table.to_parquet(tmp_path / "boxes.parquet", index=False)
    return read_boxes(tmp_path / "boxes.parquet", KEEP_ALL)


def test_parquet(tmp_path: Path) -> None:
    table = read(rows(), tmp_path)
    assert table.videos == ("b.mp4", "x/a.mp4")
    found = table.look_up("b.mp4", 3)
    assert found.boxes_xyxy_px.tolist() == [[2, 2, 8, 9], [1, 1, 5, 4]]
    assert found.scores.tolist() == [0.5, 0.25]
    assert found.labels.tolist() == [1, 1]
    assert table.look_up("x/a.mp4", 0).scores.tolist() == [1.0]
    assert [table.name_row(place) for place in range(3)] == [f"boxes.parquet, row {row}" for row in (2, 1, 3)]


def test_whole_numbers_labels_and_other_columns(tmp_path: Path) -> None:
    table = read(rows(label=[7, 8, 9], x0=[1, 2, 0], note="mine").astype({"score": "float32"}), tmp_path)
    assert table.look_up("b.mp4", 3).labels.tolist() == [8, 7]


def test_equal_scores_keep_the_order_of_the_rows(tmp_path: Path) -> None:
    table = read(rows(score=[0.5, 0.5, 0.5]), tmp_path)
    assert table.look_up("b.mp4", 3).boxes_xyxy_px[0].tolist() == [1, 1, 5, 4]


def write_texts(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".txt").write_text(text)
    return folder


def test_text_files_as_in_the_release(tmp_path: Path) -> None:
    """`ymin xmin ymax xmax`, best first, without scores; two lines of the release's own files among them."""
    folder = write_texts(
        tmp_path / "boxes",
        **{"b.mp4__000012": "233 695 379 809\n47 319 189 424\n", "deep__a.mp4__0": "\n 1.5 2 3 4 \n", "b.mp4__7": ""},
    )
    table = read_boxes(folder, KEEP_ALL)
    assert table.videos == ("b.mp4", "deep/a.mp4")
    found = table.look_up("b.mp4", 12)
    assert found.boxes_xyxy_px.tolist() == [[695, 233, 809, 379], [319, 47, 424, 189]]
    assert found.scores.tolist() == [1.0, 1.0]
    assert len(table.look_up("b.mp4", 7).scores) == 0
    assert table.look_up("deep/a.mp4", 0).boxes_xyxy_px.tolist() == [[2, 1.5, 4, 3]]
    # Lines count as an editor shows them, empty ones too.
    assert [table.name_row(place) for place in range(3)] == [
        "b.mp4/000012.txt, row 1", "b.mp4/000012.txt, row 2", "deep/a.mp4/0.txt, row 2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x1": [5.0, np.inf, 4.0]}, "row 2: coordinates that are not finite: b.mp4, frame 3"),
        ({"x1": [5.0, 2.0, 4.0]}, "row 2: a box without area"),
        ({"y1": [0.5, 9.0, 4.0]}, "row 1: a box without area"),
        ({"y0": [1.0, 2.0, -1.5]}, "row 3: coordinates outside of the frame: x/a.mp4, frame 0, 0, -1.5, 4, 4"),
        ({"x0": [1.0, 2.0, -1.00001]}, "row 3: coordinates outside of the frame: .*, -1.00001, 0, 4, 4"),
        ({"x0": [1, 2, -1.0], "x1": [5, 8, -0.5]}, "row 3: a box without area in its frame"),
        # Numbers around 20 lie 2e-6 apart in float32.
        ({"x0": [1, 2, 20.0], "x1": [5, 8, 20.0000001]}, "row 3: a box without area .*, 20, 0, 20.0000001, 4"),
        ({"x1": [5.0, 1e39, 4.0]}, r"row 2: coordinates that are not finite: .*, 2, 2, 1e\+39, 9"),
        ({"score": [0.25, 1.5, 1.0]}, "row 2: a score outside of 0 to 1"),
        ({"frame_index": [3, 3, -1]}, "row 3: a frame_index below 0"),
        ({"label": [1, 0, 1]}, "row 2: a label below 1"),
        ({"x0": [1.0, None, 0.0]}, "row 2 has no value in x0"),
        ({"video_id": [None, "b", "c"]}, "row 1 has no value in video_id"),
        ({"frame_index": [3, 2.5, 0]}, r"row 2: frame_index is 2\.5; needed: a whole number"),
        ({"x0": ["1", "two", "3"]}, "row 2: x0 is 'two'; needed: a number"),
        ({"label": ["cat", "dog", "cat"]}, "row 1: label is 'cat'; needed: a whole number from 1; leave the column"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(TableError, match=message) as error:
        read(rows(**changes), tmp_path)
    assert "boxes.parquet" in str(error.value)


def test_a_rounding_left_of_the_frame_is_clipped(tmp_path: Path) -> None:
    table = read(rows(x0=[1.0, 2.0, -1.0], y0=[1.0, 2.0, -0.25]), tmp_path)
    assert table.look_up("x/a.mp4", 0).boxes_xyxy_px.tolist() == [[0, 0, 4, 4]]


def test_an_empty_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"boxes\.parquet: there are no boxes in it"):
        read(rows().iloc[:0], tmp_path)
    with pytest.raises(TableError, match="boxes: there are no boxes in it"):
        read_boxes(write_texts(tmp_path / "boxes", **{"b.mp4__1": "", "b.mp4__2": "\n"}), KEEP_ALL)


def test_frames_that_the_files_tell_of(tmp_path: Path) -> None:
    """An empty text file says that its frame has no objects, and a video may have such files alone."""
    assert described_frames(read(rows(), tmp_path)) == {"b.mp4": {3}, "x/a.mp4": {0}}
    texts = {"b.mp4__12": "1 2 3 4", "b.mp4__007": "", "deep__a.mp4__0": ""}
    table = read_boxes(write_texts(tmp_path / "boxes", **texts), KEEP_ALL)
    assert described_frames(table) == {"b.mp4": {7, 12}, "deep/a.mp4": {0}}


def test_coordinates_are_shown_with_the_digits_that_tell_them_apart() -> None:
    assert show_box(np.array([0, 40.5, 40.00001, 1e6])) == "0, 40.5, 40.00001, 1e+06"
    assert show_box(np.array([0.1, 40.00001, 4321.5, np.nan], dtype=np.float32)) == "0.1, 40.00001, 4321.5, nan"


def test_nan_is_named_too(tmp_path: Path) -> None:
    """Written by other programs than pandas, which writes NaN as a missing value."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(rows(), preserve_index=False)
    broken = table.set_column(2, "x0", pa.array([1.0, float("nan"), 0.0]))
    pq.write_table(broken, tmp_path / "boxes.parquet")
    with pytest.raises(TableError, match=r"row 2: coordinates that are not finite: b\.mp4, frame 3, nan, 2, 8, 9"):
        read_boxes(tmp_path / "boxes.parquet", KEEP_ALL)


def test_many_wrong_rows_are_counted(tmp_path: Path) -> None:
    table = pd.concat([rows(score=2.0)] * 10)
    with pytest.raises(TableError, match="and 10 more") as error:
        read(table, tmp_path)
    assert str(error.value).count("a score outside") == 20


def test_files_that_are_no_boxes(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such table of boxes"):
        read_boxes(tmp_path / "none.parquet", KEEP_ALL)
    (tmp_path / "text.parquet").write_text("x0,y0")
    with pytest.raises(TableError, match=r"not a readable table of boxes \(.+\); a Parquet file is needed"):
        read_boxes(tmp_path / "text.parquet", KEEP_ALL)
    table = pa.Table.from_pandas(rows())
    pq.write_table(table.append_column("x0", table["x0"]), tmp_path / "twice.parquet")
    with pytest.raises(TableError, match="more than one column x0"):
        read_boxes(tmp_path / "twice.parquet", KEEP_ALL)
    with pytest.raises(TableError, match="no columns score; needed: video_id, frame_index, x0"):
        read(rows().drop(columns="score"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TableError, match="no boxes"):
        read_boxes(tmp_path / "empty", KEEP_ALL)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"b.mp4__1": "1 2 3 4\n1 2 3\n"}, r"1\.txt, row 2: '1 2 3' is not four numbers: ymin xmin ymax xmax"),
        ({"b.mp4__1": "1 2 3 four\n"}, "is not four numbers"),
        ({"b.mp4__first": "1 2 3 4\n"}, "VIDEO_ID/FRAME_INDEX.txt"),
        ({"210333": "1 2 3 4\n"}, "VIDEO_ID/FRAME_INDEX.txt"),
        ({"b.mp4__99999999999999999999": "1 2 3 4\n"}, "VIDEO_ID/FRAME_INDEX.txt"),
        ({"b.mp4__1": "1 2 3 4\n3 2 1 4\n"}, "b.mp4/1.txt, row 2: a box without area"),
        ({"b.mp4__1": "1 nan 3 4\n"}, "b.mp4/1.txt, row 1: coordinates that are not finite"),
        ({"b.mp4__7": "1 2 3 4\n", "b.mp4__007": ""}, r"b\.mp4/007\.txt and b\.mp4/7\.txt are of one frame"),
    ],
)
def test_wrong_text_files(tmp_path: Path, texts: dict, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_boxes(write_texts(tmp_path / "boxes", **texts), KEEP_ALL)


def test_a_video_s_boxes_have_a_name_of_their_own(tmp_path: Path) -> None:
    table, moved = read(rows(), tmp_path), read(rows(x0=[1.0, 2.5, 0.0]), tmp_path)
    turned = read(rows().iloc[::-1], tmp_path)
    assert boxes_digest(table, "b.mp4") != boxes_digest(moved, "b.mp4")
    assert boxes_digest(table, "x/a.mp4") == boxes_digest(moved, "x/a.mp4")
    assert boxes_digest(table, "b.mp4") == boxes_digest(turned, "b.mp4")
