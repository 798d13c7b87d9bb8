"""Metrics of the test part: flat, finite, equal to scipy, and refused when they would mean nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stages import evaluate
from stages.commands.metrics import metrics_table
from stages.errors import EvaluationError
from stages.evaluation.baselines import sharpness_srocc
from stages.evaluation.generators import generator_rows
from stages.evaluation.metrics import METRICS
from stages.io.schemas import FRAME_SCORES, MANIFEST, PAIRS, PREDICTIONS
from stages.io.tables import write_frame
from stages.params.load import load_params
from tests.conftest import ROOT
from tests.stages.evaluation.test_plots import write_curves

KEYS = {
    "srocc", "plcc", "krocc", "mean", "plcc_logistic", "logistic_converged", "rmse",
    "srocc_ci_low", "srocc_ci_high", "plcc_ci_low", "plcc_ci_high", "krocc_ci_low", "krocc_ci_high",
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
    frame["low"], frame["high"] = frame["score"] - 10, frame["score"] + 10
    return frame


def test_intervals_are_counted_where_there_are_some() -> None:
    rows = predictions(4)
    rows["mos"], rows["score"] = [10.0, 20.0, 30.0, 40.0], [12.0, 50.0, 30.0, 45.0]
    rows["low"], rows["high"] = [2.0, 40.0, None, 40.0], [22.0, 60.0, None, 50.0]
    # The third is unlike the training videos; of the others the first and the last hold their MOS (40 is an end).
    assert evaluate.interval_metrics(rows) == {
        "interval_coverage": pytest.approx(2 / 3), "interval_width": pytest.approx(50 / 3), "n_unlike": 1,
    }  # fmt: skip
    assert evaluate.interval_metrics(rows.iloc[2:3]) == {"n_unlike": 1}


def test_metrics_equal_scipys_and_are_flat_and_finite() -> None:
    rows = predictions()
    metrics = evaluate.video_metrics(rows, PARAMS)
    assert set(metrics) == KEYS
    assert all(isinstance(value, (int, float)) and np.isfinite(value) for value in metrics.values())
    assert metrics["srocc"] == pytest.approx(stats.spearmanr(rows["score"], rows["mos"]).statistic, abs=1e-12)
    assert metrics["plcc"] == pytest.approx(stats.pearsonr(rows["score"], rows["mos"]).statistic, abs=1e-12)
    assert metrics["krocc"] == pytest.approx(stats.kendalltau(rows["score"], rows["mos"]).statistic, abs=1e-12)
    assert metrics["mean"] == pytest.approx((metrics["srocc"] + metrics["plcc"] + metrics["krocc"]) / 3)
    assert metrics["rmse"] == pytest.approx(float(np.sqrt(np.mean((rows["score"] - rows["mos"]) ** 2))))
    for name in ("srocc", "plcc", "krocc"):
        assert metrics[f"{name}_ci_low"] < metrics[name] < metrics[f"{name}_ci_high"]
    assert metrics["logistic_converged"] == 1
    assert metrics["plcc_logistic"] >= metrics["plcc"] - 1e-9


def test_a_logistic_fit_that_fails_is_flagged(tmp_path: Path) -> None:
    # Three videos cannot determine four parameters: the plain PLCC stands there, and the flag says so.
    metrics = evaluate.video_metrics(predictions(3), PARAMS)
    assert metrics["logistic_converged"] == 0
    assert metrics["plcc_logistic"] == metrics["plcc"]
    (tmp_path / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (line,) = [line for line in metrics_table(tmp_path).splitlines() if "logistic" in line]
    assert line.endswith(f"{metrics['plcc']:.4f}  the fit failed: the plain PLCC")
    (tmp_path / "metrics.json").write_text(json.dumps(metrics | {"logistic_converged": 1}), encoding="utf-8")
    assert "the fit failed" not in metrics_table(tmp_path)


def test_pairs_within_a_prompt() -> None:
    rows = predictions(5).assign(mos=[10.0, 20, 30, 40, 50], score=[1.0, 2, 9, 5, 7])
    groups = pd.Series(["p", "p", "q", "q", None], index=rows["video_id"])
    # p: 1 before 2, right. q: 9 before 5, wrong. The fifth video has no prompt and no pair.
    assert evaluate.prompt_metrics(rows, groups) == {"within_prompt_accuracy": 0.5, "n_within_prompt_pairs": 2}
    rows.loc[3, "status"] = "failed"
    assert evaluate.prompt_metrics(rows, groups) == {"within_prompt_accuracy": 1.0, "n_within_prompt_pairs": 1}
    assert evaluate.prompt_metrics(rows.iloc[2:], groups) == {}


def rated(*pairs: tuple[str, int, int, bool]) -> pd.DataFrame:
    rows = [
        {"kind": kind, "first": f"clip_{first}.avi", "second": f"clip_{second}.avi", "first_is_better": better}
        for kind, first, second, better in pairs
    ]
    return pd.DataFrame(rows, columns=PAIRS.names)


def test_rated_pairs_give_the_challenges_ranks_and_final_score() -> None:
    rows = predictions(5).assign(score=[1.0, 2, 3, 3, 5])
    metrics = evaluate.video_metrics(rows, PARAMS)
    pairs = rated(
        ("nonsource", 0, 1, False),  # 1 before 2: the second is predicted, right
        ("nonsource", 2, 3, True),  # equal scores: the first is predicted, right
        ("nonsource", 4, 0, False),  # wrong
        ("nonsource", 1, 0, True),  # right
        ("source", 3, 2, False),  # equal scores: the first is predicted, wrong
        ("source", 4, 3, True),  # right
        ("source", 4, 9, True),  # a video of another part
    )
    found = evaluate.pair_metrics(rows, pairs, metrics)
    expected = 0.45 * metrics["srocc"] + 0.45 * metrics["plcc"] + 0.05 * 0.75 + 0.05 * 0.5
    assert found == {
        "rank1": 0.75, "n_rank1": 4, "n_rank1_rated": 4, "rank2": 0.5, "n_rank2": 2, "n_rank2_rated": 3,
        "ntire_score": pytest.approx(expected, abs=1e-12),
    }  # fmt: skip
    # A failed video takes its pairs with it; without one kind there is no final score.
    rows.loc[4, "status"] = "failed"
    found = evaluate.pair_metrics(rows, pairs, metrics)
    assert (found["rank1"], found["n_rank1"], found["rank2"], found["n_rank2"]) == (1.0, 3, 0.0, 1)
    assert (found["n_rank1_rated"], found["n_rank2_rated"]) == (4, 3)
    one_kind = pairs[pairs["kind"] == "source"]
    assert evaluate.pair_metrics(rows, one_kind, metrics) == {"rank2": 0.0, "n_rank2": 1, "n_rank2_rated": 3}
    # All pairs lie in other parts: that there are some is said.
    elsewhere = rated(("source", 7, 9, True))
    assert evaluate.pair_metrics(rows, elsewhere, metrics) == {"n_rank2": 0, "n_rank2_rated": 1}
    assert evaluate.pair_metrics(rows, rated(), metrics) == {}


def test_a_row_for_every_generator() -> None:
    rows = predictions(12)
    rows["generator"] = ["b"] * 6 + ["a"] * 2 + ["c"] * 3 + [None]
    rows.loc[rows["generator"] == "c", "score"] = 50.0
    rows.loc[0, ["status", "score"]] = ["failed", np.nan]
    a, b, c = generator_rows(rows)
    own = rows.iloc[1:6]
    assert (b["generator"], b["n_expected"], b["n_scored"]) == ("b", 6, 5)
    assert b["srocc"] == pytest.approx(stats.spearmanr(own["score"].astype(float), own["mos"]).statistic)
    assert b["bias"] == pytest.approx((own["score"] - own["mos"]).mean())
    assert (a["generator"], a["srocc"], a["krocc"]) == ("a", None, None)  # two videos have no correlation
    assert a["rmse"] == pytest.approx(float(np.sqrt(((rows.iloc[6:8]["score"] - rows.iloc[6:8]["mos"]) ** 2).mean())))
    assert (c["generator"], c["plcc"], c["n_scored"]) == ("c", None, 3)  # constant scores rank nothing
    assert generator_rows(rows.assign(generator=None)) == []
    gone = generator_rows(rows.assign(status="failed", score=np.nan))[0]
    assert (gone["n_scored"], gone["rmse"], gone["bias"]) == (0, None, None)


def test_failed_videos_are_counted_not_scored() -> None:
    rows = predictions()
    whole = evaluate.video_metrics(rows.iloc[5:], PARAMS)
    rows.loc[:4, ["status", "score", "reason"]] = ["failed", np.nan, "cannot be opened"]
    metrics = evaluate.video_metrics(rows, PARAMS)
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
        evaluate.video_metrics(rows, PARAMS)


def test_predictions_without_spread_fail() -> None:
    with pytest.raises(EvaluationError, match="no metrics from 40 scored test videos"):
        evaluate.video_metrics(predictions().assign(score=50.0), PARAMS)


def test_too_few_videos_fail() -> None:
    with pytest.raises(EvaluationError, match="no metrics from 2 scored test videos"):
        evaluate.video_metrics(predictions().head(2), PARAMS)


def test_sharpness_counts_with_its_better_sign() -> None:
    rows = predictions()
    assert sharpness_srocc(rows.assign(sharpness=-rows["mos"].astype(float))) == pytest.approx(1.0)
    assert sharpness_srocc(rows.assign(sharpness=1.0)) == 0.0


def test_the_stage_writes_the_same_bytes_twice_and_looks_at_the_test_part_alone(
    workplace: Path, write_params: Callable[..., None]
) -> None:
    write_params()
    rows = predictions()
    train = predictions(10, seed=5).assign(part="train", video_id=[f"other_{number}" for number in range(10)])
    frames = [
        {
            "video_id": video_id,
            "frame_index": index,
            "time_s": index / 8,
            "score": 50.0 + index,
            "deviation": 9.0,
            "distance": 1.0,
            "sharpness": 1.0,
        }
        for video_id in rows["video_id"]
        for index in range(3)
    ]
    write_frame("predictions.parquet", pd.concat([rows, train]), schema=PREDICTIONS, metadata={})
    write_frame("scores.parquet", pd.DataFrame(frames), schema=FRAME_SCORES, metadata={})
    manifest = pd.DataFrame({"video_id": rows["video_id"], "group": "one prompt"}).reindex(columns=MANIFEST.names)
    write_frame("manifest.parquet", manifest, schema=MANIFEST, metadata={})
    pairs = rated(("source", 0, 1, True), ("nonsource", 0, 2, True))
    write_frame("pairs.parquet", pairs, schema=PAIRS, metadata={})
    written = []
    for _ in range(2):
        evaluate.main(
            [
                "--manifest",
                "manifest.parquet",
                "--pairs",
                "pairs.parquet",
                "--predictions",
                "predictions.parquet",
                "--scores",
                "scores.parquet",
                "--training",
                str(write_curves(workplace / "train")),
                "--metrics",
                "results/metrics.json",
                "--generators",
                "results/generators.json",
                "--baselines",
                "results/baselines.json",
                "--plots",
                "results/plots",
            ]
        )
        written.append({path: path.read_bytes() for path in sorted(Path("results").rglob("*")) if path.is_file()})
    assert written[0] == written[1]
    metrics = json.loads(Path("results/metrics.json").read_text())
    assert metrics["n_expected"] == 40
    assert metrics["n_within_prompt_pairs"] == 40 * 39 // 2
    assert metrics.keys() > {"rank1", "rank2", "ntire_score", "n_rank1_rated"}
    assert all(type(value) in (int, float) for value in metrics.values())
    # `dvc exp show` orders its columns by this file.
    assert list(metrics)[:4] == ["srocc", "plcc", "krocc", "mean"]
    names = {path.name for path in written[0]}
    assert names == {
        "metrics.json",
        "baselines.json",
        "generators.json",
        *(f"{name}.csv" for name in ("scatter", "residuals", "frame_scores")),
        *(f"{name}.png" for name in ("scatter", "residuals", "generators", "frame_scores", "curves")),
    }
    table = metrics_table(Path("results"))
    for label in (
        "SROCC of plain sharpness",
        "right pairs within a prompt",
        "NTIRE 2024 score",
        "pairs of two sources rated",
    ):
        assert label in table


def test_no_metrics_yet_says_what_writes_them(workplace: Path) -> None:
    with pytest.raises(EvaluationError, match=r"no metrics yet; `dvc repro` writes them"):
        metrics_table(workplace)


def test_validation_stands_first_and_constant_scores_have_none() -> None:
    rows = pd.DataFrame(
        {"status": ["ok", "ok", "ok", "failed"], "score": [1.0, 2.0, 4.0, np.nan], "mos": [10, 20, 15, 1]}
    )
    # Ranks 1 2 3 against 1 3 2: 1 - 6 (1 + 1) / (3 * 8) = 0.5.
    assert evaluate.validation_metrics(rows)["val_srocc"] == pytest.approx(0.5)
    assert evaluate.validation_metrics(rows.assign(score=1.0)) == {}
    assert next(iter(METRICS)) == "val_srocc"
