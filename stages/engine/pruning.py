"""What lies in `.cache`, what of it the present run uses, and what goes when room is needed.

Finished work is only ever removed whole, file by file; what is needed again is computed again.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.errors import EngineError
from stages.io.files import is_alive
from stages.io.tables import read_keys

# A temporary file that is older was left by a run that was killed.
TEMPORARY_S = 24 * 3600


@dataclass(frozen=True)
class CachedFile:
    """One file of the cache: the work on a video, or the state of a training.

    Attributes:
        path: The file.
        stage: The stage that made it.
        size_bytes: Its size.
        used_s: When it was written or used last, in seconds since 1970.
    """

    path: Path
    stage: str
    size_bytes: int
    used_s: float

    @property
    def key(self) -> str:
        """The name without its endings, which says what the work was made from."""
        return self.path.name.partition(".")[0]

    @property
    def kind(self) -> str:
        """The endings: item for a video's work, zip for a folder, and pt, result.pt or validation.pt for a training."""
        return self.path.name.partition(".")[2]


def find_entries(root: Path) -> list[CachedFile]:
    """All finished work in a cache; other files are passed over.

    Args:
        root: The cache's folder; it may be missing.

    Returns:
        The entries, least recently used first.
    """
    paths = [*root.glob("*/??/*.item"), *root.glob("*/*.pt"), *root.glob("*/*.zip")]
    entries = [entry for path in paths if not path.name.startswith(".") for entry in _entry(path, root)]
    return sorted(entries, key=lambda entry: (entry.used_s, entry.path))


def find_leftovers(root: Path) -> list[CachedFile]:
    """Temporary files of runs that were killed; those of a stage that runs are younger.

    Args:
        root: The cache's folder.

    Returns:
        The files.
    """
    paths = (*root.glob("*/.*.tmp"), *root.glob("*/??/.*.tmp"))
    before = time.time() - TEMPORARY_S
    return [entry for path in paths for entry in _entry(path, root) if entry.used_s < before]


def _entry(path: Path, root: Path) -> Iterator[CachedFile]:
    try:
        stat = path.stat()
    except FileNotFoundError:  # gone since the folder was read
        return
    yield CachedFile(path, path.relative_to(root).parts[0], stat.st_size, stat.st_mtime)


def keys_in_tables(folders: Iterable[Path]) -> set[str]:
    """The keys of the items that the present tables were made from.

    Args:
        folders: Folders of the present run's tables.

    Returns:
        The keys, of all stages.
    """
    paths = [path for folder in folders for path in (*folder.glob("*.parquet"), *folder.glob("**/part-*.parquet"))]
    return {key for path in paths for key in read_keys(path).values()}


def find_unused(entries: Iterable[CachedFile], keys: set[str]) -> list[CachedFile]:
    """The work that the present run does not use, as far as that can be known.

    No table names the training that weights came from: the one used last is kept, of each kind of file. Items of a
    stage of which the tables name none are kept: its table may be missing because the stage was killed.

    Args:
        entries: The cache's entries.
        keys: The keys of the present tables.

    Returns:
        The entries that can go.
    """
    by_stage: dict[tuple[str, str], list[CachedFile]] = defaultdict(list)
    for entry in entries:
        by_stage[entry.stage, entry.kind].append(entry)
    unused: list[CachedFile] = []
    for (_, kind), found in by_stage.items():
        if kind == "item":
            kept = {entry.key for entry in found} & keys or {entry.key for entry in found}
        else:
            kept = {max(found, key=lambda entry: entry.used_s).key}
        unused += [entry for entry in found if entry.key not in kept]
    return unused


def find_oldest(entries: Iterable[CachedFile], *, larger_than_bytes: int) -> list[CachedFile]:
    """The work that has to go, least recently used first, until the rest is no larger than a size.

    Args:
        entries: The cache's entries.
        larger_than_bytes: The size.

    Returns:
        The entries that go.
    """
    entries = sorted(entries, key=lambda entry: entry.used_s)
    left, going = sum(entry.size_bytes for entry in entries), []
    for entry in entries:
        if left <= larger_than_bytes:
            break
        left -= entry.size_bytes
        going.append(entry)
    return going


def remove(entries: Iterable[CachedFile], root: Path) -> None:
    """Delete files, and the folders that are empty then.

    Args:
        entries: What goes.
        root: The cache's folder, which stays.
    """
    for entry in entries:
        entry.path.unlink(missing_ok=True)
        for folder in entry.path.parents:
            if folder == root:
                break
            try:
                folder.rmdir()
            except OSError:  # not empty, or gone
                break


def check_idle(project: Path) -> None:
    """Make sure that no stage runs, here or in an experiment: its finished items are in no table yet.

    Args:
        project: The folder that holds `.dvc`.

    Raises:
        EngineError: DVC runs a stage.
    """
    folder = project / ".dvc" / "tmp"
    for path in (folder / "rwlock", *folder.glob("exps/*/.dvc/tmp/rwlock")):
        try:
            locks = json.loads(path.read_text(encoding="utf-8")).values()
        except (OSError, ValueError):
            continue
        for holder in [lock["write"] for lock in locks if lock.get("write")]:
            if is_alive(holder["pid"]):
                raise EngineError(f"`{holder['cmd']}` runs (process {holder['pid']}); prune when it has ended")
