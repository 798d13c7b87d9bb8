"""propose: the top N object boxes of every frame, from the detector, into shards with one row group a video."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from models.detectors import Detections, Detector
from models.detectors.top_boxes import top_boxes
from stages.datasets.box_checks import Video, coverage, fit_to_videos
from stages.datasets.box_table import BoxTable
from stages.datasets.boxes import boxes_digest
from stages.engine.batches import Batched
from stages.engine.command import run
from stages.engine.device import make_deterministic, pick_device, surroundings
from stages.engine.fingerprint import fingerprint
from stages.engine.run import Item, run_stage
from stages.io.digests import digest
from stages.io.images import Frame
from stages.io.schemas import BOX_COLUMNS, FRAMES, MANIFEST, PROPOSALS
from stages.io.tables import Shards, read_table
from stages.params.load import load_params
from stages.params.schema import Params, ProposeParams
from stages.steps.clips import read_clip
from stages.steps.detectors import load_detector
from stages.steps.history import detector_history, detector_values
from stages.steps.key_frames import key_frames

# What `plan_looks` needs of the frames when it does not decode them.
LOOK_COLUMNS = ["frame_index", "height", "width"]


class Look(NamedTuple):
    """One look for objects: its (height, width) in pixels, the frame (None where boxes are looked up), and the indices
    of all frames that take these boxes, its own first."""

    size: tuple[int, int]
    frame: Frame | None
    frame_indices: list[int]


def plan_looks(frames: pa.Table, *, every: int, decode: bool) -> list[Look]:
    """The looks that one video takes, from its rows of the FRAMES schema; frames that take over boxes stay encoded."""
    indices = frames["frame_index"].to_pylist()
    sizes = list(zip(frames["height"].to_pylist(), frames["width"].to_pylist(), strict=True))
    takers: dict[int, list[int]] = {}
    for place, source in enumerate(key_frames(sizes, every)):
        takers.setdefault(source, []).append(indices[place])
    pixels = [entry.frame for entry in read_clip(frames.take([*takers]))] if decode else [None] * len(takers)
    return [Look(sizes[place], frame, takers[place]) for place, frame in zip(takers, pixels, strict=True)]


def proposals_table(item: Item, seen: Sequence[Look], found: Sequence[Detections]) -> pa.Table:
    """One video's rows of the PROPOSALS schema: frames in order, boxes by rank; a frame without objects has no row."""
    frames = [(index, one) for look, one in zip(seen, found, strict=True) for index in look.frame_indices]
    counts = [len(one.scores) for _, one in frames]
    boxes = np.concatenate([one.boxes_xyxy_px.numpy() for _, one in frames])
    columns = {
        "video_id": [item.video_id] * sum(counts),
        "frame_index": np.repeat([index for index, _ in frames], counts),
        "rank": np.concatenate([np.arange(count) for count in counts]),
        **{name: boxes[:, column] for column, name in enumerate(BOX_COLUMNS)},
        "score": np.concatenate([one.scores.numpy() for _, one in frames]),
        "label": np.concatenate([one.labels.numpy() for _, one in frames]),
    }
    return pa.Table.from_pydict({name: pa.array(columns[name], PROPOSALS.field(name).type) for name in PROPOSALS.names})


def by_network(network: Detector, frames: Shards, settings: ProposeParams, *, every: int, batch_size: int) -> Batched:
    """Find objects: frames of one size share a batch, whichever videos they are of."""

    def infer(batch: Sequence[Look]) -> list[Detections]:
        found = network.detect([look.frame for look in batch if look.frame is not None])
        return [top_boxes(one, **settings.model_dump()) for one in found]

    return Batched(
        load=lambda video_id: plan_looks(frames.read(video_id), every=every, decode=True),
        group=lambda look: look.size,
        infer=infer,
        finish=proposals_table,
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


def by_table(table: BoxTable, looks: Mapping[str, Sequence[Look]], settings: ProposeParams) -> Batched:
    """Look boxes up."""

    def find(video_id: str, look: Look) -> Detections:
        return top_boxes(table.look_up(video_id, look.frame_indices[0]), **settings.model_dump())

    return Batched(
        load=lambda video_id: [(video_id, look) for look in looks[video_id]],
        group=lambda _: None,
        infer=lambda batch: [find(*each) for each in batch],
        finish=lambda item, seen, found: proposals_table(item, [look for _, look in seen], found),
        batch_size=1,
    )


def propose(params: Params, *, frames: Path, manifest: Path, detector: Path, out: Path) -> None:
    """Write the proposal shards. manifest: read only for boxes that were brought along.

    Raises EngineError when too many videos fail, WeightsError for foreign weights, TableError for foreign boxes.
    """
    make_deterministic(threads=params.engine.n_threads)
    device = pick_device(params.engine.device)
    finder = load_detector(detector, device)
    table, settings, every = Shards(frames, schema=FRAMES), params.propose, params.detector.every
    made: dict[str, Any] = {"code": fingerprint("stages.propose"), "params": settings.model_dump(), "every": every}
    made |= detector_values(detector)
    if isinstance(finder, BoxTable):
        looks = {name: plan_looks(table.read(name, LOOK_COLUMNS), every=every, decode=False) for name in table.ids}
        boxes = fit_table(finder, looks, manifest)
        compute = by_table(boxes, looks, settings)
        values = {video_id: boxes_digest(boxes, video_id) for video_id in table.ids}
    else:
        compute = by_network(finder, table, settings, every=every, batch_size=params.engine.batch_frames)
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
    parser = argparse.ArgumentParser(prog="python -m stages.propose", description=__doc__)
    parser.add_argument("--frames", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True, help="what boxes brought along are held against")
    parser.add_argument("--detector", type=Path, required=True, help="weights of the detector, or its table of boxes")
    parser.add_argument("--out", type=Path, required=True, help="folder of shards to write")
    arguments = parser.parse_args(argv)
    propose(load_params(), **vars(arguments))


if __name__ == "__main__":
    run(main)
