"""Metrics of the test part: flat, finite, equal to scipy, and refused when they would mean nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stages import evaluate
from stages.errors import EvaluationError
from stages.io.tables import FRAME_SCORES, PREDICTIONS, write_frame
from stages.params import load_params
from stages.summary import metrics_table
from tests.conftest import ROOT

KEYS = {
    "srocc", "plcc", "krocc", "mean", "plcc_logistic", "rmse", "srocc_ci_low", "srocc_ci_high",
    "n_expected", "n_scored", "n_failed",
}  # fmt: skip
PARAMS = load_params(ROOT / "params.yaml").evaluate


def predictions(n: int = 40, *, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    mos = random.uniform(10, 90, n)
    frame = pd.DataFrame({name: pd.Series([None] * n, dtype=object) for name in PREDICTIONS.names})
    frame["video_id"] = [f"clip_{number}.avi" for number in range(n)]
    frame["part"], frame["status"] = "test", "ok"
    frame["mos"], frame["score"] = mos, mos + random.normal(0, 8, n)
    frame["score_raw"], frame["sharpness"] = frame["score"], random.uniform(0, 1, n)
    frame["spread"] = random.uniform(0, 5, n)
    return frame


def test_metrics_equal_scipys_and_are_flat_and_finite() -> None:
    rows = predictions()
    metrics = evaluate.evaluate(rows, PARAMS)
    assert set(metrics) == KEYS
    assert all(isinstance(value, (int, float)) and np.isfinite(value) for value in metrics.values())
    assert metrics["srocc"] == pytest.approx(stats.spearmanr(rows["score"], rows["mos"]).statistic, abs=1e-12)
    assert metrics["plcc"] == pytest.approx(stats.pearsonr(rows["score"], rows["mos"]).statistic, abs=1e-12)
    assert metrics["krocc"] == pytest.approx(stats.kendalltau(rows["score"], rows["mos"]).statistic, abs=1e-12)
    assert metrics["mean"] == pytest.approx((metrics["srocc"] + metrics["plcc"] + metrics["krocc"]) / 3)
    assert metrics["rmse"] == pytest.approx(float(np.sqrt(np.mean((rows["score"] - rows["mos"]) ** 2))))
    assert metrics["srocc_ci_low"] < metrics["srocc"] < metrics["srocc_ci_high"]


def test_failed_videos_are_counted_not_scored() -> None:
    rows = predictions()
    whole = evaluate.evaluate(rows.iloc[5:], PARAMS)
    rows.loc[:4, ["status", "score", "reason"]] = ["failed", np.nan, "cannot be opened"]
    metrics = evaluate.evaluate(rows, PARAMS)
    assert (metrics["n_expected"], metrics["n_scored"], metrics["n_failed"]) == (40, 35, 5)
    assert metrics["srocc"] == whole["srocc"]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("score", np.nan, r"scores or MOS of 1 videos are not finite \(first: 'clip_3.avi'\)"),
        ("mos", np.inf, "not finite"),
    ],
)
def test_a_number_that_is_not_finite_fails(column: str, value: float, message: str) -> None:
    rows = predictions()
    rows.loc[3, column] = value
    with pytest.raises(EvaluationError, match=message):
        evaluate.evaluate(rows, PARAMS)


def test_predictions_without_spread_fail() -> None:
    with pytest.raises(EvaluationError, match="no metrics from 40 scored test videos"):
        evaluate.evaluate(predictions().assign(score=50.0), PARAMS)


def test_too_few_videos_fail() -> None:
    with pytest.raises(EvaluationError, match="no metrics from 2 scored test videos"):
        evaluate.evaluate(predictions().head(2), PARAMS)


def test_sharpness_counts_with_its_better_sign() -> None:
    rows = predictions()
    assert evaluate.sharpness_srocc(rows.assign(sharpness=-rows["mos"].astype(float))) == pytest.approx(1.0)
    assert evaluate.sharpness_srocc(rows.assign(sharpness=1.0)) == 0.0


def test_the_stage_writes_the_same_bytes_twice_and_looks_at_the_test_part_alone(
    workplace: Path, write_params: Callable[..., None]
) -> None:
    write_params()
    rows = predictions()
    train = predictions(10, seed=5).assign(part="train", video_id=[f"other_{number}" for number in range(10)])
    frames = [
        {"video_id": video_id, "frame_index": index, "time_s": index / 8, "score": 50.0 + index, "sharpness": 1.0}
        for video_id in rows["video_id"]
        for index in range(3)
    ]
    write_frame("predictions.parquet", pd.concat([rows, train]), schema=PREDICTIONS, metadata={})
    write_frame("scores.parquet", pd.DataFrame(frames), schema=FRAME_SCORES, metadata={})
    written = []
    for _ in range(2):
        evaluate.main(
            [
                "--predictions",
                "predictions.parquet",
                "--scores",
                "scores.parquet",
                "--metrics",
                "results/metrics.json",
                "--baselines",
                "results/baselines.json",
                "--plots",
                "results/plots",
            ]
        )
        written.append({path: path.read_bytes() for path in sorted(Path("results").rglob("*")) if path.is_file()})
    assert written[0] == written[1]
    values = json.loads(Path("results/metrics.json").read_text())
    assert values["n_expected"] == 40
    # `dvc exp show` orders its columns by this file.
    assert list(values)[:4] == ["srocc", "plcc", "krocc", "mean"]
    names = {path.name for path in written[0]}
    assert names == {"metrics.json", "baselines.json", "scatter.csv", "scatter.png", "frame_scores.png"}
    assert "SROCC of plain sharpness" in metrics_table(Path("results"))


def test_no_metrics_yet_says_what_writes_them(workplace: Path) -> None:
    with pytest.raises(EvaluationError, match=r"no metrics yet; `dvc repro` writes them"):
        metrics_table(workplace)
