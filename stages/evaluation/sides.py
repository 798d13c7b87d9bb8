"""The videos of folders that are compared, each with the prompt that it was made from."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from models.errors import listed
from stages.datasets.folder import EXTENSIONS, scan_folder, shown_name
from stages.errors import DatasetError
from stages.io.schemas import MANIFEST
from stages.io.tables import read_frame


def find_sides(folders: Sequence[Path], prompts: Path | None) -> pd.DataFrame:
    """The videos of every side with their prompts.

    Args:
        folders: One for each side.
        prompts: Table of prompts; None: files of one name, endings aside, are of one prompt.

    Returns:
        Columns side, path, prompt.

    Raises:
        DatasetError: Fewer than two folders, one without videos, or prompts that do not fit.
    """
    if len(folders) < 2 or len({path.resolve() for path in folders}) < len(folders):
        raise DatasetError(f"{', '.join(map(str, folders))}: two or more folders, each once, are compared")
    short = [path.resolve().name for path in folders]
    names = short if len(set(short)) == len(short) else [path.as_posix() for path in folders]
    prompt_of = read_prompts(prompts) if prompts is not None else None
    rows = []
    for name, folder in zip(names, folders, strict=True):
        found = scan_folder(folder)[0] if folder.is_dir() else []
        if not found:
            raise DatasetError(f"{folder}: no videos (looked for {', '.join(sorted(EXTENSIONS))})")
        for path in found:
            within = path.relative_to(folder)
            places = (path.as_posix(), f"{name}/{within.as_posix()}", within.as_posix(), path.name)
            own = shown_name(within.with_suffix(""))
            prompt = own if prompt_of is None else next((prompt_of[each] for each in places if each in prompt_of), None)
            rows.append((name, path, prompt))
    table = pd.DataFrame(rows, columns=["side", "path", "prompt"])
    lost = table.loc[table["prompt"].isna(), "path"]
    if len(lost):
        raise DatasetError(f"{prompts}: no prompt for {len(lost)} videos: {listed([*map(str, lost)], shown=5)}")
    return table


def sides_of_manifest(manifest: Path, root: Path) -> pd.DataFrame:
    """The usable videos of a data set, its generators as sides.

    Args:
        manifest: Table of videos (Parquet), as the stage prepare writes it.
        root: Folder that its paths start from.

    Returns:
        Columns side, path, prompt; videos without a generator or a prompt are left out.

    Raises:
        DatasetError: Fewer than two generators have prompts.
        TableError: The file is missing or another table.
    """
    rows = read_frame(manifest, schema=MANIFEST)
    rows = rows[(rows["status"] == "ok") & rows["generator"].notna() & rows["prompt"].notna()]
    if rows["generator"].nunique() < 2:
        raise DatasetError(
            f"{manifest}: {rows['generator'].nunique()} generators with prompts; two or more are compared"
        )
    rows = rows.sort_values(["generator", "video_id"])
    paths = [root / path for path in rows["path"]]
    return pd.DataFrame({"side": rows["generator"], "path": paths, "prompt": rows["prompt"]}).reset_index(drop=True)


def read_prompts(path: Path) -> dict[str, str]:
    """The prompts of videos, by their path.

    Args:
        path: CSV with the columns path and prompt.

    Raises:
        DatasetError: The file is missing or no such table, or a path stands twice.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a CSV file that can be read ({error})") from None
    if not {"path", "prompt"} <= set(table.columns):
        raise DatasetError(f"{path}: the columns are {', '.join(table.columns)}; needed: path and prompt")
    twice = table.loc[table["path"].duplicated(), "path"]
    if len(twice):
        raise DatasetError(f"{path}: listed twice: {listed([*twice], shown=5)}")
    return dict(zip(table["path"], table["prompt"], strict=True))
