"""decode: the frames of every usable video that the method reads, in shards with one row group a video."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.engine.command import run, stage_arguments
from stages.engine.fingerprint import fingerprint
from stages.engine.run import Item, run_stage
from stages.engine.runners.local import in_processes
from stages.io import video
from stages.io.digests import digest, library_builds, library_versions
from stages.io.sampling import planned_frames
from stages.io.schemas import FRAMES, MANIFEST
from stages.io.tables import read_table
from stages.params.load import load_params
from stages.params.schema import Params


def decode_payload(payload: dict[str, Any]) -> pa.Table:
    """One video's rows of the FRAMES schema; the payload holds the arguments of `video.decode_video`."""
    return video.decode_video(**payload)


def decode(params: Params, *, manifest: Path, root: Path, out: Path) -> None:
    """Decode the frames of every usable video that the method reads.

    Args:
        params: The checked params.
        manifest: Table of videos (Parquet).
        root: Folder that the manifest's paths start from.
        out: Folder of shards to write.

    Raises:
        EngineError: Too many videos fail.
        TableError: The manifest is missing or another table.
    """
    table, metadata = read_table(manifest, schema=MANIFEST)
    code, libraries = fingerprint("stages.decode"), library_versions("av", "opencv-python-headless")
    builds = library_builds("av", "opencv-python-headless")
    plan, storage = params.plan, params.decode.storage
    made = {"code": code, "params": params.decode.model_dump(), "plan": plan.model_dump(), "libraries": libraries}
    failed, items = {}, []
    for row in table.to_pylist():
        if row["status"] != "ok":
            failed[row["video_id"]] = row["reason"]
            continue
        wanted = planned_frames(plan, row["n_frames"])
        # The frames and not the plan: methods that read the same ones share them.
        key = digest("decode", code, libraries, builds, storage, row["sha256"], row["n_frames"], wanted)
        payload = {"path": str(root / row["path"]), "n_frames": row["n_frames"], "frames": wanted, **storage}
        items.append(Item(row["video_id"], key, payload))
    run_stage(
        "decode",
        items,
        in_processes(decode_payload, workers=params.engine.n_workers),
        schema=FRAMES,
        out=out,
        made_by=metadata["made_by"] | {"decode": made},
        failed_before=failed,
        n_shards=params.engine.shards,
        max_failed_fraction=params.engine.max_failed_fraction,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage.

    Args:
        argv: The words after `python -m stages.decode`; None: those of the process.
    """
    arguments = stage_arguments(decode, argv)
    decode(load_params(), **arguments)


if __name__ == "__main__":
    run(main)
