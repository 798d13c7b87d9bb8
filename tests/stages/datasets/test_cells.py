"""Tables of labels in files of every kind: columns by name or number, with and without a header."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.datasets.labels import Entry, LabelRules
from stages.datasets.table import read_table_labels
from stages.errors import DatasetError
from stages.params.load import merge
from stages.params.schema import TableParams

PATTERN = r"^(?P<generator>.+?)_\d+\."


@pytest.fixture
def layout(shipped_params: dict) -> Callable[..., TableParams]:
    """The shipped `dataset.table` with changes."""
    return lambda **changes: TableParams.model_validate(merge(shipped_params["dataset"]["table"], changes))


@pytest.fixture
def read(tmp_path: Path, layout: Callable[..., TableParams]) -> Callable[..., list[Entry]]:
    """The entries of a text in a file of that name."""

    def read(name: str, text: str, *, target: str = "mos", **changes: Any) -> list[Entry]:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_table_labels(tmp_path / name, LabelRules(target=target), layout(**changes))

    return read


def write_workbook(path: Path, **sheets: list[tuple[Any, ...]]) -> None:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)


def test_blank_lines_are_skipped(read) -> None:
    found = read("l.csv", "path,mos\n\na.mp4,1\n   \n\t\nb.mp4,2\n")
    assert [(entry.path, entry.place) for entry in found] == [("a.mp4", "l.csv line 3"), ("b.mp4", "l.csv line 6")]


def test_an_own_column_that_begins_like_one_of_ours_is_no_misspelling(read) -> None:
    (entry,) = read("l.csv", "path,mos,prompt_id,group_id\na.mp4,5,17,4\n")
    assert (entry.prompt, entry.group) == (None, "a.mp4")


def test_columns_by_number(read) -> None:
    text = "a.mp4|1|a fox|3.5\n\nb.mp4|2|a dog|4\n"
    (first, second) = read(
        "l.txt", text, target="4", header=False, separator="|", columns={"path": 1, "prompt": 3, "split": ""}
    )
    assert (first.path, first.prompt, first.mos_raw, first.place) == ("a.mp4", "a fox", 3.5, "l.txt line 1")
    assert (second.path, second.prompt, second.mos_raw, second.place) == ("b.mp4", "a dog", 4, "l.txt line 3")
    # Under a header a number is a position too, unless a column is called so.
    columns = {"path": 1, "prompt": "", "generator": ""}
    assert [entry.mos_raw for entry in read("l.csv", "name,2020,mos\na.mp4,3,4\n", target="3", columns=columns)] == [4]
    assert [entry.mos_raw for entry in read("l.csv", "name,3,mos\na.mp4,3,4\n", target="3", columns=columns)] == [3]


def test_columns_by_name_are_passed_over_without_a_header(read) -> None:
    (entry,) = read("l.csv", "a.mp4,3\n", target="2", header=False, columns={"path": 1})
    assert (entry.prompt, entry.generator, entry.part, entry.mos_raw) == (None, None, None, 3)


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("a.mp4,3\n", {"target": "5"}, "no column '5' (found: 2 columns without names; needed: 1, 5"),
        ("a.mp4,3\n", {"target": "2", "columns": {"path": 1, "prompt": 9}}, "no column '9'"),
        ("a.mp4,3\nb.mp4,3,4\n", {"target": "2"}, "l.csv line 2: not the 2 fields of the first line"),
    ],
)
def test_numbers_that_are_not_there(read, text: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read("l.csv", text, header=False, **({"columns": {"path": 1}} | changes))
    assert message in str(caught.value)


def test_separators_and_quotes(read) -> None:
    (tabs,) = read("l.tsv", "path\tmos\tprompt\na.mp4\t3\ta, b\n", separator="tab")
    assert (tabs.prompt, tabs.mos_raw) == ("a, b", 3)
    (quoted,) = read("l.txt", 'path|mos|prompt\na.mp4|3|"either | or"\n', separator="|")
    assert quoted.prompt == "either | or"
    # Without quotes a prompt may begin with one.
    (plain,) = read("l.txt", 'path|mos|prompt\na.mp4|3|"now", she says\n', separator="|", quote="")
    assert plain.prompt == '"now", she says'


def test_an_ending_that_names_lack(read) -> None:
    entries = read("l.csv", "path,mos\n17,3\n18.MP4,4\n", suffix=".mp4")
    assert [entry.path for entry in entries] == ["17.mp4", "18.MP4"]


def test_a_workbook(tmp_path: Path, layout) -> None:
    path = tmp_path / "l.xlsx"
    rows = [("path", "mos ", "prompt"), ("a.mp4", 3.5, "a fox"), (None, None, None), ("b.mp4", None, None)]
    write_workbook(path, notes=[("nothing", "here")], scores=rows)
    first, second = read_table_labels(path, LabelRules(), layout(sheet="scores"))
    assert (first.path, first.mos_raw, first.prompt, first.place) == ("a.mp4", 3.5, "a fox", "l.xlsx row 2")
    assert second.problem == "l.xlsx row 4: the MOS is missing"
    with pytest.raises(DatasetError, match=r"no column 'path'; no column 'mos' \(found: nothing, here; needed"):
        read_table_labels(path, LabelRules(), layout())  # the first sheet
    with pytest.raises(DatasetError, match=r"no sheet 'score' \(dataset.table.sheet; found: notes, scores\)"):
        read_table_labels(path, LabelRules(), layout(sheet="score"))


def test_parquet_labels(tmp_path: Path, layout) -> None:
    columns = {"path": ["a_1.mp4", "b_2.mp4"], "mos": [3.5, None], "split": [None, "val"], "group": [7, None]}
    columns |= {"frames": [["0.jpg"], []]}  # lists are no labels
    pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
    first, second = read_table_labels(tmp_path / "labels.parquet", LabelRules(generator_pattern=PATTERN), layout())
    assert (first.path, first.mos_raw, first.part, first.group, first.generator) == ("a_1.mp4", 3.5, None, "7", "a")
    assert (second.part, second.group, second.problem) == ("val", "b_2.mp4", "labels.parquet row 2: the MOS is missing")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("labels.xls", r"labels.xls: a table of labels ends in one of .csv, .tsv, .txt, .parquet, .pq, .xlsx"),
        ("labels.xlsx", r"labels.xlsx: not a readable workbook"),
        ("labels.parquet", r"labels.parquet: cannot be read as a table"),
    ],
)
def test_tables_of_another_kind(tmp_path: Path, layout, name: str, message: str) -> None:
    (tmp_path / name).write_text("text")
    with pytest.raises(DatasetError, match=message):
        read_table_labels(tmp_path / name, LabelRules(), layout())
