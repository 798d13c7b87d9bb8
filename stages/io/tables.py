"""Parquet tables: their metadata, atomic writing and reading; `shards` spreads one over several files.

Every table carries in its schema metadata, under the key `aigc_vqa`, a JSON object that says what made it: `made_by`
(a chain: stage -> code, parameters, library versions, for the stage itself and all before it). Tables made from items
of the cache add `keys` (video_id -> item key). There are no timestamps and no host names, so the same input writes the
same bytes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stages.errors import TableError
from stages.io.files import replacing
from stages.io.json import parse_object
from stages.io.schemas import MANIFEST

METADATA_KEY = b"aigc_vqa"
# The part of a video that neither trains, selects nor tests, in split.csv.
LEFT_OUT = "out"


def with_metadata(schema: pa.Schema, metadata: Mapping[str, Any]) -> pa.Schema:
    """A schema that carries JSON-like values under the key `aigc_vqa`."""
    return schema.with_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=False, separators=(",", ":"))})


def metadata_of(schema: pa.Schema, path: Path) -> dict[str, Any]:
    """The object under the key `aigc_vqa`.

    Args:
        schema: As the file has it.
        path: The file, for the message.

    Raises:
        TableError: There is no such key, or it holds no object with `made_by`.
    """
    text = (schema.metadata or {}).get(METADATA_KEY)
    if text is None:
        raise TableError(f"{path}: not a table of this pipeline (its metadata has no key {METADATA_KEY.decode()!r})")
    metadata = parse_object(text, f"{path}: metadata", error_type=TableError)
    if not isinstance(metadata.get("made_by", {}), dict):
        raise TableError(f"{path}: metadata: `made_by` is no object of stages")
    return {"made_by": {}} | metadata


def open_table(path: Path, schema: pa.Schema) -> pq.ParquetFile:
    """Open a Parquet file that has the columns of a schema.

    Args:
        path: The file.
        schema: The columns that it must have, in this order.

    Raises:
        TableError: The file is missing, damaged, or another table.
    """
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
        pq.write_table(table.cast(schema).replace_schema_metadata(with_metadata(schema, metadata).metadata), temporary)


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
    with open_table(path, schema) as file:
        return file.read(), metadata_of(file.schema_arrow, path)


def read_keys(path: Path) -> dict[str, str]:
    """The keys of the items that a table was made from.

    Args:
        path: A Parquet file.

    Returns:
        Video id -> key; empty where the file is not readable or no table of this pipeline.

    Raises:
        TableError: The metadata is damaged.
    """
    try:
        text = (pq.read_schema(path).metadata or {}).get(METADATA_KEY, b"{}")
    except (pa.ArrowInvalid, OSError):
        return {}
    keys: object = parse_object(text, f"{path}: metadata", error_type=TableError).get("keys")
    return keys if isinstance(keys, dict) else {}


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
