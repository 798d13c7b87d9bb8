"""propose: the top N object boxes of every frame, from the detector, into shards with one row group a video."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from models.detectors import Detections
from models.detectors.top_boxes import top_boxes
from stages.command import run
from stages.engine import Batched, Item, run_stage
from stages.io.clips import ClipFrame, read_clip
from stages.io.detectors import load_detector
from stages.io.files import file_sha256
from stages.io.items import digest, library_versions
from stages.io.tables import BOX_COLUMNS, FRAMES, PROPOSALS, Shards
from stages.params import load_params
from stages.runtime import LIBRARIES, make_deterministic, pick_device
from stages.sections import Params

VERSION = 1


def proposals_table(item: Item, clip: Sequence[ClipFrame], found: Sequence[Detections]) -> pa.Table:
    """One video's rows of the PROPOSALS schema: frames in order, boxes by rank; a frame without objects has no row."""
    counts = [len(one.scores) for one in found]
    boxes = np.concatenate([one.boxes_xyxy_px.numpy() for one in found])
    columns = {
        "video_id": [item.video_id] * sum(counts),
        "frame_index": np.repeat([entry.frame_index for entry in clip], counts),
        "rank": np.concatenate([np.arange(count) for count in counts]),
        **{name: boxes[:, column] for column, name in enumerate(BOX_COLUMNS)},
        "score": np.concatenate([one.scores.numpy() for one in found]),
        "label": np.concatenate([one.labels.numpy() for one in found]),
    }
    return pa.Table.from_pydict({name: pa.array(columns[name], PROPOSALS.field(name).type) for name in PROPOSALS.names})


def propose(params: Params, *, frames: Path, detector: Path, out: Path) -> None:
    """Write the proposal shards; raise EngineError when too many videos fail, WeightsError for foreign weights."""
    make_deterministic(threads=params.engine.n_threads)
    network = load_detector(detector, pick_device(params.engine.device))
    table = Shards(frames, schema=FRAMES)
    settings = params.propose.model_dump()
    made = {
        "version": VERSION,
        "params": settings,
        "weights": file_sha256(detector),
        "libraries": library_versions(*LIBRARIES),
    }
    compute = Batched(
        load=lambda video_id: read_clip(table.read(video_id)),
        group=lambda entry: entry.frame.shape,
        infer=lambda clip: [top_boxes(one, **settings) for one in network.detect([entry.frame for entry in clip])],
        finish=proposals_table,
        batch_size=params.engine.batch_frames,
    )
    run_stage(
        "propose",
        [Item(video_id, digest("propose", made, table.keys[video_id]), video_id) for video_id in table.ids],
        compute,
        schema=PROPOSALS,
        out=out,
        made_by=table.made_by | {"propose": made},
        failed_before=table.failed,
        n_shards=params.engine.shards,
        max_failed_fraction=params.engine.max_failed_fraction,
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.propose", description=__doc__)
    parser.add_argument("--frames", type=Path, required=True)
    parser.add_argument("--detector", type=Path, required=True, help="weights of the detector")
    parser.add_argument("--out", type=Path, required=True, help="folder of shards to write")
    arguments = parser.parse_args(argv)
    propose(load_params(), **vars(arguments))


if __name__ == "__main__":
    run(main)
