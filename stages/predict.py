"""predict: a score for every segment and every video, of all parts, with the trained model.

frame_scores.parquet holds the segments, such as frames, predictions.parquet one row a video, failed ones with their
reason.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from models.methods import method_module
from models.methods.reading import Need
from stages.engine.batches import Batched
from stages.engine.cache import WritingBehind, renamed
from stages.engine.command import run, stage_arguments
from stages.engine.device import LIBRARIES, make_deterministic, pick_device, surroundings
from stages.engine.fingerprint import fingerprint
from stages.engine.run import Item, check_failures, closing_line, read_item, run_items
from stages.io.digests import digest, file_sha256, library_versions
from stages.io.schemas import CROPS, FRAME_SCORES, FRAMES, PREDICTIONS
from stages.io.shards import Shards
from stages.io.tables import read_labels, to_frame, write_frame, write_table
from stages.params.load import load_params
from stages.params.schema import Params
from stages.steps.clips import CLIP_COLUMNS, SELECTED_COLUMNS, read_clip
from stages.steps.scores import QualityModel, load_quality, same_batch


def predictions(
    labels: pd.DataFrame, frames: pd.DataFrame, failed: dict[str, str], model: QualityModel
) -> pd.DataFrame:
    """One row a video of the split, sorted by id; the scores of a failed video are missing and its reason is there."""
    results = {video_id: model.summarise(rows) for video_id, rows in frames.groupby("video_id", sort=True)}
    rows = []
    for label in labels.sort_values("video_id").to_dict("records"):
        reason = failed.get(label["video_id"])
        known = {name: label[name] for name in ("video_id", "part", "generator", "mos")}
        status = {"status": "ok" if reason is None else "failed", "reason": reason}
        rows.append(known | results.get(label["video_id"], {}) | status)
    return pd.DataFrame(rows, columns=PREDICTIONS.names)


def predict(
    params: Params, *, manifest: Path, split: Path, frames: Path, crops: Path, weights: Path, scores: Path, out: Path
) -> None:
    """Score every video that has crops.

    Args:
        params: The checked params.
        manifest: Table of videos (Parquet).
        split: Parts of the videos (CSV).
        frames: Folder of frames.
        crops: Folder of crops.
        weights: The trained quality model.
        scores: Scores of segments to write (Parquet).
        out: Scores of videos to write (Parquet).

    Raises:
        EngineError: Too many videos fail.
        TableError: A table is missing or another one.
        WeightsError: The weights are not those of a quality model.
    """
    make_deterministic(threads=params.engine.n_threads)
    device = pick_device(params.engine.device)
    model = load_quality(weights, device=device)
    frames_table, crops_table = Shards(frames, schema=FRAMES), Shards(crops, schema=CROPS)
    made = {
        "code": fingerprint("stages.predict", method_module(model.name)),
        "weights": file_sha256(weights),
        "libraries": library_versions("opencv-python-headless", *LIBRARIES),
    }
    around = surroundings(device, batch_frames=params.engine.batch_frames)
    items = [Item(name, digest("predict", made, around, crops_table.keys[name]), name) for name in crops_table.ids]
    needs_crops = Need.CROPS in model.method.needs
    compute = Batched(
        load=lambda name: model.pieces(
            read_clip(frames_table.read(name, CLIP_COLUMNS)),
            crops_table.read(name, SELECTED_COLUMNS) if needs_crops else None,
        ),
        group=same_batch,
        infer=model.score,
        finish=lambda item, pieces, scores: model.rows(item.video_id, pieces, scores),
        batch_size=max(1, params.engine.batch_frames // model.method.frames_a_piece),
    )
    with WritingBehind("predict") as cache:
        outcome = run_items("predict", items, compute, cache, failed_before=crops_table.failed)
        print(closing_line("predict", outcome))
        check_failures("predict", outcome, max_failed_fraction=params.engine.max_failed_fraction)
        scored = [item for item in items if item.video_id not in outcome.failed]
        tables = [renamed(read_item("predict", item, compute, cache), item.video_id) for item in scored]
    made_by = model.made_by | {"predict": made}
    frame_table = pa.concat_tables(tables).cast(FRAME_SCORES)
    labels = read_labels(manifest, split)
    table = predictions(labels, to_frame(frame_table), outcome.failed, model)
    keys = {item.video_id: item.key for item in scored}
    write_table(scores, frame_table, schema=FRAME_SCORES, metadata={"made_by": made_by, "keys": keys})
    write_frame(out, table, schema=PREDICTIONS, metadata={"made_by": made_by})


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage.

    Args:
        argv: The words after `python -m stages.predict`; None: those of the process.
    """
    arguments = stage_arguments(predict, argv)
    predict(load_params(), **arguments)


if __name__ == "__main__":
    run(main)
