"""evaluate: the test part's metrics as one flat JSON, those of every generator, plain sharpness beside them, and plots.

A NaN among the predictions, or predictions without spread, fail the evaluation: such a run has no quality to report.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from models.errors import AigcVqaError
from models.metrics import (
    UndefinedMetricError,
    bootstrap_interval,
    group_pair_accuracy,
    logistic_fit,
    ntire_score,
    paper_mean,
    plcc,
    rank_accuracy,
    rmse,
)
from stages.engine.command import run
from stages.errors import EvaluationError
from stages.evaluation.baselines import label_baselines, sharpness_srocc
from stages.evaluation.generators import generator_rows
from stages.evaluation.metrics import CORRELATIONS, METRICS, PAIR_KINDS
from stages.evaluation.plots import plot_curves, plot_frame_scores, plot_generators, plot_residuals, plot_scatter
from stages.io.json import write_json
from stages.io.schemas import FRAME_SCORES, MANIFEST, PAIRS, PREDICTIONS
from stages.io.tables import read_frame
from stages.params.load import load_params
from stages.params.schema import EvaluateParams

FUNCTIONS = {key: METRICS[key].judge_videos for key in CORRELATIONS}


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
    intervals = {}
    try:
        correlations = {name: metric(scores, mos) for name, metric in FUNCTIONS.items()}
        fit = logistic_fit(scores, mos)
        for name, metric in FUNCTIONS.items():
            intervals[f"{name}_ci_low"], intervals[f"{name}_ci_high"] = bootstrap_interval(
                metric, scores, mos, samples=params.bootstrap_samples, confidence=params.confidence, seed=params.seed
            )
    except AigcVqaError as error:
        raise EvaluationError(f"no metrics from {len(scored)} scored test videos: {error}") from None
    return {
        **correlations,
        "mean": paper_mean(**correlations),
        # Where the fit fails this is the plain PLCC, and the flag says so.
        "plcc_logistic": plcc(fit.fitted, mos) if fit.converged else correlations["plcc"],
        "logistic_converged": int(fit.converged),
        "rmse": rmse(scores, mos),
        **intervals,
        **counts,
    }


def validation_metrics(rows: pd.DataFrame) -> dict[str, float]:
    """val_srocc and val_plcc: what epochs are selected by, and what experiments are to be ranked by.

    Args:
        rows: The validation part's rows of the PREDICTIONS schema.

    Returns:
        Empty where the validation part has no correlation, such as of constant scores.
    """
    scored = rows[rows["status"] == "ok"]
    try:
        return {f"val_{name}": FUNCTIONS[name](scored["score"], scored["mos"]) for name in ("srocc", "plcc")}
    except AigcVqaError:
        return {}


def prompt_metrics(rows: pd.DataFrame, groups: pd.Series) -> dict[str, float | int]:
    """Pair accuracy within groups (prompts); `groups` maps video ids. Empty where no group has a pair to compare."""
    scored = rows[rows["status"] == "ok"]
    names = scored["video_id"].map(groups).fillna(scored["video_id"])
    try:
        found = group_pair_accuracy(scored["score"].to_numpy(), scored["mos"].to_numpy(), names.tolist())
    except UndefinedMetricError:
        return {}
    return {"within_prompt_accuracy": found.accuracy, "n_within_prompt_pairs": found.n_pairs}


def pair_metrics(rows: pd.DataFrame, pairs: pd.DataFrame, metrics: dict[str, float | int]) -> dict[str, float | int]:
    """Rank1, Rank2 and the final score of NTIRE 2024 from rated pairs of which both videos are among `rows`, scored.

    rank1: pairs of two sources; rank2: pairs of one. A kind without a pair has no accuracy, and then there is no final
    score. n_rank1, n_rank2: the pairs that were compared, of n_rank1_rated, n_rank2_rated: those of videos that failed
    or are of other parts are left out.
    """
    scores = rows[rows["status"] == "ok"].set_index("video_id")["score"]
    result: dict[str, float | int] = {}
    for name, kind in PAIR_KINDS.items():
        rated = pairs[pairs["kind"] == kind]
        chosen = rated[rated["first"].isin(scores.index) & rated["second"].isin(scores.index)]
        if len(rated):
            result |= {f"n_{name}": len(chosen), f"n_{name}_rated": len(rated)}
        if len(chosen):
            first, second = scores[chosen["first"]].to_numpy(), scores[chosen["second"]].to_numpy()
            result[name] = rank_accuracy(first, second, chosen["first_is_better"].to_numpy(dtype=bool))
    if "rank1" in result and "rank2" in result:
        result["ntire_score"] = ntire_score(
            srocc=metrics["srocc"], plcc=metrics["plcc"], rank1=result["rank1"], rank2=result["rank2"]
        )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="for the prompts")
    parser.add_argument("--pairs", type=Path, required=True, help="rated pairs")
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True, help="frame scores")
    parser.add_argument("--training", type=Path, required=True, help="folder of the training curves")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON to write")
    parser.add_argument("--generators", type=Path, required=True, help="JSON to write: a row a generator")
    parser.add_argument("--baselines", type=Path, required=True, help="JSON to write: what simple numbers reach")
    parser.add_argument("--plots", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args(argv)
    params = load_params().evaluate
    predictions = read_frame(arguments.predictions, schema=PREDICTIONS)
    test = predictions[predictions["part"] == "test"]
    groups = read_frame(arguments.manifest, schema=MANIFEST).set_index("video_id")["group"]
    metrics = validation_metrics(predictions[predictions["part"] == "val"]) | evaluate(test, params)
    metrics |= prompt_metrics(test, groups)
    metrics |= pair_metrics(test, read_frame(arguments.pairs, schema=PAIRS), metrics)
    generators = generator_rows(test)
    plot_scatter(test, metrics, arguments.plots, confidence=params.confidence)
    plot_residuals(test, arguments.plots, confidence=params.confidence)
    plot_generators(generators, arguments.plots)
    plot_frame_scores(test, read_frame(arguments.scores, schema=FRAME_SCORES), arguments.plots)
    plot_curves(arguments.training, arguments.plots)
    baselines = {"sharpness_srocc": sharpness_srocc(test)} | label_baselines(predictions, groups)
    write_json(arguments.baselines, baselines, sort_keys=False)
    write_json(arguments.generators, {"generators": generators})
    write_json(arguments.metrics, metrics, sort_keys=False)
    print(
        f"evaluate: {metrics['n_scored']} of {metrics['n_expected']} test videos scored, SROCC {metrics['srocc']:.4f}, "
        f"PLCC {metrics['plcc']:.4f}; sharpness alone {baselines['sharpness_srocc']:.4f}"
    )


if __name__ == "__main__":
    run(main)
