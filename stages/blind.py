"""blind: crops that are chosen without looking: the middle one, one by chance, or the whole frame.

Needs frames alone, no detector and no cropper; what S²CNet chooses is the stage crop's. One row group a video.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from stages.engine.batches import Batched
from stages.engine.command import run, stage_arguments
from stages.engine.fingerprint import fingerprint
from stages.engine.run import Item, run_stage
from stages.engine.unneeded import leave_table_empty
from stages.io.digests import digest, library_versions
from stages.io.schemas import CROPS, FRAMES
from stages.io.shards import Shards
from stages.params.load import load_params
from stages.params.schema import Params
from stages.steps.clips import read_clip
from stages.steps.crops import blind_candidates, crops_table


def blind(params: Params, *, frames: Path, method: Literal["center", "random", "full"], out: Path) -> None:
    """Write the candidates of every frame, the chosen one marked.

    Args:
        params: The checked params.
        frames: Folder of frames.
        method: Who chooses.
        out: Folder of shards to write.

    Raises:
        EngineError: Too many videos fail.
        TableError: The frames are missing.
    """
    table, n_shards = Shards(frames, schema=FRAMES), params.engine.shards
    if not params.reads_crops:
        leave_table_empty("blind", table, schema=CROPS, out=out, n_shards=n_shards, method=params.method)
        return
    chosen = params.crop.model_copy(update={"method": method})
    settings = chosen.model_dump()
    made = {
        "code": fingerprint("stages.blind"),
        "params": settings,
        "libraries": library_versions("numpy", "opencv-python-headless"),
    }
    compute = Batched(
        load=lambda name: read_clip(table.read(name)),
        group=lambda entry: entry.frame.shape,
        infer=lambda batch: blind_candidates([entry.frame for entry in batch], chosen),
        finish=lambda item, clip, candidates: crops_table(item.video_id, clip, candidates, chosen),
        batch_size=params.engine.batch_frames,
    )
    # How a crop will be cut out changes no row.
    decides = made | {"params": chosen.model_dump(exclude={"shape"})}
    run_stage(
        "blind",
        [Item(name, digest("blind", decides, table.keys[name]), name) for name in table.ids],
        compute,
        schema=CROPS,
        out=out,
        made_by=table.made_by | {"crop": made},
        failed_before=table.failed,
        n_shards=n_shards,
        max_failed_fraction=params.engine.max_failed_fraction,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage.

    Args:
        argv: The words after `python -m stages.blind`; None: those of the process.
    """
    arguments = stage_arguments(blind, argv)
    blind(load_params(), **arguments)


if __name__ == "__main__":
    run(main)
