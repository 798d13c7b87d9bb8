"""Predictions: one row a video, the same for every batch size, failed videos with their reason."""

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from models.methods.frame_consistency.network import build_quality
from stages import predict
from stages.engine.cache import ItemCache
from stages.errors import TableError, WeightsError
from stages.io.schemas import CROPS, FRAME_SCORES, FRAMES, PREDICTIONS
from stages.io.shards import Shards
from stages.io.tables import read_frame
from stages.io.weights import save_weights
from stages.steps.clips import cut_boxes, read_clip, selected_boxes
from tests.configs import frame_consistency_weights, quality_config, reliability
from tests.stages.clip_tables import MADE_BY, write_tables

ARGUMENTS = [
    "--manifest",
    "manifest.parquet",
    "--split",
    "split.csv",
    "--frames",
    "frames",
    "--crops",
    "crops",
    "--weights",
    "quality.safetensors",
    "--scores",
    "scores.parquet",
    "--out",
    "predictions.parquet",
]


@pytest.fixture
def tables(workplace: Path, write_params: Callable[..., None]) -> Callable[..., None]:
    """Tables and random weights in the working directory; call it to write params.yaml with engine values."""
    write_tables(workplace, videos=9)
    config = quality_config("test_resnet", "mean_std", 0.1, 32)
    network = build_quality(config, seed=3)
    about = frame_consistency_weights(config) | {"reliability": reliability(), "made_by": MADE_BY}
    save_weights("quality.safetensors", network.state_dict(), about)

    def write(**engine: object) -> None:
        write_params(engine={"device": "cpu", "batch_frames": 8} | engine)

    write()
    return write


def test_one_row_a_video_from_its_frames(tables: Callable[..., None]) -> None:
    predict.main(ARGUMENTS)
    rows = read_frame("predictions.parquet", schema=PREDICTIONS)
    frames = read_frame("scores.parquet", schema=FRAME_SCORES)
    assert list(rows["video_id"]) == [f"clip_{number:03d}.avi" for number in range(9)]
    assert set(rows["part"]) == {"train", "val", "test"}
    assert len(frames) == 27
    for row in rows.to_dict("records"):
        own = frames[frames["video_id"] == row["video_id"]]
        assert row["score"] == pytest.approx(own["score"].mean(), abs=1e-9)
        # The scale of the fixture is 1-5: a quarter of the way of 0-100 is 2.
        assert row["score_raw"] == pytest.approx(1 + 4 * row["score"] / 100)
        assert row["spread"] == pytest.approx(own["score"].std(ddof=0))
        assert row["worst_time_s"] == own.loc[own["score"].idxmin(), "time_s"]
        assert row["status"] == "ok"


def test_batch_size_does_not_matter(tables: Callable[..., None], tmp_path: Path, monkeypatch) -> None:
    results = []
    for batch_frames in (1, 7, 64):
        monkeypatch.setenv("DVC_ROOT", str(tmp_path / f"cache{batch_frames}"))  # nothing is taken from the last run
        tables(batch_frames=batch_frames)
        predict.main(ARGUMENTS)
        results.append(read_frame("scores.parquet", schema=FRAME_SCORES)["score"].to_numpy())
    # The bound that docs/concepts/stale.md names, points of 0-100.
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(results[2], results[0], rtol=0, atol=1e-4)


def test_a_second_run_computes_nothing_and_writes_the_same(tables: Callable[..., None], capfd) -> None:
    written = []
    for _ in range(2):
        predict.main(ARGUMENTS)
        written.append(Path("predictions.parquet").read_bytes())
    assert "predict: 0 computed, 9 cached, 0 failed" in capfd.readouterr().out
    assert written[0] == written[1]


def test_a_failed_video_keeps_its_row_and_reason(tables: Callable[..., None], workplace: Path) -> None:
    tables(max_failed_fraction=0.2)
    write_tables(workplace, videos=9, failed={"clip_002.avi": "cannot be opened"})
    predict.main(ARGUMENTS)
    row = read_frame("predictions.parquet", schema=PREDICTIONS).set_index("video_id").loc["clip_002.avi"]
    assert (row["status"], row["reason"]) == ("failed", "cannot be opened")
    assert pd.isna(row["score"])


def test_weights_of_another_network_are_refused(tables: Callable[..., None]) -> None:
    config = quality_config("test_resnet", "mean", 0.1, 32)
    network = build_quality(config)
    wrong = frame_consistency_weights(config.model_copy(update={"pooling": "mean_std"}))
    save_weights(
        "quality.safetensors",
        network.state_dict(),
        wrong | {"reliability": reliability(), "made_by": MADE_BY},
    )
    with pytest.raises(WeightsError, match=r"quality.safetensors: weights of another network; .*head.weight"):
        predict.main(ARGUMENTS)


def test_frames_without_a_selected_crop_are_an_error(tables: Callable[..., None]) -> None:
    frames, crops = Shards("frames", schema=FRAMES), Shards("crops", schema=CROPS)
    clip = read_clip(frames.read(frames.ids[0]))
    with pytest.raises(TableError, match=r"no selected crop for frames \[2\]"):
        cut_boxes(clip, selected_boxes(crops.read(frames.ids[0]).slice(0, 2)), size_px=16, shape="stretch")


def test_items_written_behind_are_known_at_once_and_a_failed_write_ends_the_run(workplace: Path, monkeypatch) -> None:
    table = pa.table({"video_id": ["a"], "score": [1.0]})
    with predict.WritingBehind("predict") as cache:
        cache.write("00aa", table)
        assert cache.read("00aa") is table
    assert ItemCache("predict").read("00aa").equals(table)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ItemCache, "write", full)
    with pytest.raises(OSError, match="No space left"), predict.WritingBehind("predict") as cache:
        cache.write("00bb", table)
