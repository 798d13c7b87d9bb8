"""crop: S²CNet's candidates of every frame with their scores, the selected one marked, one row group a video.

Runs where `crop.method` is s2cnet; the other methods are those of the stage blind.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.s2cnet.scoring import CropScores
from stages.engine.batches import Batched
from stages.engine.command import run, stage_arguments
from stages.engine.device import LIBRARIES, make_deterministic, pick_device, surroundings
from stages.engine.fingerprint import fingerprint
from stages.engine.run import Item, run_stage
from stages.engine.unneeded import leave_table_empty
from stages.errors import TableError
from stages.io.digests import digest, file_sha256, library_versions
from stages.io.schemas import CROPS, FRAMES, PROPOSALS
from stages.io.shards import Shards
from stages.params.load import load_params
from stages.params.schema import Params
from stages.steps.clips import ClipFrame, read_clip
from stages.steps.crops import crops_table, load_cropper
from stages.steps.objects import objects_by_frame


class Input(NamedTuple):
    """One frame and the boxes (N, 4) of its objects, float32 xyxy in its pixels, best first."""

    entry: ClipFrame
    objects_xyxy_px: NDArray[np.float32]


def read_inputs(frames: pa.Table, proposals: pa.Table) -> list[Input]:
    """The frames of one video with their objects; a frame without proposals has none."""
    clip = read_clip(frames)
    objects = objects_by_frame(proposals, [entry.frame_index for entry in clip])
    return [Input(*each) for each in zip(clip, objects, strict=True)]


def crop(params: Params, *, frames: Path, proposals: Path, cropper: Path, out: Path) -> None:
    """Write every candidate of every frame with its score, the selected one marked.

    Args:
        params: The checked params.
        frames: Folder of frames.
        proposals: Folder of object boxes.
        cropper: Weights of S2CNet.
        out: Folder of shards to write.

    Raises:
        EngineError: Too many videos fail.
        TableError: A table is missing, or the proposals are of other videos.
        WeightsError: The weights are not those of a cropper.
    """
    if not params.reads_crops:
        source, n_shards = Shards(frames, schema=FRAMES), params.engine.shards
        leave_table_empty("crop", source, schema=CROPS, out=out, n_shards=n_shards, method=params.method)
        return
    make_deterministic(threads=params.engine.n_threads)
    device = pick_device(params.engine.device)
    network = load_cropper(cropper, device)
    frames_table, proposals_table = Shards(frames, schema=FRAMES), Shards(proposals, schema=PROPOSALS)
    if lost := [name for name in proposals_table.ids if name not in frames_table]:
        raise TableError(f"{proposals}: {len(lost)} videos are not in {frames} (first: {lost[0]!r})")
    chosen = params.crop.model_copy(update={"method": "s2cnet"})
    settings = chosen.model_dump()
    made = {
        "code": fingerprint("stages.crop"),
        "params": settings,
        "weights": file_sha256(cropper),
        "libraries": library_versions("opencv-python-headless", *LIBRARIES),
    }

    def finish(item: Item, inputs: Sequence[Input], scored: list[CropScores]) -> pa.Table:
        return crops_table(item.video_id, [one.entry for one in inputs], scored, chosen)

    compute = Batched(
        load=lambda name: read_inputs(frames_table.read(name), proposals_table.read(name)),
        group=lambda one: one.entry.frame.shape,
        infer=lambda batch: network.score_candidates(
            [one.entry.frame for one in batch], [one.objects_xyxy_px for one in batch], chosen
        ),
        finish=finish,
        batch_size=params.engine.batch_frames,
    )
    # How a crop will be cut out changes no row.
    decides = made | {"params": chosen.model_dump(exclude={"shape"})}
    keys, around = proposals_table.keys, surroundings(device, batch_frames=params.engine.batch_frames)
    run_stage(
        "crop",
        [Item(name, digest("crop", decides, around, keys[name]), name) for name in proposals_table.ids],
        compute,
        schema=CROPS,
        out=out,
        made_by=proposals_table.made_by | {"crop": made},
        failed_before=proposals_table.failed,
        n_shards=params.engine.shards,
        max_failed_fraction=params.engine.max_failed_fraction,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage.

    Args:
        argv: The words after `python -m stages.crop`; None: those of the process.
    """
    arguments = stage_arguments(crop, argv)
    crop(load_params(), **arguments)


if __name__ == "__main__":
    run(main)
