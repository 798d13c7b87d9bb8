"""A plain folder of videos without labels: they can be prepared, cropped and scored, but not trained on."""

import os
from pathlib import Path

from stages.datasets.labels import Entry, LabelRules, found_in_name
from stages.errors import DatasetError

EXTENSIONS = frozenset({".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})


def find_video_files(folder: Path) -> list[Path]:
    """Video files below a folder, by their suffix, sorted; hidden files and folders are left out."""
    videos = (file for file in folder.rglob("*") if file.suffix.lower() in EXTENSIONS and file.is_file())
    return sorted(file for file in videos if not any(part.startswith(".") for part in file.relative_to(folder).parts))


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
    for file in find_video_files(folder):
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
