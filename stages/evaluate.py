"""evaluate: the test part's metrics as one flat JSON, those of every generator, plain sharpness beside them, and plots.

A NaN among the predictions, or predictions without spread, fail the evaluation: such a run has no quality to report.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from models.errors import AigcVqaError
from models.metrics import (
    UndefinedMetricError,
    group_pair_accuracy,
    logistic_fit,
    ntire_score,
    paper_mean,
    plcc,
    rank_accuracy,
    rmse,
)
from stages.engine.command import run, stage_arguments
from stages.errors import EvaluationError
from stages.evaluation.baselines import label_baselines, sharpness_srocc
from stages.evaluation.generators import generator_rows
from stages.evaluation.intervals import interval_of
from stages.evaluation.metrics import CORRELATIONS, INTERVAL_ENDS, METRICS, PAIR_KINDS
from stages.evaluation.plots import plot_curves, plot_frame_scores, plot_generators, plot_residuals, plot_scatter
from stages.evaluation.units import drawn_groups, groups_of, too_few_to_draw
from stages.io.json import write_json
from stages.io.schemas import FRAME_SCORES, MANIFEST, PAIRS, PREDICTIONS
from stages.io.tables import read_frame
from stages.params.load import load_params
from stages.params.schema import EvaluateParams, Params

FUNCTIONS = {key: METRICS[key].judge_videos for key in CORRELATIONS}


def video_metrics(
    rows: pd.DataFrame, params: EvaluateParams, *, drawn: pd.Series | None = None
) -> dict[str, float | int]:
    """The metrics of one part, all finite.

    Args:
        rows: Rows of the PREDICTIONS schema, failed videos included.
        params: How intervals are resampled.
        drawn: What intervals draw as one, by video id (`units.drawn_groups`); None: every video by itself.

    Returns:
        Metrics, ends of intervals and counts; no ends where the scored videos are of fewer than 3 groups.

    Raises:
        EvaluationError: A scored video has a NaN, the predictions are constant, or too few are left.
    """
    scored = rows[rows["status"] == "ok"]
    counts = {"n_expected": len(rows), "n_scored": len(scored), "n_failed": len(rows) - len(scored)}
    if drawn is not None:
        counts["n_groups"] = drawn.loc[scored["video_id"]].nunique()
    broken = scored.loc[~np.isfinite(scored[["score", "mos"]]).all(axis=1), "video_id"]
    if len(broken):
        raise EvaluationError(f"scores or MOS of {len(broken)} videos are not finite (first: {broken.iloc[0]!r})")
    scores, mos = scored["score"].to_numpy(), scored["mos"].to_numpy()
    intervals: dict[str, float] = {}
    try:
        correlations = {name: metric(scores, mos) for name, metric in FUNCTIONS.items()}
        fit = logistic_fit(scores, mos)
        for name, metric in FUNCTIONS.items() if not too_few_to_draw(counts.get("n_groups")) else ():
            ends = interval_of(metric, scored, params, drawn=drawn)
            intervals |= {f"{name}{end}": value for end, value in zip(INTERVAL_ENDS, ends, strict=True)}
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


def interval_metrics(rows: pd.DataFrame) -> dict[str, float | int]:
    """How often the intervals of the scores hold the MOS, and how wide they are.

    Args:
        rows: One part's rows of the PREDICTIONS schema.

    Returns:
        `interval_coverage` and `interval_width` of the videos that have an interval, if any; `n_unlike`, which have
        none.
    """
    scored = rows[rows["status"] == "ok"]
    with_interval = scored[scored["low"].notna()]
    counts: dict[str, float | int] = {"n_unlike": len(scored) - len(with_interval)}
    if with_interval.empty:
        return counts
    low, high, mos = (with_interval[name].to_numpy(float) for name in ("low", "high", "mos"))
    inside = (low <= mos) & (mos <= high)
    return {"interval_coverage": float(inside.mean()), "interval_width": float((high - low).mean())} | counts


def prompt_metrics(rows: pd.DataFrame, groups: pd.Series) -> dict[str, float | int]:
    """Pair accuracy within groups (prompts); `groups` maps video ids. Empty where no group has a pair to compare."""
    scored = rows[rows["status"] == "ok"]
    names = groups_of(scored["video_id"], groups).tolist()
    try:
        found = group_pair_accuracy(scored["score"].to_numpy(), scored["mos"].to_numpy(), names)
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


def evaluate(
    params: Params,
    *,
    manifest: Path,
    pairs: Path,
    predictions: Path,
    scores: Path,
    training: Path,
    metrics: Path,
    generators: Path,
    baselines: Path,
    plots: Path,
) -> None:
    """Write the metrics of the test part, what simple numbers reach, and plots.

    Args:
        params: The checked params.
        manifest: Table of videos, for the groups (prompts) (Parquet).
        pairs: Rated pairs (Parquet).
        predictions: Scores of videos (Parquet).
        scores: Scores of frames (Parquet).
        training: Folder of the training curves.
        metrics: Metrics to write (JSON).
        generators: Metrics of every generator to write (JSON).
        baselines: What simple numbers reach, to write (JSON).
        plots: Folder of plots to write.

    Raises:
        EvaluationError: No metric can be computed from the predictions.
        TableError: A table is missing or another one.
    """
    rows = read_frame(predictions, schema=PREDICTIONS)
    test = rows[rows["part"] == "test"]
    settings = params.evaluate
    videos = read_frame(manifest, schema=MANIFEST)
    groups = videos.set_index("video_id")["group"]
    drawn = drawn_groups(rows, videos)
    found = validation_metrics(rows[rows["part"] == "val"]) | video_metrics(test, settings, drawn=drawn)
    found |= interval_metrics(test)
    found |= prompt_metrics(test, groups)
    found |= pair_metrics(test, read_frame(pairs, schema=PAIRS), found)
    by_generator = generator_rows(test)
    plot_scatter(test, found, plots, confidence=settings.confidence)
    plot_residuals(test, plots, confidence=settings.confidence)
    plot_generators(by_generator, plots)
    plot_frame_scores(test, read_frame(scores, schema=FRAME_SCORES), plots)
    plot_curves(training, plots)
    simple = {"sharpness_srocc": sharpness_srocc(test)} | label_baselines(rows, groups)
    write_json(baselines, simple, sort_keys=False)
    write_json(generators, {"generators": by_generator})
    write_json(metrics, found, sort_keys=False)
    print(
        f"evaluate: {found['n_scored']} of {found['n_expected']} test videos scored, SROCC {found['srocc']:.4f}, "
        f"PLCC {found['plcc']:.4f}; sharpness alone {simple['sharpness_srocc']:.4f}"
    )
    if reason := too_few_to_draw(drawn if drawn is None else int(found["n_groups"])):
        print(f"evaluate: no intervals: {reason}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage.

    Args:
        argv: The words after `python -m stages.evaluate`; None: those of the process.
    """
    arguments = stage_arguments(evaluate, argv)
    evaluate(load_params(), **arguments)


if __name__ == "__main__":
    run(main)
