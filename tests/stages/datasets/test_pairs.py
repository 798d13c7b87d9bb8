"""KVQ's workbook of rated pairs: what is read, and what is refused with sheet and row."""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from stages.datasets.pairs import RatedPair, read_pairs
from stages.errors import DatasetError

IDS = ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
HEAD = ("video1", "video2", "rank")


@pytest.fixture
def workbook(tmp_path: Path) -> Callable[..., Path]:
    """Write rank-pair-val.xlsx with the given rows of each sheet."""

    def write(**sheets: Sequence[Sequence[Any]]) -> Path:
        book = openpyxl.Workbook()
        book.remove(book.active)
        for name, rows in sheets.items():
            sheet = book.create_sheet(name)
            for row in rows:
                sheet.append(row)
        book.save(tmp_path / "rank-pair-val.xlsx")
        return tmp_path / "rank-pair-val.xlsx"

    return write


def test_both_sheets_are_read(workbook) -> None:
    path = workbook(
        nonsource=[HEAD, ("a.mp4", "b.mp4", 1), ("c.mp4", "./a.mp4", 2)],
        source=[("first", "second", "which", "why"), (" b.mp4", "c.mp4", "2", "x"), (None,), ("d.mp4", "a.mp4", 1.0)],
        notes=[("anything",)],
    )  # fmt: skip
    assert read_pairs(path, ids=IDS) == [
        RatedPair("source", "b.mp4", "c.mp4", first_is_better=False),
        RatedPair("source", "d.mp4", "a.mp4", first_is_better=True),
        RatedPair("nonsource", "a.mp4", "b.mp4", first_is_better=True),
        RatedPair("nonsource", "c.mp4", "a.mp4", first_is_better=False),
    ]
    assert read_pairs(workbook(source=[HEAD], nonsource=[]), ids=IDS) == []


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (("a.mp4", "b.mp4", 3), "the rank is '3'; allowed: 1 (the first is better), 2"),
        (("a.mp4", "b.mp4", "first"), "the rank is 'first'; allowed"),
        (("a.mp4", "b.mp4", None), "'a.mp4', 'b.mp4', (empty) lacks a value; needed: video 1, video 2, rank"),
        (("a.mp4", None, 1), "'a.mp4', (empty), 1 lacks a value"),
        (("a.mp4", "e.mp4", 1), "the labels have no video 'e.mp4'"),
        (("x.mp4", "y.mp4", 1), "the labels have no video 'x.mp4', 'y.mp4'"),
        (("a.mp4", "./a.mp4", 1), "'a.mp4' is paired with itself"),
    ],
)
def test_a_bad_row_is_named(workbook, row: tuple, problem: str) -> None:
    path = workbook(source=[HEAD, ("a.mp4", "b.mp4", 1), row], nonsource=[HEAD])
    with pytest.raises(DatasetError) as caught:
        read_pairs(path, ids=IDS)
    assert f"rank-pair-val.xlsx sheet source row 3: {problem}" in str(caught.value)


def test_all_bad_rows_are_told_at_once(workbook) -> None:
    path = workbook(source=[HEAD, *[("a.mp4", "b.mp4", 0)] * 30], nonsource=[("a.mp4", "b.mp4", 1)])
    with pytest.raises(DatasetError) as caught:
        read_pairs(path, ids=IDS)
    lines = str(caught.value).splitlines()
    assert len(lines) == 22
    assert lines[-1].strip() == "and 11 more"


def test_a_first_row_of_data_is_not_lost_without_a_word(workbook) -> None:
    path = workbook(source=[("a.mp4", "b.mp4", 1), ("b.mp4", "c.mp4", 1)], nonsource=[HEAD])
    with pytest.raises(DatasetError, match=r"sheet source row 1: 'a.mp4', 'b.mp4', 1 is not a header of three columns"):
        read_pairs(path, ids=IDS)


@pytest.mark.parametrize(
    "row",
    [
        ("a.mp4", "b.mp4", "1.0"), ("a.mp4", "b.mp4", 0), ("x.mp4", "y.mp4", 2.0), ("./a.mp4", "y.mp4", "first"),
        ("x.mp4", " b.mp4", None),
    ],
)  # fmt: skip
def test_videos_or_a_number_are_no_header(workbook, row: tuple) -> None:
    path = workbook(source=[HEAD], nonsource=[row, ("b.mp4", "c.mp4", 1)])
    with pytest.raises(DatasetError, match=r"sheet nonsource row 1: .* is not a header of three columns"):
        read_pairs(path, ids=IDS)


def test_a_pair_that_stands_twice_is_named_with_both_rows(workbook) -> None:
    path = workbook(
        source=[HEAD, ("a.mp4", "b.mp4", 1), ("c.mp4", "d.mp4", 1), ("./b.mp4", "a.mp4", 2)],
        nonsource=[HEAD, ("d.mp4", "c.mp4", 1), ("a.mp4", "d.mp4", 1)],
    )
    with pytest.raises(DatasetError) as caught:
        read_pairs(path, ids=IDS)
    # The second says the same as the first; the third has the other winner, in the other sheet.
    assert str(caught.value).splitlines()[1:] == [
        "  rank-pair-val.xlsx sheet source row 4: 'b.mp4' and 'a.mp4' are paired in rank-pair-val.xlsx sheet source "
        "row 2 too",
        "  rank-pair-val.xlsx sheet nonsource row 2: 'd.mp4' and 'c.mp4' are paired in rank-pair-val.xlsx sheet source "
        "row 3 too, with the other one better",
    ]


def with_part_cut(path: Path, part: str, out: Path) -> Path:
    """A copy of a workbook that lacks the second half of one of its parts."""
    with zipfile.ZipFile(path) as book, zipfile.ZipFile(out, "w") as copy:
        for name in book.namelist():
            data = book.read(name)
            copy.writestr(name, data[: len(data) // 2] if name == part else data)
    return out


def test_a_workbook_that_is_none(workbook, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no.xlsx: no such workbook of pairs \(dataset.root, dataset.pairs\)"):
        read_pairs(tmp_path / "no.xlsx", ids=IDS)
    for name in ("pairs.xlsx", "pairs.csv"):
        (tmp_path / name).write_text("video1,video2,rank\n")
        with pytest.raises(DatasetError, match=f"{name}: not a readable workbook"):
            read_pairs(tmp_path / name, ids=IDS)
    path = workbook(source=[HEAD], nonsource=[HEAD])
    for part in ("xl/workbook.xml", "xl/worksheets/sheet1.xml"):
        cut = with_part_cut(path, part, tmp_path / "cut.xlsx")
        with pytest.raises(DatasetError, match=r"cut.xlsx: not a readable workbook"):
            read_pairs(cut, ids=IDS)
    path = workbook(Source=[HEAD], nonsource=[HEAD])
    with pytest.raises(DatasetError, match=r"no sheet source \(found: Source, nonsource; needed: source, nonsource\)"):
        read_pairs(path, ids=IDS)
