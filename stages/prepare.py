"""prepare: labels and files to one checked table, a row a video, MOS on 0-100.

Every file is hashed and read to its end, so that later stages know its true frame count; what cannot be used is named
in `status` and `reason` and goes no further.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.command import run
from stages.datasets.labels import Entry, check_entries
from stages.datasets.t2vqa_db import read_t2vqa_db
from stages.datasets.table import read_table_labels
from stages.engine import Item, check_failures, closing_line, in_processes, run_items
from stages.io import video
from stages.io.files import file_sha256
from stages.io.items import ItemCache, digest, library_versions
from stages.io.tables import MANIFEST, write_table
from stages.params import load_params
from stages.sections import DatasetParams, Params

VERSION = 1
ADAPTERS = {"t2vqa_db": read_t2vqa_db, "table": read_table_labels}
PROBE = pa.schema([MANIFEST.field(name) for name in ("n_frames_header", "n_frames", "fps", "width", "height")])


def read_entries(params: DatasetParams, root: Path) -> list[Entry]:
    """The labelled videos of a data set, checked; raises DatasetError that lists every problem with its line."""
    labels = root / params.labels
    entries = ADAPTERS[params.format](labels, videos=params.videos, generator_pattern=params.generator_pattern)
    check_entries(entries, source=labels, mos_min=params.mos_min, mos_max=params.mos_max)
    return entries


def probe_table(payload: tuple[str, float]) -> pa.Table:
    """One row of what the file holds; payload is (path, the share of promised frames that may be missing)."""
    path, max_missing_fraction = payload
    return pa.Table.from_pylist([vars(video.probe(path, max_missing_fraction=max_missing_fraction))], schema=PROBE)


def manifest_row(entry: Entry, params: DatasetParams) -> dict[str, Any]:
    """The columns that come from the label; a label with a problem has no MOS."""
    usable = entry.problem is None
    span = params.mos_max - params.mos_min
    return {
        "video_id": entry.video_id,
        "path": entry.path,
        "mos": 100 * (entry.mos_raw - params.mos_min) / span if usable else None,
        "mos_raw": entry.mos_raw if usable else None,
        "prompt": entry.prompt,
        "generator": entry.generator,
        "group": entry.group,
        "part": entry.part,
    }


def prepare(params: Params, *, root: Path, out: Path) -> None:
    """Write the manifest; raise DatasetError for doubtful labels and EngineError when too many videos fail."""
    libraries = library_versions("opencv-python-headless")
    max_missing = params.dataset.max_missing_fraction
    rows, failed, items = {}, {}, []
    for entry in read_entries(params.dataset, root):
        row = rows[entry.video_id] = manifest_row(entry, params.dataset)
        path = root / entry.path
        if entry.problem is not None:
            failed[entry.video_id] = entry.problem
        elif not path.is_file():
            failed[entry.video_id] = f"{entry.place}: no such file: {path}"
        else:
            try:
                row["sha256"] = file_sha256(path)
            except OSError as error:
                failed[entry.video_id] = f"{entry.place}: cannot be read: {error.strerror}"
                continue
            key = digest("prepare", VERSION, video.VERSION, libraries, max_missing, row["sha256"])
            items.append(Item(entry.video_id, key, (str(path), max_missing)))

    cache = ItemCache("prepare")
    compute = in_processes(probe_table, workers=params.engine.n_workers)
    outcome = run_items("prepare", items, compute, cache, failed_before=failed)
    print(closing_line("prepare", outcome))
    check_failures("prepare", outcome, max_failed_fraction=params.engine.max_failed_fraction)

    for item in items:
        if item.video_id not in outcome.failed:
            rows[item.video_id] |= cache.read(item.key).to_pylist()[0]
    for video_id, row in rows.items():
        reason = outcome.failed.get(video_id)
        row |= {"status": "ok" if reason is None else "failed", "reason": reason}
    table = pa.Table.from_pylist([rows[video_id] for video_id in sorted(rows)], schema=MANIFEST)
    made = {"version": VERSION, "params": params.dataset.model_dump(), "libraries": libraries}
    write_table(out, table, schema=MANIFEST, metadata={"made_by": {"prepare": made}})


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.prepare", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--out", type=Path, required=True, help="manifest to write (Parquet)")
    arguments = parser.parse_args(argv)
    prepare(load_params(), root=arguments.root, out=arguments.out)


if __name__ == "__main__":
    run(main)
