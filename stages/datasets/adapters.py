"""From `dataset` in params.yaml to the entries of its videos: which adapter reads which format, and lists of parts."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from stages.datasets.cells import PARQUET_ENDINGS, TEXT_ENDINGS, WORKBOOK_ENDINGS
from stages.datasets.fetv import read_fetv
from stages.datasets.folder import read_folder
from stages.datasets.labels import PARTS, Entry, LabelRules, check_entries, found_in_name, refuse
from stages.datasets.t2vqa_db import read_t2vqa_db
from stages.datasets.table import read_kvq, read_table_labels, read_vquala
from stages.errors import DatasetError
from stages.params.schema import DatasetParams

# Files with these suffixes in a folder of lists hold labels: one that names no part would be ignored silently.
LIST_ENDINGS = frozenset((*TEXT_ENDINGS, *PARQUET_ENDINGS, *WORKBOOK_ENDINGS))

Adapter = Callable[[Path, LabelRules], list[Entry]]
ADAPTERS: dict[str, Adapter] = {"t2vqa_db": read_t2vqa_db, "kvq": read_kvq, "vquala": read_vquala}


def read_entries(params: DatasetParams, root: Path) -> list[Entry]:
    """The videos of a data set, checked.

    Args:
        params: The section `dataset` of params.yaml.
        root: Folder that its paths start from.

    Returns:
        One entry per video; prompts that differ only in case, spaces or punctuation share a group.

    Raises:
        DatasetError: The labels cannot be used; the message lists every problem with its line.
    """
    rules = LabelRules(params.videos, params.target, params.generator_pattern, params.group_pattern)
    labels = root / params.labels
    if params.format == "folder":
        labels, entries = root / params.videos, read_folder(root, rules)
    elif params.format == "fetv":
        entries = read_fetv(labels, root, rules)
    else:
        read = ADAPTERS.get(params.format) or partial(read_table_labels, layout=params.table)
        entries = read_lists(labels, rules, read) if labels.is_dir() else read(labels, rules)
    check_entries(entries, source=labels, mos_min=params.mos_min, mos_max=params.mos_max)
    _check_groups(entries, params.group_pattern, source=labels)
    return entries


def _check_groups(entries: list[Entry], pattern: str, *, source: Path) -> None:
    """A pattern of another copy's file names would leave every video alone, and one content in two parts."""
    if pattern and not any(found_in_name(entry.video_id, pattern, "group") for entry in entries):
        raise DatasetError(
            f"{source}: dataset.group_pattern = {pattern!r} matches no file name (first: {entries[0].video_id!r}); set "
            "one that finds what belongs together, or '' where nothing does"
        )


def read_lists(folder: Path, rules: LabelRules, read: Adapter) -> list[Entry]:
    """The data set's own parts, from a folder with label files `train.*`, `val.*` and `test.*`, or some of them.

    Args:
        folder: Holds the lists; files without an ending of label files are ignored.
        rules: How names and columns are read.
        read: The adapter of the lists' format.

    Returns:
        One entry per video, with the part of its list.

    Raises:
        DatasetError: There is no list, one has another name, a part has two, a list has no videos, or a row names
            another part than its list.
    """
    entries, problems = [], []
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    unknown = [file.name for file in files if file.stem not in PARTS and file.suffix.lower() in LIST_ENDINGS]
    if unknown:
        raise DatasetError(
            f"{folder}: no list of a part: {', '.join(unknown)}; allowed: train.*, val.*, test.* (rename the list of a "
            "part, move other files away)"
        )
    for part in PARTS:
        lists = [file for file in files if file.stem == part]
        if len(lists) > 1:
            raise DatasetError(f"{folder}: two lists of the part {part}: {', '.join(file.name for file in lists)}")
        listed = read(lists[0], rules) if lists else []
        if lists and not listed:
            raise DatasetError(f"{lists[0]}: no videos are listed; leave a part without videos out")
        for entry in listed:
            if entry.part not in (None, part):
                problems.append(f"{entry.place}: split is {entry.part!r}, but this is the list of the part {part}")
            entries.append(replace(entry, part=part))
    if not entries:
        names = ", ".join(file.name for file in files) or "nothing"
        raise DatasetError(f"{folder}: no list train.*, val.* or test.* (found: {names})")
    refuse(folder, "lists that contradict their rows", problems)
    return entries
