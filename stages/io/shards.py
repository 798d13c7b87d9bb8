"""Tables spread over several Parquet files (shards), one row group per video.

Which shard holds a video depends on its id alone. The metadata has, beside what every table has, `keys` (video_id ->
item key, in row-group order), `failed` (video_id -> reason) and `n_shards`.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.errors import TableError
from stages.io.files import replacing_folder
from stages.io.tables import metadata_of, open_table, with_metadata


def shard_of(video_id: str, n_shards: int) -> int:
    """The number of the shard that holds a video: it depends on nothing but the id and the number of shards."""
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8], "big") % n_shards


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    """For pyarrow's writer: numbers and text are compressed; encoded images, which cannot shrink further, are not."""
    packed = [field.name for field in schema if not pa.types.is_binary(field.type)]
    compression = {field.name: "zstd" if field.name in packed else "none" for field in schema}
    return {"compression": compression, "use_dictionary": packed, "write_statistics": packed}


def write_shards(
    out: str | Path,
    items: Mapping[str, str],
    read: Callable[[str, str], pa.Table],
    *,
    schema: pa.Schema,
    n_shards: int,
    made_by: Mapping[str, Any],
    failed: Mapping[str, str],
) -> None:
    """Assemble `out/part-000.parquet ...`, one row group per video, sorted by video_id.

    Args:
        out: The folder; it appears when it is complete.
        items: video_id -> item key of the videos that have rows.
        read: Gives the rows of a video from its key and its id.
        schema: Column types that the rows are cast to.
        n_shards: How many files the videos are spread over.
        made_by: What made the table, for its metadata.
        failed: video_id -> reason of the videos without rows, for its metadata.
    """
    keys_of: list[dict[str, str]] = [{} for _ in range(n_shards)]
    failed_of: list[dict[str, str]] = [{} for _ in range(n_shards)]
    for video_id in sorted(items):
        keys_of[shard_of(video_id, n_shards)][video_id] = items[video_id]
    for video_id in sorted(failed):
        failed_of[shard_of(video_id, n_shards)][video_id] = failed[video_id]
    with replacing_folder(out) as temporary:
        for number, keys in enumerate(keys_of):
            metadata = {"made_by": made_by, "keys": keys, "failed": failed_of[number], "n_shards": n_shards}
            path = temporary / f"part-{number:03d}.parquet"
            with pq.ParquetWriter(path, with_metadata(schema, metadata), **_encoding(schema)) as writer:
                for video_id, key in keys.items():
                    rows = read(key, video_id).cast(schema)
                    # An empty table is written too: it keeps the row groups in step with the keys.
                    writer.write_table(rows, row_group_size=max(1, rows.num_rows))


def _shard_metadata(metadata: dict[str, Any], path: Path) -> dict[str, Any]:
    kinds = {"keys": dict, "failed": dict, "n_shards": int}
    if wrong := [name for name, kind in kinds.items() if not isinstance(metadata.get(name), kind)]:
        raise TableError(f"{path}: metadata: {', '.join(wrong)} missing or damaged; `dvc repro` writes the table")
    return metadata


class Shards:
    """A sharded table, read one video at a time.

    Files are opened on first use, so that an instance can be sent to worker processes.

    Attributes:
        folder: Where the table lies.
        schema: Its columns.
        made_by: What made it, from its metadata.
        failed: video_id -> reason of the videos without rows.
        keys: video_id -> item key.

    Raises:
        TableError: The folder is missing or incomplete, or holds another table.
    """

    def __init__(self, folder: str | Path, *, schema: pa.Schema) -> None:
        self.folder = Path(folder)
        self.schema = schema
        paths = sorted(self.folder.glob("part-*.parquet"))
        if not paths:
            raise TableError(f"{self.folder}: no tables part-*.parquet; `dvc repro` writes them")
        self.made_by: dict[str, Any] = {}
        self.failed: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self._places: dict[str, tuple[Path, int]] = {}
        self._forget_files()
        for path in paths:
            with open_table(path, schema) as file:
                metadata = _shard_metadata(metadata_of(file.schema_arrow, path), path)
                if file.num_row_groups != len(metadata["keys"]):
                    raise TableError(f"{path}: {file.num_row_groups} row groups for {len(metadata['keys'])} videos")
            self.made_by = metadata["made_by"]
            self.failed |= metadata["failed"]
            self.keys |= metadata["keys"]
            self._places |= {video_id: (path, group) for group, video_id in enumerate(metadata["keys"])}
        if len(paths) != metadata["n_shards"]:
            raise TableError(f"{self.folder}: {len(paths)} of {metadata['n_shards']} tables part-*.parquet are there")

    def _forget_files(self) -> None:
        self._files: dict[Path, pq.ParquetFile] = {}
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_files", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._forget_files()

    @property
    def ids(self) -> list[str]:
        """Ids of the videos that have rows, sorted."""
        return sorted(self._places)

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._places

    def read(self, video_id: str, columns: list[str] | None = None) -> pa.Table:
        """The rows of one video.

        Args:
            video_id: The video.
            columns: Names of the columns to read; None: all.

        Returns:
            The rows in the order in which they were written.

        Raises:
            TableError: The table does not hold the video.
        """
        if video_id not in self._places:
            raise TableError(f"{self.folder}: no video {video_id!r}")
        path, group = self._places[video_id]
        # Two threads that read from one ParquetFile at once corrupt each other's buffers ("ReadRangeCache ...").
        with self._lock:
            if path not in self._files:
                self._files[path] = pq.ParquetFile(path, pre_buffer=False)
            # The few columns of a video are small reads: waking threads for them, or caching ranges, takes longer.
            return self._files[path].read_row_group(group, columns=columns, use_threads=False)
