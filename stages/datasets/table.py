"""Labels as a table, CSV or Parquet: our own columns, and those of KVQ and of VQualA 2025.

KVQ (lixinustc/KVQ-Challenge-CVPR-NTIRE2024 8607a4d, metric_score.py): `filename,score`. VQualA 2025's track of
generated video: `Prompt,Overall_MOS,Traditional_MOS,Alignment_MOS,Aesthetic_MOS,Temporal_MOS,video_name`.
"""

import csv
import difflib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.datasets.labels import PARTS, Entry, LabelRules, read_text, refuse
from stages.errors import DatasetError


@dataclass(frozen=True)
class Columns:
    """The names of the columns of a format; None where it has no such column. Only path and mos are required.

    Attributes:
        path: Column of the video's path.
        mos: Column of the MOS.
        prompt: Column of the prompt.
        generator: Column of the generator.
        group: Column of the group.
        split: Column of the part.
    """

    path: str
    mos: str
    prompt: str | None = None
    generator: str | None = None
    group: str | None = None
    split: str | None = None

    @property
    def required(self) -> list[str]:
        """Columns that a table must have."""
        return [self.path, self.mos]

    @property
    def optional(self) -> list[str]:
        """Columns that are used when a table has them."""
        return [name for name in (self.prompt, self.generator, self.group, self.split) if name]


def read_table_labels(labels: Path, rules: LabelRules) -> list[Entry]:
    """Our own table: `path`, the MOS under `rules.target`, and optionally prompt, generator, group and split.

    Raises:
        DatasetError: See `read_columns`.
    """
    columns = Columns("path", rules.target, prompt="prompt", generator="generator", group="group", split="split")
    return read_columns(labels, rules, columns)


def read_kvq(labels: Path, rules: LabelRules) -> list[Entry]:
    """KVQ's scores; without prompts, videos of one source are grouped by `rules.group_pattern` alone.

    Raises:
        DatasetError: See `read_columns`.
    """
    return read_columns(labels, rules, Columns("filename", "score"))


def read_vquala(labels: Path, rules: LabelRules) -> list[Entry]:
    """VQualA's scores: the MOS is the column `rules.target`, one of five.

    Raises:
        DatasetError: See `read_columns`.
    """
    return read_columns(labels, rules, Columns("video_name", rules.target, prompt="Prompt"))


def read_columns(labels: Path, rules: LabelRules, columns: Columns) -> list[Entry]:
    """Read a table of labels.

    Args:
        labels: A .csv or .parquet file.
        rules: How names are read.
        columns: Names of its columns.

    Raises:
        DatasetError: Columns are missing or misspelt, or rows have another number of fields than the header, an empty
            path, or a split other than train, val and test. The message names the place: the line of a CSV file, whose
            header is line 1, or the row of a Parquet file, from 1.
    """
    entries, problems = [], []
    for place, row in _rows(labels, columns):
        if isinstance(row, str):
            problems.append(f"{place}: {row}")
            continue
        path, part = _text(row.get(columns.path)), _text(_get(row, columns.split))
        if path is None:
            problems.append(f"{place}: the {columns.path} is empty")
        elif part is not None and part not in PARTS:
            problems.append(f"{place}: split is {part!r}; allowed: {', '.join(PARTS)}")
        else:
            optional = {name: _text(_get(row, getattr(columns, name))) for name in ("prompt", "generator", "group")}
            entries.append(rules.entry(name=path, place=place, mos=row.get(columns.mos), part=part, **optional))
    refuse(labels, "rows that cannot be used", problems)
    return entries


def _rows(labels: Path, wanted: Columns) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """(place, row) of every row; (place, what is wrong) of one that does not fit the header."""
    is_csv = labels.suffix.lower() == ".csv"
    try:
        labels.stat()  # a missing file is reported as such, whatever its suffix
        if is_csv:
            rows, columns = _csv_rows(labels)
        elif labels.suffix.lower() in (".parquet", ".pq"):
            table = pq.read_table(labels)
            rows = [(f"{labels.name} row {number}", row) for number, row in enumerate(table.to_pylist(), start=1)]
            columns = table.column_names
        else:
            raise DatasetError(f"{labels}: a table of labels ends in .csv or .parquet")
    except FileNotFoundError:
        raise DatasetError(f"{labels}: no such label file or folder (dataset.root, dataset.labels)") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{labels}: cannot be read as a table ({error})") from None
    _check_columns(labels, columns, wanted)
    for place, row in rows:
        # csv keeps surplus fields under None and fills short rows with None; it skips empty lines, but not blank ones.
        if is_csv and (None in row or None in row.values()):
            if "".join(str(value or "") for value in row.values()).strip():
                yield place, f"not the {len(columns)} fields of the header"
        else:
            yield place, row


def _csv_rows(labels: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """(place, row) of every row, and the columns; raise DatasetError with the line that cannot be read."""
    reader = csv.DictReader(io.StringIO(read_text(labels), newline=""), strict=True)
    rows: list[tuple[str, dict[str, Any]]] = []
    # A quote that is never closed is noticed at the end of the file: users need the line where its row begins.
    begin = 1
    try:
        columns = list(reader.fieldnames or [])
        begin = reader.line_num + 1
        for row in reader:
            rows.append((f"{labels.name} line {reader.line_num}", row))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(
            f"{labels}: cannot be read as a table from line {begin} on ({error}); a quote inside a quoted field is "
            "written twice"
        ) from None
    return rows, columns


def _check_columns(labels: Path, columns: Sequence[str], wanted: Columns) -> None:
    """Refuse missing and repeated columns; others are allowed, unless one looks like a misspelling of ours."""
    known = [*wanted.required, *wanted.optional]
    problems = [f"no column {name!r}" for name in wanted.required if name not in columns]
    problems += [f"column {name!r} is there {columns.count(name)} times" for name in known if columns.count(name) > 1]
    for name in columns:
        close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.75) if name not in known else []
        # prompt_id is no misspelling of prompt.
        if close and close[0] not in columns and not str(name).startswith(f"{close[0]}_"):
            problems.append(f"column {name!r}: did you mean {close[0]!r}?")
    if problems:
        optional = f"; used when there: {', '.join(wanted.optional)}" if wanted.optional else ""
        raise DatasetError(
            f"{labels}: {'; '.join(problems)} (found: {', '.join(map(str, columns)) or 'nothing'}; "
            f"needed: {', '.join(wanted.required)}{optional})"
        )


def _get(row: dict[str, Any], column: str | None) -> Any:
    return row.get(column) if column else None


def _text(value: Any) -> str | None:
    return (str(value).strip() or None) if value is not None else None
