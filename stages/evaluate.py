"""evaluate: the test part's metrics as one flat JSON, plain sharpness beside them, and plots.

A NaN among the predictions, or predictions without spread, fail the evaluation: such a run has no quality to report.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from models.errors import AigcVqaError
from models.metrics import bootstrap_interval, krocc, paper_mean, plcc, plcc_logistic, rmse, srocc
from stages.command import run
from stages.errors import EvaluationError
from stages.io.files import write_json
from stages.io.plots import plot_frame_scores, plot_scatter
from stages.io.tables import FRAME_SCORES, PREDICTIONS, read_frame
from stages.params import load_params
from stages.sections import EvaluateParams


def evaluate(rows: pd.DataFrame, params: EvaluateParams) -> dict[str, float | int]:
    """The metrics of one part, all finite; rows of the PREDICTIONS schema, failed videos included.

    Raises EvaluationError when a scored video has a NaN, the predictions are constant, or too few are left.
    """
    scored = rows[rows["status"] == "ok"]
    counts = {"n_expected": len(rows), "n_scored": len(scored), "n_failed": len(rows) - len(scored)}
    broken = scored.loc[~np.isfinite(scored[["score", "mos"]]).all(axis=1), "video_id"]
    if len(broken):
        raise EvaluationError(f"scores or MOS of {len(broken)} videos are not finite (first: {broken.iloc[0]!r})")
    scores, mos = scored["score"].to_numpy(), scored["mos"].to_numpy()
    try:
        correlations = {"srocc": srocc(scores, mos), "plcc": plcc(scores, mos), "krocc": krocc(scores, mos)}
        low, high = bootstrap_interval(
            srocc, scores, mos, samples=params.bootstrap_samples, confidence=params.confidence, seed=params.seed
        )
        fitted = plcc_logistic(scores, mos)
    except AigcVqaError as error:
        raise EvaluationError(f"no metrics from {len(scored)} scored test videos: {error}") from None
    return {
        **correlations,
        "mean": paper_mean(**correlations),
        "plcc_logistic": fitted,
        "rmse": rmse(scores, mos),
        "srocc_ci_low": low,
        "srocc_ci_high": high,
        **counts,
    }


def sharpness_srocc(rows: pd.DataFrame) -> float:
    """SROCC of plain sharpness with the MOS, with the sign that suits it best: a bar that any model must clear."""
    scored = rows[rows["status"] == "ok"]
    try:
        return abs(srocc(scored["sharpness"].to_numpy(), scored["mos"].to_numpy()))
    except AigcVqaError:
        return 0.0  # constant sharpness ranks nothing


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True, help="frame scores")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON to write")
    parser.add_argument("--baselines", type=Path, required=True, help="JSON to write: what simple numbers reach")
    parser.add_argument("--plots", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args(argv)
    params = load_params().evaluate
    predictions = read_frame(arguments.predictions, schema=PREDICTIONS)
    test = predictions[predictions["part"] == "test"]
    metrics, baseline = evaluate(test, params), sharpness_srocc(test)
    plot_scatter(test, metrics, arguments.plots)
    plot_frame_scores(test, read_frame(arguments.scores, schema=FRAME_SCORES), arguments.plots)
    write_json(arguments.baselines, {"sharpness_srocc": baseline})
    write_json(arguments.metrics, metrics, sort_keys=False)
    print(
        f"evaluate: {metrics['n_scored']} of {metrics['n_expected']} test videos scored, SROCC {metrics['srocc']:.4f}, "
        f"PLCC {metrics['plcc']:.4f}; sharpness alone {baseline:.4f}"
    )


if __name__ == "__main__":
    run(main)
