"""What stages write that the chosen method has no use for: files that say so, and tables without rows."""

from pathlib import Path

import pyarrow as pa

from stages.io.json import write_json
from stages.io.shards import Shards, write_shards
from stages.io.weights import save_weights


def leave_table_empty(stage: str, source: Shards, *, schema: pa.Schema, out: Path, n_shards: int, method: str) -> None:
    """Write a table with no rows for every video of another, whose history and keys it takes on.

    Args:
        stage: Name of the stage, for the message.
        source: The table that the stage reads.
        schema: Columns of the table.
        out: Folder of shards to write.
        n_shards: How many files the videos are spread over.
        method: Name of the chosen method, for the message.
    """
    empty = schema.empty_table()
    write_shards(
        out,
        source.keys,
        lambda _, __: empty,
        schema=schema,
        n_shards=n_shards,
        made_by=source.made_by,
        failed=source.failed,
    )
    _say(stage, method)


def leave_weights_empty(stage: str, *, weights: Path, metrics: Path, method: str) -> None:
    """Write a file without weights, and metrics that measure nothing.

    Args:
        stage: Name of the stage, for the message.
        weights: File to write (safetensors).
        metrics: Metrics to write (JSON).
        method: Name of the chosen method, for the message.
    """
    save_weights(weights, {}, {"unneeded": f"the method {method} reads no crops"})
    write_json(metrics, {"unneeded": 1})
    _say(stage, method)


def _say(stage: str, method: str) -> None:
    print(f"{stage}: nothing to do: the method {method} reads no crops")
