"""A plain folder of videos without labels: they can be prepared, cropped and scored, but not trained on."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from stages.datasets.labels import Entry, LabelRules, found_in_name
from stages.errors import DatasetError

EXTENSIONS = frozenset({
    ".3g2", ".3gp", ".apng", ".asf", ".avi", ".avif", ".dv", ".flv", ".gif", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov",
    ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogg", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})  # fmt: skip


def scan_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """What a folder holds, hidden files and folders left out.

    Args:
        folder: The folder; folders below it belong to it.

    Returns:
        The video files by their suffix, and what is passed over: other files, and links whose target is gone; sorted.
    """
    videos: list[Path] = []
    others: list[Path] = []
    for file in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in file.relative_to(folder).parts) or file.is_dir():
            continue
        (videos if file.suffix.lower() in EXTENSIONS and file.is_file() else others).append(file)
    return videos, others


def passed_over(others: Sequence[Path]) -> str:
    """What a scan passes over, counted by its kind: `passed over: 3 .webp, 1 broken link`; empty: nothing.

    Args:
        others: The files that are not taken.
    """
    kinds = Counter(
        "broken link" if file.is_symlink() and not file.exists() else file.suffix.lower() or "without an ending"
        for file in others
    )
    return "passed over: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) if kinds else ""


def shown_name(path: Path) -> str:
    r"""The path with /, as text for tables; bytes that are not UTF-8 (zip files may hold such names) as `\xff`."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def read_folder(root: Path, rules: LabelRules) -> list[Entry]:
    """The videos below `root / rules.videos`, without a MOS.

    Args:
        root: Folder that the entries' paths start from.
        rules: The folder of the videos, and patterns of file names.

    Returns:
        One entry per video; its id is its path below the folder.

    Raises:
        DatasetError: There is no such folder.
    """
    folder = root / rules.videos
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder of videos (dataset.root, dataset.videos)")
    entries = []
    files, others = scan_folder(folder)
    if others:
        print(f"prepare: {folder}: {passed_over(others)}")
    for file in files:
        name, path = (shown_name(file.relative_to(base)) for base in (folder, root))
        readable = name == file.relative_to(folder).as_posix()
        entries.append(
            Entry(
                video_id=name,
                path=path,
                mos_raw=None,
                place=name,
                problem=None if readable else f"{name}: the file's name is not UTF-8; rename it",
                generator=found_in_name(name, rules.generator_pattern, "generator"),
                group=found_in_name(name, rules.group_pattern, "group") or name,
            )
        )
    return entries
