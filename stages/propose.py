"""propose: the top N object boxes of every frame, from the detector, into shards with one row group a video."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.detectors.interface import Detections, Detector
from models.detectors.top_boxes import top_boxes
from stages.datasets.box_checks import Video, coverage, fit_to_videos
from stages.datasets.box_table import BoxTable
from stages.datasets.boxes import boxes_digest
from stages.engine.batches import Batched
from stages.engine.command import run, stage_arguments
from stages.engine.device import make_deterministic, pick_device, surroundings
from stages.engine.fingerprint import fingerprint
from stages.engine.run import Compute, Item, run_stage
from stages.engine.unneeded import leave_table_empty
from stages.io.digests import digest
from stages.io.schemas import FRAMES, MANIFEST, PROPOSALS
from stages.io.shards import Shards
from stages.io.tables import read_table
from stages.params.load import load_params
from stages.params.schema import Params, ProposeParams
from stages.steps.clips import read_clip
from stages.steps.detectors import detector_history, detector_values, load_detector
from stages.steps.objects import Look, find_objects, plan_looks, proposals_table

# What `plan_looks` needs of the frames when it does not decode them.
LOOK_COLUMNS = ["frame_index", "height", "width"]


def looks_of(frames: pa.Table, *, every: int) -> list[Look]:
    """The looks that one video takes, without pixels, from its rows of the FRAMES schema (LOOK_COLUMNS are enough)."""
    sizes = zip(frames["height"].to_pylist(), frames["width"].to_pylist(), strict=True)
    return plan_looks(frames["frame_index"].to_pylist(), [*sizes], every=every)


def looks_with_frames(frames: pa.Table, *, every: int) -> list[Look]:
    """`looks_of` with the frames that are looked at; those that take over boxes stay encoded."""
    looks = looks_of(frames, every=every)
    clip = read_clip(frames.take([look.place for look in looks]))
    return [look._replace(frame=entry.frame) for look, entry in zip(looks, clip, strict=True)]


def by_network(
    network: Detector, frames: Shards, settings: ProposeParams, *, batch_size: int
) -> Batched[Look, Detections]:
    """Find objects: frames of one size share a batch."""
    return Batched(
        load=lambda video_id: looks_with_frames(frames.read(video_id), every=settings.every),
        group=lambda look: look.size,
        infer=lambda looks: find_objects(network, looks, settings),
        finish=lambda item, looks, objects: proposals_table(item.video_id, looks, objects),
        batch_size=batch_size,
    )


def read_lengths(manifest: Path) -> dict[str, int | None]:
    """How many frames every video of the manifest has; None where it cannot be read."""
    rows, _ = read_table(manifest, schema=MANIFEST)
    return dict(zip(rows["video_id"].to_pylist(), rows["n_frames"].to_pylist(), strict=True))


def fit_table(table: BoxTable, looks: Mapping[str, Sequence[Look]], manifest: Path) -> BoxTable:
    """The table as it fits the videos; says which of their frames have boxes. Raises TableError when it does not fit.

    looks: all that each of the decoded videos takes.
    """
    videos = {
        video_id: Video(
            sizes={index: look.size for look in own for index in look.frame_indices},
            looked_at=[look.frame_indices[0] for look in own],
        )
        for video_id, own in looks.items()
    }
    fitted = fit_to_videos(table, videos, read_lengths(manifest))
    print(f"propose: {coverage(fitted, videos)}")
    return fitted


def by_table(
    table: BoxTable, looks: Mapping[str, Sequence[Look]], settings: ProposeParams
) -> Batched[tuple[str, Look], Detections]:
    """Look boxes up."""

    def find(video_id: str, look: Look) -> Detections:
        return top_boxes(table.look_up(video_id, look.frame_indices[0]), **settings.rules())

    return Batched(
        load=lambda video_id: [(video_id, look) for look in looks[video_id]],
        group=lambda _: None,
        infer=lambda batch: [find(*each) for each in batch],
        finish=lambda item, seen, objects: proposals_table(item.video_id, [look for _, look in seen], objects),
        batch_size=1,
    )


def propose(params: Params, *, frames: Path, manifest: Path, detector: Path, out: Path) -> None:
    """Find the best object boxes of every frame.

    Args:
        params: The checked params.
        frames: Folder of frames.
        manifest: Table of videos, which precomputed boxes are checked against (Parquet).
        detector: Weights of the detector, or its table of boxes.
        out: Folder of shards to write.

    Raises:
        EngineError: Too many videos fail.
        TableError: Precomputed boxes are of other videos.
        WeightsError: The weights are not those of a detector.
    """
    if not params.reads_crops:
        source, n_shards = Shards(frames, schema=FRAMES), params.engine.shards
        leave_table_empty("propose", source, schema=PROPOSALS, out=out, n_shards=n_shards, method=params.method)
        return
    make_deterministic(threads=params.engine.n_threads)
    device = pick_device(params.engine.device)
    finder = load_detector(detector, device)
    table, settings = Shards(frames, schema=FRAMES), params.propose
    made: dict[str, Any] = {"code": fingerprint("stages.propose"), "params": settings.model_dump()}
    made |= detector_values(detector)
    compute: Compute
    if isinstance(finder, BoxTable):
        looks = {name: looks_of(table.read(name, LOOK_COLUMNS), every=settings.every) for name in table.ids}
        boxes = fit_table(finder, looks, manifest)
        compute = by_table(boxes, looks, settings)
        values = {video_id: boxes_digest(boxes, video_id) for video_id in table.ids}
    else:
        compute = by_network(finder, table, settings, batch_size=params.engine.batch_frames)
        values = dict.fromkeys(table.ids, made["weights"])
    around = surroundings(device, batch_frames=params.engine.batch_frames)
    keys = {name: digest("propose", made | {"weights": values[name]}, around, table.keys[name]) for name in table.ids}
    run_stage(
        "propose",
        [Item(name, keys[name], name) for name in table.ids],
        compute,
        schema=PROPOSALS,
        out=out,
        made_by=table.made_by | {"propose": made | {"made_by": detector_history(detector)}},
        failed_before=table.failed,
        n_shards=params.engine.shards,
        max_failed_fraction=params.engine.max_failed_fraction,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage.

    Args:
        argv: The words after `python -m stages.propose`; None: those of the process.
    """
    arguments = stage_arguments(propose, argv)
    propose(load_params(), **arguments)


if __name__ == "__main__":
    run(main)
