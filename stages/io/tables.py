"""Parquet tables: their schemas, atomic writing, and shards with one row group a video.

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


def shard_of(video_id: str, n_shards: int) -> int:
    """The shard that a video lives in: it depends on nothing but the id and the number of shards."""
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8], "big") % n_shards


def _with_metadata(schema: pa.Schema, metadata: Mapping[str, Any]) -> pa.Schema:
    return schema.with_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=False, separators=(",", ":"))})


def _metadata(schema: pa.Schema, path: Path) -> dict[str, Any]:
    text = (schema.metadata or {}).get(METADATA_KEY)
    if text is None:
        raise TableError(f"{path}: not a table of this pipeline (its metadata has no key {METADATA_KEY.decode()!r})")
    return json.loads(text)


def _open(path: Path, schema: pa.Schema) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        raise TableError(f"{path}: no such table; `dvc repro` writes it") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: not a readable Parquet file ({error})") from None
    found = file.schema_arrow
    if not found.remove_metadata().equals(schema):
        columns = ", ".join(f"{field.name} {field.type}" for field in schema)
        raise TableError(f"{path}: columns are {', '.join(found.names)}; expected {columns}")
    return file


def write_table(path: str | Path, table: pa.Table, *, schema: pa.Schema, metadata: Mapping[str, Any]) -> None:
    """Write one Parquet file whole or not at all."""
    with replacing(path) as temporary:
        pq.write_table(table.cast(schema).replace_schema_metadata(_with_metadata(schema, metadata).metadata), temporary)


def write_frame(path: str | Path, frame: pd.DataFrame, *, schema: pa.Schema, metadata: Mapping[str, Any]) -> None:
    """`write_table` from a data frame that holds the schema's columns."""
    table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    write_table(path, table, schema=schema, metadata=metadata)


def read_table(path: str | Path, *, schema: pa.Schema) -> tuple[pa.Table, dict[str, Any]]:
    """Read one Parquet file of the given schema and its metadata; raise TableError when it is another table."""
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
    """Read one table as a data frame, strings as Python objects and missing strings as None."""
    table, _ = read_table(path, schema=schema)
    return to_frame(table)


def read_labels(manifest: str | Path, split: str | Path) -> pd.DataFrame:
    """The manifest's rows with the `part` that split.csv gives them; raise TableError when the ids differ."""
    rows = read_frame(manifest, schema=MANIFEST).drop(columns="part")
    # A video may be called NA: ids are text, never missing values.
    parts = pd.read_csv(split, dtype=str, keep_default_na=False)
    if sorted(parts["video_id"]) != sorted(rows["video_id"]):
        raise TableError(f"{split}: not the split of {manifest}; `dvc repro` makes them agree")
    return rows.merge(parts, on="video_id")


def to_frame(table: pa.Table) -> pd.DataFrame:
    """An Arrow table as a data frame with Python strings (missing: None) and NaN for missing numbers."""
    columns = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        is_text = pa.types.is_string(field.type)
        columns[field.name] = pd.Series(column.to_pylist(), dtype=object) if is_text else column.to_pandas()
    return pd.DataFrame(columns)


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    """For pyarrow's writer: numbers and texts are packed; encoded images lie as they are, nothing is won by more."""
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
    """Assemble `out/part-000.parquet ...`, one row group a video, sorted by video_id.

    items: video_id -> key; read(key, video_id) gives a video's rows. The folder appears when it is complete.
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
    """A sharded table, read one video at a time. Files open on first use, so that an instance travels to workers.

    `ids` are sorted; `made_by` and `failed` come from the metadata. Raises TableError for a missing or foreign folder.
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
        return sorted(self._places)

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._places

    def read(self, video_id: str, columns: list[str] | None = None) -> pa.Table:
        """The rows of one video, in the order written; raises TableError when the table does not hold it."""
        if video_id not in self._places:
            raise TableError(f"{self.folder}: no video {video_id!r}")
        path, group = self._places[video_id]
        # Two threads that read from one ParquetFile at once spoil each other's buffers ("ReadRangeCache ...").
        with self._lock:
            if path not in self._files:
                self._files[path] = pq.ParquetFile(path, pre_buffer=False)
            # A video's few columns are a few small reads: waking threads for them, or a cache of ranges, takes longer.
            return self._files[path].read_row_group(group, columns=columns, use_threads=False)
