"""The item cache: one small sealed table per video and key, written before any shard; no work is done twice."""

import os
import zipfile
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.io.files import replacing, replacing_folder, sweep
from stages.io.sealed import has_seal, read_sealed, write_sealed


def cache_root() -> Path:
    """`.cache` of the repository: of the original one inside `dvc exp run --temp` and `--queue`, which set DVC_ROOT.

    Items are named by all that made them, so experiments that run side by side can share the folder.
    """
    return Path(os.environ.get("DVC_ROOT", ".")) / ".cache"


def note_use(path: Path) -> None:
    """Set a file's time to now, where that is allowed: pruning removes what was used longest ago.

    Args:
        path: A file of the cache.
    """
    with suppress(OSError):
        os.utime(path)


def keep_folder(archive: Path, folder: Path) -> None:
    """Keep a folder as one file of the cache.

    Args:
        archive: The file, `ROOT/STAGE/KEY.zip`.
        folder: What to keep.
    """
    # Stored, not packed: what is kept are videos and images. Each file has a checksum that reading compares.
    with replacing(archive) as temporary, zipfile.ZipFile(temporary, "w", strict_timestamps=False) as files:
        for path in sorted(folder.rglob("*")):
            files.write(path, path.relative_to(folder))


def restore_folder(archive: Path, folder: Path) -> bool:
    """Make a folder anew from what `keep_folder` kept.

    Args:
        archive: The file of the cache.
        folder: Appears, or is replaced, when it is complete.

    Returns:
        Whether it was kept; a damaged file counts as missing.
    """
    if not archive.is_file():
        return False
    try:
        with zipfile.ZipFile(archive) as files, replacing_folder(folder) as temporary:
            files.extractall(temporary)
    except (zipfile.BadZipFile, EOFError):
        return False
    note_use(archive)
    return True


def renamed(rows: pa.Table, video_id: str) -> pa.Table:
    """An item with its first column set to `video_id`: equal files under two names share one item."""
    ids = pa.array([video_id] * rows.num_rows, pa.string())
    return rows.set_column(0, "video_id", ids)


class ItemCache:
    """The items of one stage, `ROOT/STAGE/KE/KEY.item`: a table as Parquet, sealed (`stages.io.sealed`)."""

    def __init__(self, stage: str, root: Path | None = None) -> None:
        self.folder = (cache_root() if root is None else root) / stage

    def sweep(self) -> None:
        """Remove the temporary files of runs that were killed."""
        sweep(self.folder.glob("??/.*.tmp"))

    def path(self, key: str) -> Path:
        """Where the item of a key lies, whether it is there or not."""
        return self.folder / key[:2] / f"{key}.item"

    def has(self, key: str) -> bool:
        """Whether the item is there and ends as a whole one does; `read` proves the rest.

        The file's time becomes that of this use: pruning goes by it.
        """
        if not has_seal(self.path(key)):
            return False
        note_use(self.path(key))
        return True

    def write(self, key: str, table: pa.Table) -> None:
        """Keep a table under its key, whole or not at all."""
        buffer = pa.BufferOutputStream()
        # The shards compress; items are read once, soon, so they do not.
        pq.write_table(table, buffer, compression="none", use_dictionary=False)
        write_sealed(self.path(key), key, memoryview(buffer.getvalue()))

    def read(self, key: str) -> pa.Table:
        """The table of a key.

        Raises:
            DamagedFileError: The file is not what was written under this key.
        """
        with pq.ParquetFile(pa.BufferReader(read_sealed(self.path(key), key))) as file:
            return file.read(use_threads=False)


class WritingBehind(ItemCache):
    """An item cache that writes in a background thread and still knows what it wrote; leaving the block waits for it.

    For items of a few numbers, where writing files would hold the network up. A run that is killed computes the few
    items anew that were not written yet. A file that cannot be written (a full disk) ends the run.
    """

    def __enter__(self) -> "WritingBehind":
        self._writer = ThreadPoolExecutor(1)
        self._written: deque[Future[None]] = deque()
        self._tables: dict[str, pa.Table] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown()
        for future in self._written:
            future.result()

    def write(self, key: str, table: pa.Table) -> None:
        """Keep a table under its key: known at once, on disk a little later."""
        while self._written and self._written[0].done():
            self._written.popleft().result()
        self._tables[key] = table
        self._written.append(self._writer.submit(super().write, key, table))

    def read(self, key: str) -> pa.Table:
        """The table of a key, from memory where it was written by this cache; raises as `ItemCache.read` does."""
        return self._tables[key] if key in self._tables else super().read(key)
