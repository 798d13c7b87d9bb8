"""audit: what the files are like: counts, clocks, geometry, fields, colours, repeated frames, damage, sizes.

Raters saw what a player made of a file; the pipeline sees what a decoder makes of it. Where the two differ, the label
belongs to another picture: frame faults are label noise. The audit judges nothing and fails nothing; it counts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from stages.engine.cache import ItemCache
from stages.engine.command import run, stage_arguments
from stages.engine.fingerprint import fingerprint
from stages.engine.run import Item, closing_line, read_item, run_items
from stages.engine.runners.local import in_processes
from stages.evaluation import inspection
from stages.evaluation.near_copies import first_near_copies
from stages.io.decoder.display import MIN_STRETCH
from stages.io.digests import digest, library_builds, library_versions
from stages.io.json import write_json
from stages.io.schemas import AUDIT, MANIFEST
from stages.io.tables import read_table, write_frame
from stages.params.load import load_params
from stages.params.schema import Params

COLOUR_TAGS = ("colour_range", "colour_matrix", "colour_primaries", "colour_transfer")


def inspect_payload(path: str) -> pa.Table:
    """One row of the AUDIT schema, the columns that other rows decide left empty."""
    return pa.Table.from_pylist([inspection.inspect_file(path)], schema=AUDIT)


def unusable_labels(manifest: pd.DataFrame) -> pd.Series:
    """Which videos have a label without a usable MOS: a matter of the labels, whatever their files are like.

    A data set without any scores (`dataset.format: folder`) has no labels that could be wrong.
    """
    return manifest["mos"].isna() & manifest["mos"].notna().any()


def audit_rows(manifest: pd.DataFrame, inspected: dict[str, dict[str, Any]], failed: dict[str, str]) -> pd.DataFrame:
    """One row a video of the manifest, in its order; `status` and `reason` are the file's.

    A reason that prepare gave stands before the audit's own, unless it is the label's and the file was inspected.
    """
    first_with: dict[str, str] = {}
    rows = []
    for label, of_label in zip(manifest.to_dict("records"), unusable_labels(manifest), strict=True):
        video_id, sha256 = label["video_id"], label["sha256"]
        row = inspected.get(video_id, {"status": "failed", "reason": failed.get(video_id)})
        if label["status"] != "ok" and not (of_label and video_id in inspected):
            row = row | {"status": "failed", "reason": label["reason"]}
        # A file that is not there has no hash, which pandas may show as None or as NaN: it is a copy of nothing.
        first = first_with.setdefault(sha256, video_id) if isinstance(sha256, str) else video_id
        rows.append(row | {"video_id": video_id, "same_file_as": None if first == video_id else first})
    return name_near_copies(pd.DataFrame(rows, columns=AUDIT.names))


def name_near_copies(rows: pd.DataFrame) -> pd.DataFrame:
    """Fill in `near_copy_of`: the first video that shows the same pictures in other bytes."""
    # Where no file can be read, the column would be one of numbers.
    rows = rows.astype({"frame_hashes": object, "near_copy_of": object})
    hashed = rows[rows["frame_hashes"].notna() & rows["same_file_as"].isna()]
    if hashed.empty:
        return rows.assign(frame_hashes=None)
    firsts = first_near_copies(np.array(hashed["frame_hashes"].tolist(), dtype=np.uint64))
    names = [hashed["video_id"].iloc[first] if first >= 0 else None for first in firsts]
    return rows.assign(near_copy_of=pd.Series(names, index=hashed.index, dtype=object).reindex(rows.index))


def summarise(rows: pd.DataFrame, *, groups: pd.Series, n_unusable_labels: int) -> dict[str, Any]:
    """Counts over all videos, those by kind as value -> videos. Shares are 0-1, of all pairs of neighbouring frames.

    Args:
        rows: Of the AUDIT schema.
        groups: Group (prompt, source) by video id; missing: alone.
        n_unusable_labels: Videos without a usable MOS.
    """
    seen = rows[rows["n_frames"].notna()]
    pairs = (seen["n_frames"] - 1).clip(lower=0).sum()
    counted = seen["n_frames_header"] != 0  # a header without a count (live-muxed WebM) is not wrong
    copies = rows[rows["near_copy_of"].notna()]
    tags = seen[list(COLOUR_TAGS)].fillna(inspection.UNSPECIFIED)
    return {
        "n_videos": len(rows),
        "n_damaged": int((rows["status"] != "ok").sum()),
        "n_unusable_labels": n_unusable_labels,
        "n_header_differs": int((counted & (seen["n_frames"] != seen["n_frames_header"])).sum()),
        "n_packets_differ": int((seen["n_packets"].notna() & (seen["n_frames"] != seen["n_packets"])).sum()),
        "n_variable_rate": int((seen["variable_rate"] == True).sum()),  # noqa: E712 (missing is neither)
        "n_rotated": int((seen["rotation_deg"] != 0).sum()),
        "n_mirrored": int((seen["mirrored"] == True).sum()),  # noqa: E712
        "n_not_square": int(((seen["pixel_aspect"] - 1).abs() >= MIN_STRETCH).sum()),
        "n_interlaced": int((seen["n_interlaced"] > 0).sum()),
        "n_transparent": int((seen["is_transparent"] == True).sum()),  # noqa: E712
        "n_size_changes": int((seen["n_size_changes"] > 0).sum()),
        "n_colour_tagged": int((tags["colour_matrix"] != inspection.UNSPECIFIED).sum()),
        "n_with_identical_neighbours": int((seen["n_identical"] > 0).sum()),
        "identical_share": float(seen["n_identical"].sum() / pairs) if pairs else 0.0,
        "nearly_identical_share": float(seen["n_nearly_identical"].sum() / pairs) if pairs else 0.0,
        "n_same_file": int(rows["same_file_as"].notna().sum()),
        "n_near_copies": len(copies),
        "n_near_copies_apart": int(
            (copies["video_id"].map(groups).to_numpy() != copies["near_copy_of"].map(groups).to_numpy()).sum()
        ),
        "size_bytes_total": int(rows["size_bytes"].sum()),
        "by_size": _counts(seen["width"].astype(int).astype(str) + "x" + seen["height"].astype(int).astype(str)),
        "by_codec": _counts(seen["codec"].fillna("unknown") + ", " + seen["pixel_format"].fillna("unknown")),
        "by_rate_fps": _counts(seen["fps"].fillna(0).map("{:.5g}".format)),
        "by_rotation_deg": _counts(seen["rotation_deg"].astype(int).astype(str)),
        "by_colour_tags": _counts(tags.agg(" ".join, axis=1) if len(tags) else pd.Series(dtype=str)),
    }


def _counts(values: pd.Series) -> dict[str, int]:
    return {str(name): int(count) for name, count in values.value_counts().items()}


def audit(params: Params, *, manifest: Path, root: Path, out: Path, videos: Path) -> None:
    """Write what the files are like; damaged files are rows of the table, whatever their number.

    Args:
        params: The checked params.
        manifest: Table of videos (Parquet).
        root: Folder that the manifest's paths start from.
        out: Summary to write (JSON).
        videos: Table to write, one row per video (Parquet).
    """
    table, metadata = read_table(manifest, schema=MANIFEST)
    labels = table.to_pylist()
    code, libraries = fingerprint("stages.audit"), library_versions("av", "imagehash", "opencv-python-headless")
    builds = library_builds("av", "opencv-python-headless")
    items = [
        Item(row["video_id"], digest("audit", code, libraries, builds, row["sha256"]), str(root / row["path"]))
        for row in labels
        if row["sha256"]
    ]
    cache, compute = ItemCache("audit"), in_processes(inspect_payload, workers=params.engine.n_workers)
    outcome = run_items("audit", items, compute, cache)
    print(closing_line("audit", outcome))
    inspected = {
        item.video_id: read_item("audit", item, compute, cache).to_pylist()[0]
        for item in items
        if item.video_id not in outcome.failed
    }
    frame = pd.DataFrame(labels, columns=MANIFEST.names)
    rows = audit_rows(frame, inspected, outcome.failed)
    groups = frame.set_index("video_id")["group"]
    summary = summarise(rows, groups=groups, n_unusable_labels=int(unusable_labels(frame).sum()))
    made = {"code": code, "libraries": libraries}
    keys = {item.video_id: item.key for item in items if item.video_id in inspected}
    made_by = metadata["made_by"] | {"audit": made}
    write_frame(videos, rows, schema=AUDIT, metadata={"made_by": made_by, "keys": keys})
    write_json(out, summary)
    n_labels, n_copies = summary["n_unusable_labels"], summary["n_near_copies"]
    print(
        f"audit: {summary['n_damaged']} of {summary['n_videos']} files damaged; header wrong in "
        f"{summary['n_header_differs']}, variable rate {summary['n_variable_rate']}, rotated {summary['n_rotated']}; "
        f"{summary['identical_share']:.1%} of neighbouring frames identical"
        + (f"; {n_labels} labels without a usable MOS" if n_labels else "")
        + (
            f"; {n_copies} near-copies of other videos, {summary['n_near_copies_apart']} of them of other groups"
            if n_copies
            else ""
        )
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage.

    Args:
        argv: The words after `python -m stages.audit`; None: those of the process.
    """
    arguments = stage_arguments(audit, argv)
    audit(load_params(), **arguments)


if __name__ == "__main__":
    run(main)
