"""prepare: labels and files to one checked table, a row a video, MOS on 0-100.

Every file is hashed and read to its end, so that later stages know its true frame count; what cannot be used is named
in `status` and `reason` and goes no further. Rated pairs, where the data set has them, go to a table of their own.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.datasets.adapters import read_entries
from stages.datasets.labels import Entry
from stages.datasets.mos import MosScale
from stages.datasets.pairs import RatedPair, read_pairs
from stages.engine.cache import ItemCache
from stages.engine.command import run, stage_arguments
from stages.engine.fingerprint import fingerprint
from stages.engine.progress import progress
from stages.engine.run import Item, check_failures, closing_line, read_item, run_items
from stages.engine.runners.local import in_processes
from stages.io.digests import digest, file_sha256, library_builds, library_versions
from stages.io.probe import probe
from stages.io.schemas import MANIFEST, PAIRS
from stages.io.tables import write_table
from stages.params.load import load_params
from stages.params.schema import DatasetParams, Params

PROBE = pa.schema([MANIFEST.field(name) for name in ("n_frames_header", "n_frames", "fps", "width", "height")])


def probe_table(payload: tuple[str, float]) -> pa.Table:
    """One row of what the file holds; payload is (path, the share of promised frames that may be missing)."""
    path, max_missing_fraction = payload
    return pa.Table.from_pylist([vars(probe(path, max_missing_fraction=max_missing_fraction))], schema=PROBE)


def manifest_row(entry: Entry, params: DatasetParams) -> dict[str, Any]:
    """The columns that come from the label; a label with a problem, or of a data set without scores, has no MOS."""
    mos_raw = entry.mos_raw if entry.problem is None else None
    scale = MosScale(params.mos_min, params.mos_max)
    return {
        "video_id": entry.video_id,
        "path": entry.path,
        "mos": None if mos_raw is None else scale.to_100(mos_raw),
        "mos_raw": mos_raw,
        "mos_raw_std": None if mos_raw is None else entry.mos_raw_std,
        "prompt": entry.prompt,
        "generator": entry.generator,
        "group": entry.group,
        "part": entry.part,
    }


def hash_files(entries: Sequence[Entry], root: Path, *, workers: int) -> Iterator[tuple[Entry, str | None, str | None]]:
    """(entry, SHA-256 of its file, why it cannot be used) of every entry, in order.

    The hash is None for a file that cannot be read, the reason None for a video that can be used.

    Hashing leaves Python for as long as a block takes, so threads are enough to keep every core, or the disk, busy.
    """
    threads = ThreadPoolExecutor(workers)
    try:
        hashes = threads.map(lambda entry: _hash_file(entry, root), entries)
        pairs = progress(zip(entries, hashes, strict=True), total=len(entries), desc="hash", unit="video", leave=False)
        for entry, (sha256, problem) in pairs:
            yield entry, sha256, problem
    finally:
        # Ctrl-C ends the run after the files that are being read, not after all that wait.
        threads.shutdown(cancel_futures=True)


def _hash_file(entry: Entry, root: Path) -> tuple[str | None, str | None]:
    """A file whose label cannot be used is hashed too: the audit looks at every file that is there."""
    path = root / entry.path
    sha256 = problem = None
    try:
        if path.is_file():
            sha256 = file_sha256(path)
        else:
            hint = "; paths are written with /" if "\\" in entry.path else ""
            problem = f"{entry.place}: no such file: {path}{hint}"
    except OSError as error:
        problem = f"{entry.place}: cannot be read: {error.strerror}"
    return sha256, "; ".join(text for text in (entry.problem, problem) if text) or None


def prepare(params: Params, *, root: Path, out: Path, pairs: Path) -> None:
    """Check labels and files, and write one row per video.

    Args:
        params: The checked params.
        root: Folder of the data set.
        out: Table of videos to write (Parquet).
        pairs: Rated pairs to write (Parquet); empty where the data set has none.

    Raises:
        DatasetError: Labels or pairs are doubtful.
        EngineError: Too many videos fail.
    """
    code, libraries = fingerprint("stages.prepare"), library_versions("av")
    builds = library_builds("av")
    max_missing = params.dataset.max_missing_fraction
    entries = read_entries(params.dataset, root)
    rated: list[RatedPair] = []
    if params.dataset.pairs:
        rated = read_pairs(root / params.dataset.pairs, ids=[entry.video_id for entry in entries])
    rows, failed, items = {}, {}, []
    for entry, sha256, problem in hash_files(entries, root, workers=params.engine.n_workers):
        rows[entry.video_id] = manifest_row(entry, params.dataset) | {"sha256": sha256}
        if problem is not None:
            failed[entry.video_id] = problem
            continue
        key = digest("prepare", code, libraries, builds, max_missing, sha256)
        items.append(Item(entry.video_id, key, (str(root / entry.path), max_missing)))

    cache = ItemCache("prepare")
    compute = in_processes(probe_table, workers=params.engine.n_workers)
    outcome = run_items("prepare", items, compute, cache, failed_before=failed)
    print(closing_line("prepare", outcome))
    check_failures("prepare", outcome, max_failed_fraction=params.engine.max_failed_fraction)

    for item in items:
        if item.video_id not in outcome.failed:
            rows[item.video_id] |= read_item("prepare", item, compute, cache).to_pylist()[0]
    for video_id, row in rows.items():
        reason = outcome.failed.get(video_id)
        row |= {"status": "ok" if reason is None else "failed", "reason": reason}
    table = pa.Table.from_pylist([rows[video_id] for video_id in sorted(rows)], schema=MANIFEST)
    made = {"code": code, "params": params.dataset.model_dump(), "libraries": libraries}
    keys = {item.video_id: item.key for item in items if item.video_id not in outcome.failed}
    metadata = {"made_by": {"prepare": made}}
    rated_table = pa.Table.from_pylist([asdict(pair) for pair in rated], schema=PAIRS)
    write_table(pairs, rated_table, schema=PAIRS, metadata=metadata)
    write_table(out, table, schema=MANIFEST, metadata=metadata | {"keys": dict(sorted(keys.items()))})


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage.

    Args:
        argv: The words after `python -m stages.prepare`; None: those of the process.
    """
    arguments = stage_arguments(prepare, argv)
    prepare(load_params(), **arguments)


if __name__ == "__main__":
    run(main)
