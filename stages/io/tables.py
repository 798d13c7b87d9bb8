"""Parquet tables: their metadata, atomic writing, and shards with one row group per video.

Every table carries in its schema metadata, under the key `aigc_vqa`, a JSON object that says what made it: `made_by`
(a chain: stage -> code, parameters, library versions, for the stage itself and all before it). Tables made from items
of the cache add `keys` (video_id -> item key), sharded ones (keys in row-group order) `failed` (video_id -> reason) and
`n_shards` too. There are no timestamps and no host names, so the same input writes the same bytes.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stages.errors import TableError
from stages.io.files import replacing, replacing_folder
from stages.io.schemas import MANIFEST

METADATA_KEY = b"aigc_vqa"
# The part of a video that neither trains, selects nor tests, in split.csv.
LEFT_OUT = "out"


def shard_of(video_id: str, n_shards: int) -> int:
    """The number of the shard that holds a video: it depends on nothing but the id and the number of shards."""
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8], "big") % n_shards


def _with_metadata(schema: pa.Schema, metadata: Mapping[str, Any]) -> pa.Schema:
    return schema.with_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=False, separators=(",", ":"))})


def _metadata(schema: pa.Schema, path: Path) -> dict[str, Any]:
    text = (schema.metadata or {}).get(METADATA_KEY)
    if text is None:
        raise TableError(f"{path}: not a table of this pipeline (its metadata has no key {METADATA_KEY.decode()!r})")
    metadata: dict[str, Any] = json.loads(text)
    return metadata


def _open(path: Path, schema: pa.Schema) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        raise TableError(f"{path}: no such table; `dvc repro` writes it") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: not a readable Parquet file ({error})") from None
    actual = file.schema_arrow
    if not actual.remove_metadata().equals(schema):
        columns = ", ".join(f"{field.name} {field.type}" for field in schema)
        raise TableError(f"{path}: columns are {', '.join(actual.names)}; expected {columns}")
    return file


def write_table(path: str | Path, table: pa.Table, *, schema: pa.Schema, metadata: Mapping[str, Any]) -> None:
    """Write one Parquet file, whole or not at all.

    Args:
        path: The file; its folder is created.
        table: The rows, with the schema's columns in its order.
        schema: Column types that the rows are cast to.
        metadata: JSON-like values for the key `aigc_vqa`.
    """
    with replacing(path) as temporary:
        pq.write_table(table.cast(schema).replace_schema_metadata(_with_metadata(schema, metadata).metadata), temporary)


def write_frame(path: str | Path, frame: pd.DataFrame, *, schema: pa.Schema, metadata: Mapping[str, Any]) -> None:
    """Write a data frame by `write_table`.

    Args:
        path: The file; its folder is created.
        frame: The rows; columns that the schema does not name are left out.
        schema: The columns to write, in their order.
        metadata: JSON-like values for the key `aigc_vqa`.
    """
    table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    write_table(path, table, schema=schema, metadata=metadata)


def read_table(path: str | Path, *, schema: pa.Schema) -> tuple[pa.Table, dict[str, Any]]:
    """Read one Parquet file and its metadata.

    Args:
        path: The file.
        schema: The columns that it must have, in this order.

    Returns:
        The rows, and the object under the key `aigc_vqa`.

    Raises:
        TableError: The file is missing, damaged, or another table.
    """
    path = Path(path)
    with _open(path, schema) as file:
        return file.read(), _metadata(file.schema_arrow, path)


def read_keys(path: Path) -> dict[str, str]:
    """The keys of the items that a table was made from.

    Args:
        path: A Parquet file.

    Returns:
        Video id -> key; empty where the file is not readable or no table of this pipeline.
    """
    try:
        text = (pq.read_schema(path).metadata or {}).get(METADATA_KEY, b"{}")
    except (pa.ArrowInvalid, OSError):
        return {}
    keys: dict[str, str] = json.loads(text).get("keys", {})
    return keys


def read_frame(path: str | Path, *, schema: pa.Schema) -> pd.DataFrame:
    """Read one table as a data frame; see `to_frame` for its types.

    Raises:
        TableError: The file is missing, damaged, or another table.
    """
    table, _ = read_table(path, schema=schema)
    return to_frame(table)


def read_labels(manifest: str | Path, split: str | Path) -> pd.DataFrame:
    """The manifest's rows with the `part` that split.csv assigns to them, without the videos that it leaves out.

    Args:
        manifest: Table of the MANIFEST schema.
        split: CSV file with the columns video_id and part.

    Returns:
        One row per video of train, val and test.

    Raises:
        TableError: The two do not list the same videos.
    """
    rows = read_frame(manifest, schema=MANIFEST).drop(columns="part")
    # A video may be called NA: ids are text, never missing values.
    parts = pd.read_csv(split, dtype=str, keep_default_na=False)
    if sorted(parts["video_id"]) != sorted(rows["video_id"]):
        raise TableError(f"{split}: not the split of {manifest}; `dvc repro` makes them agree")
    return rows.merge(parts[parts["part"] != LEFT_OUT], on="video_id")


def to_frame(table: pa.Table) -> pd.DataFrame:
    """An Arrow table as a data frame with Python strings (missing: None) and NaN for missing numbers."""
    columns = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        is_text = pa.types.is_string(field.type)
        columns[field.name] = pd.Series(column.to_pylist(), dtype=object) if is_text else column.to_pandas()
    return pd.DataFrame(columns)


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
            with pq.ParquetWriter(path, _with_metadata(schema, metadata), **_encoding(schema)) as writer:
                for video_id, key in keys.items():
                    rows = read(key, video_id).cast(schema)
                    # An empty table is written too: it keeps the row groups in step with the keys.
                    writer.write_table(rows, row_group_size=max(1, rows.num_rows))


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
            with _open(path, schema) as file:
                metadata = _metadata(file.schema_arrow, path)
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
