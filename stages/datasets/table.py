"""Labels as a table (CSV, Parquet, Excel): columns that the params name, and those of KVQ and of VQualA 2025.

KVQ (lixinustc/KVQ-Challenge-CVPR-NTIRE2024 8607a4d, metric_score.py): `filename,score`. VQualA 2025's track of
generated video: `Prompt,Overall_MOS,Traditional_MOS,Alignment_MOS,Aesthetic_MOS,Temporal_MOS,video_name`.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.datasets.cells import Cells, read_cells
from stages.datasets.labels import PARTS, Entry, LabelRules, refuse
from stages.errors import DatasetError
from stages.params.schema import ColumnParams, TableParams, is_number

NO_COLUMNS = ColumnParams(path="path", prompt="", generator="", group="", split="")
# What stands between fields where a comma is expected, with the value of dataset.table.separator that reads it.
OTHER_SEPARATORS = {";": ";", "\t": "tab", "|": "|"}


@dataclass(frozen=True)
class Columns:
    """The columns of a format, by name or by number from 1; empty where it has no such column.

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
    prompt: str = ""
    generator: str = ""
    group: str = ""
    split: str = ""

    @property
    def required(self) -> list[str]:
        """Columns that a table must have."""
        return [self.path, self.mos]

    @property
    def optional(self) -> list[str]:
        """Columns that are used when a table has them."""
        return [name for name in (self.prompt, self.generator, self.group, self.split) if name]


def read_table_labels(labels: Path, rules: LabelRules, layout: TableParams) -> list[Entry]:
    """A table as `dataset.table` says; the MOS stands under `rules.target`.

    Raises:
        DatasetError: See `read_columns`.
    """
    return read_columns(labels, rules, layout, Columns(mos=rules.target, **layout.columns.model_dump()))


def read_kvq(labels: Path, rules: LabelRules) -> list[Entry]:
    """KVQ's scores; without prompts, videos of one source are grouped by `rules.group_pattern` alone.

    Raises:
        DatasetError: See `read_columns`.
    """
    return read_columns(labels, rules, _comma_separated(), Columns("filename", "score"))


def read_vquala(labels: Path, rules: LabelRules) -> list[Entry]:
    """VQualA's scores: the MOS is the column `rules.target`, one of five.

    Raises:
        DatasetError: See `read_columns`.
    """
    return read_columns(labels, rules, _comma_separated(), Columns("video_name", rules.target, prompt="Prompt"))


def read_columns(labels: Path, rules: LabelRules, layout: TableParams, columns: Columns) -> list[Entry]:
    """Read a table of labels.

    Args:
        labels: The file.
        rules: How names are read.
        layout: How the table is written.
        columns: Where what stands.

    Raises:
        DatasetError: Columns are missing or misspelt, or rows have another number of fields than the header, an empty
            path, or a split other than train, val and test. The message names the place: the line of a text file, whose
            header is line 1, or the row of another table, from 1.
    """
    cells = read_cells(labels, layout)
    _check_columns(labels, cells, columns)
    place_of = {name: _index(cells, column) for name, column in vars(columns).items()}
    entries, problems = [], []
    for place, row in cells.rows:
        if isinstance(row, str):
            problems.append(f"{place}: {row}")
            continue
        values = {name: row[index] for name, index in place_of.items() if index is not None}
        path, part = _text(values["path"]), _text(values.get("split"))
        if path is None:
            problems.append(f"{place}: the {columns.path} is empty")
        elif part is not None and part not in PARTS:
            problems.append(f"{place}: split is {part!r}; allowed: {', '.join(PARTS)}")
        else:
            name = path if path.lower().endswith(layout.suffix.lower()) else path + layout.suffix
            prompt, generator, group = (_text(values.get(key)) for key in ("prompt", "generator", "group"))
            entries.append(
                rules.entry(
                    name=name,
                    place=place,
                    mos=values["mos"],
                    prompt=prompt,
                    generator=generator,
                    group=group,
                    part=part,
                )
            )
    refuse(labels, "rows that cannot be used", problems)
    return entries


def _comma_separated() -> TableParams:
    return TableParams(header=True, separator=",", quote='"', sheet="", suffix="", columns=NO_COLUMNS)


def _index(cells: Cells, column: str) -> int | None:
    """Where a column stands, from 0; a name in the header comes before a number."""
    if cells.names is not None and column in cells.names:
        return cells.names.index(column)
    if is_number(column) and int(column) <= cells.width:
        return int(column) - 1
    return None


def _check_columns(labels: Path, cells: Cells, wanted: Columns) -> None:
    """Refuse missing and repeated columns; others are allowed, unless one looks like a misspelling of ours."""
    numbers = [name for name in (*wanted.required, *wanted.optional) if is_number(name)]
    needed = dict.fromkeys([*wanted.required, *numbers])
    problems = [f"no column {name!r}" for name in needed if _index(cells, name) is None and cells.rows]
    if cells.names is not None:
        problems = [f"no column {name!r}" for name in needed if _index(cells, name) is None]
        known = [name for name in (*wanted.required, *wanted.optional) if not is_number(name)]
        problems += [
            f"column {name!r} is there {cells.names.count(name)} times" for name in known if cells.names.count(name) > 1
        ]
        problems += [text for name in cells.names if (text := _misspelt(name, cells.names, known))]
    if not problems:
        return
    optional = f"; used when there: {', '.join(wanted.optional)}" if wanted.optional else ""
    found = f"{cells.width} columns without names" if cells.names is None else ", ".join(cells.names) or "nothing"
    raise DatasetError(
        f"{labels}: {'; '.join(problems)} (found: {found}; needed: {', '.join(wanted.required)}{optional})"
        f"{_separator_hint(cells.names or [])}"
    )


def _misspelt(name: str, names: Sequence[str], known: Sequence[str]) -> str | None:
    """Which of our columns that are not there a name looks like; prompt_id is no misspelling of prompt."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75) if name not in known else []
    if close and close[0] not in names and not name.startswith(f"{close[0]}_"):
        return f"column {name!r}: did you mean {close[0]!r}?"
    return None


def _separator_hint(names: Sequence[str]) -> str:
    """What to do about a header that is one name with other separators in it."""
    for sign, value in OTHER_SEPARATORS.items():
        if len(names) == 1 and sign in names[0]:
            return f"; columns are separated by {value}: set dataset.table.separator, or save the file with commas"
    return ""


def _text(value: Any) -> str | None:
    """The text of a cell; None for an empty one, and for the NaN that tables of numbers hold in its place."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    return str(value).strip() or None
