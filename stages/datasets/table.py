"""Labels as a table: CSV or Parquet with columns path, mos and optionally prompt, generator, group, split."""

import csv
import difflib
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.datasets.labels import Entry, generator_of, parse_mos, video_id_of
from stages.errors import DatasetError

REQUIRED = ("path", "mos")
OPTIONAL = ("prompt", "generator", "group", "split")
PARTS = ("train", "val", "test")


def read_table_labels(labels: Path, *, videos: str, generator_pattern: str) -> list[Entry]:
    """Read `labels` (.csv or .parquet); paths start from the folder `videos` below the root.

    The group is the column `group`, else the prompt, else the video itself. Raises DatasetError naming the file and the
    row (rows of a CSV count from its header, which is line 1) for missing or misspelt columns, an empty path, or
    a split other than train, val, test.
    """
    entries, problems = [], []
    for place, row in _rows(labels):
        path = _text(row.get("path"))
        if path is None:
            problems.append(f"{place}: the path is empty")
            continue
        part = _text(row.get("split"))
        if part is not None and part not in PARTS:
            problems.append(f"{place}: split is {part!r}; allowed: {', '.join(PARTS)}")
            continue
        prompt = _text(row.get("prompt"))
        mos_raw, problem = parse_mos(row.get("mos"), place=place)
        entries.append(
            Entry(
                video_id=video_id_of(path),
                path=str(PurePosixPath(videos) / path),
                mos_raw=mos_raw,
                place=place,
                prompt=prompt,
                generator=_text(row.get("generator")) or generator_of(path, generator_pattern),
                group=_text(row.get("group")) or prompt or video_id_of(path),
                part=part,
                problem=problem,
            )
        )
    if problems:
        raise DatasetError("\n  ".join([f"{labels}: rows that cannot be used", *problems[:20]]))
    return entries


def _rows(labels: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        if labels.suffix.lower() == ".csv":
            with labels.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file, strict=True)
                rows = [(f"{labels.name} line {reader.line_num}", row) for row in reader]
                columns = list(reader.fieldnames or [])
        elif labels.suffix.lower() in (".parquet", ".pq"):
            table = pq.read_table(labels)
            rows = [(f"{labels.name} row {number}", row) for number, row in enumerate(table.to_pylist())]
            columns = table.column_names
        else:
            raise DatasetError(f"{labels}: a table of labels ends in .csv or .parquet")
    except FileNotFoundError:
        raise DatasetError(f"{labels}: no such label file (dataset.root, dataset.labels)") from None
    except (UnicodeDecodeError, csv.Error, pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{labels}: cannot be read as a table ({error})") from None
    _check_columns(labels, columns)
    if labels.suffix.lower() == ".csv":
        for place, row in rows:
            # csv keeps surplus fields under None and fills short rows with None.
            if None in row or None in row.values():
                raise DatasetError(f"{labels}: {place}: not the {len(columns)} fields of the header")
    return rows


def _check_columns(labels: Path, columns: list[str]) -> None:
    """Other columns are the user's own business, unless one looks like a misspelt one of ours."""
    known = (*REQUIRED, *OPTIONAL)
    problems = [f"no column {name!r}" for name in REQUIRED if name not in columns]
    problems += [f"column {name!r} is there {columns.count(name)} times" for name in known if columns.count(name) > 1]
    for name in columns:
        close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.75) if name not in known else []
        if close and close[0] not in columns:
            problems.append(f"column {name!r}: did you mean {close[0]!r}?")
    if problems:
        raise DatasetError(
            f"{labels}: {'; '.join(problems)} (found: {', '.join(map(str, columns)) or 'nothing'}; "
            f"needed: {', '.join(REQUIRED)}; used when there: {', '.join(OPTIONAL)})"
        )


def _text(value: Any) -> str | None:
    return (str(value).strip() or None) if value is not None else None
