"""What the page says: rows, cards and sentences, all plain values; the template escapes and places them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from models.errors import AigcVqaError
from models.metrics import N_MIN, srocc
from stages.evaluation import generators as evaluation
from stages.evaluation.intervals import Interval, Intervals, interval_of
from stages.evaluation.metrics import COMPARED, METRICS
from stages.evaluation.runs import Run
from stages.evaluation.versus import by_prompt, duels, ranking
from stages.params.schema import EvaluateParams
from stages.report.pictures import StripFrame, curve_points, film_strip, thumbnail
from stages.report.sources import Sources

CARDS = 12
THUMBNAILS_MAX = 1500
LISTED_FAULTS = 30


@dataclass(frozen=True)
class MetricRow:
    """A line of the metrics.

    Attributes:
        label: Of the metric.
        meaning: A few words for readers who do not know it.
        value: Its value in this run.
        low: Lower end of the value's interval; None where it is not defined.
        high: Upper end of it.
        before: The value of the previous run; None: none.
        higher_is_better: Direction of improvement.
        digits: Decimal places shown.
        comparable: Whether the previous value is of the same test videos; otherwise there is no change to show.
        change_interval: Interval of the change, from resampling; None where it cannot be computed.
        flag: What is wrong with the value; empty: nothing.
    """

    label: str
    meaning: str
    value: float
    low: float | None
    high: float | None
    before: float | None
    higher_is_better: bool
    digits: int
    comparable: bool = True
    change_interval: Interval | None = None
    flag: str = ""

    @property
    def change(self) -> float | None:
        """The value minus the previous one; None where they cannot be compared."""
        return self.value - self.before if self.comparable and self.before is not None else None

    @property
    def verdict(self) -> str:
        """`same` at the digits shown, `within noise`, `better` or `worse`; empty without a previous value."""
        if self.change is None:
            return ""
        if abs(self.change) < 0.5 * 10**-self.digits:
            return "same"
        if self.change_interval is not None and self.change_interval[0] <= 0 <= self.change_interval[1]:
            return "within noise"
        return "better" if (self.change > 0) == self.higher_is_better else "worse"

    @property
    def tone(self) -> str:
        """The verdict where the change is distinguishable from chance, else `same`: no reason to colour it."""
        return self.verdict if self.change_interval is not None and self.verdict != "within noise" else "same"


def metric_rows(sources: Sources, params: EvaluateParams) -> list[MetricRow]:
    """The lines of the known metrics that this run has.

    Args:
        sources: What the report shows.
        params: How intervals are resampled.
    """
    previous = sources.previous
    comparable = previous is None or not previous.differences
    changes = change_intervals(sources, params)
    drawn = sources.drawn
    rows = []
    for key in COMPARED:
        if key not in sources.metrics:
            continue
        metric = METRICS[key]
        by_video = metric.unit == "videos" and not metric.slow
        low, high = interval(metric.judge_videos, sources.test, params, drawn=drawn) if by_video else (None, None)
        before = previous.run.value(key) if previous else None
        value, change = sources.metrics[key], None
        if changes and before is not None and not metric.slow:
            change = changes.of(key)
        failed = key == "plcc_logistic" and sources.metrics.get("logistic_converged") == 0
        flag = "the fit failed: this is the plain PLCC" if failed else ""
        rows.append(
            MetricRow(
                metric.label,
                metric.meaning,
                value,
                low,
                high,
                before,
                metric.better == "higher",
                min(metric.digits, 3),
                comparable,
                change,
                flag,
            )
        )
    return rows


def change_intervals(sources: Sources, params: EvaluateParams) -> Intervals | None:
    """Intervals of the changes since the previous run.

    Args:
        sources: What the report shows.
        params: How intervals are resampled.

    Returns:
        None where the previous run was tested on other videos or left no predictions.
    """
    previous = sources.previous
    if previous is None or previous.differences or previous.run.test is None:
        return None
    now = Run("this run", dict(sources.metrics), sources.test, None)
    groups = sources.videos.set_index("video_id")["group"]
    return Intervals(now, previous.run, params, groups=groups, pairs=sources.pairs, drawn=sources.drawn)


def interval(
    function: Callable[..., float], rows: pd.DataFrame, params: EvaluateParams, *, drawn: pd.Series | None
) -> tuple[float, float] | tuple[None, None]:
    """The interval of a metric over some videos, where there is one.

    Args:
        function: Of (scores (N,), mos (N,)).
        rows: One row per video with the columns video_id, score and mos.
        params: How intervals are resampled.
        drawn: What is drawn as one, by video id; None: every video by itself.

    Returns:
        Lower and upper end; (None, None) where too few videos, or groups, differ.
    """
    try:
        return interval_of(function, rows, params, drawn=drawn)
    except AigcVqaError:
        return None, None


def generator_rows(
    test: pd.DataFrame, params: EvaluateParams, *, drawn: pd.Series | None = None
) -> list[dict[str, Any]]:
    """The evaluation's row of each generator, with its mean MOS and the interval of its SROCC.

    Args:
        test: One row per scored test video.
        params: How intervals are resampled.
        drawn: As in `interval`.

    Returns:
        The keys of `stages.evaluation.generators.generator_rows`, and mos, low, high.
    """
    rows = evaluation.generator_rows(test)
    for row in rows:
        group = test[test["generator"] == row["generator"]]
        low, high = interval(srocc, group, params, drawn=drawn) if row["srocc"] is not None else (None, None)
        row |= {"mos": float(group["mos"].mean()), "low": low, "high": high}
    return rows


def compared_generators(test: pd.DataFrame, params: EvaluateParams) -> list[dict[str, Any]]:
    """The generators ranked by their mean score on the prompts of all, each against the next.

    Args:
        test: One row per scored test video.
        params: How intervals are resampled.

    Returns:
        name, mean, low, high, n_prompts, and `next`, the comparison with the next one (None for the last); empty where
        fewer than two generators have three prompts in common.
    """
    known = test[test["generator"].notna() & test["prompt"].notna()]
    table = by_prompt(known.rename(columns={"generator": "side"})) if len(known) else pd.DataFrame()
    if len(table.columns) < 2 or len(table.dropna()) < N_MIN:
        return []
    settings: dict[str, Any] = {
        "samples": params.bootstrap_samples, "confidence": params.confidence, "seed": params.seed,
    }  # fmt: skip
    ranked = ranking(table, **settings)
    ordered = duels(table[[row.name for row in ranked]], **settings)
    nexts = {(each.first, each.second): each for each in ordered}
    following = [*(row.name for row in ranked[1:]), None]
    return [
        asdict(row) | {"next": nexts.get((row.name, other)) if other else None}
        for row, other in zip(ranked, following, strict=True)
    ]


def ablation_rows(ablation: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of ablation.json with a label that names the components in use; missing numbers are None."""
    numbers = dict.fromkeys(
        ("srocc_mean", "srocc_std", "plcc_mean", "krocc_mean", "mean_mean", "mean_std", "paper_mean")
    )
    return [numbers | row | {"label": " + ".join(_components(row)) or "none"} for row in ablation["rows"]]


def _components(row: dict[str, Any]) -> list[str]:
    crop = {"s2cnet": "S²CNet", "center": "center crops", "random": "random crops"}.get(row["crop"])
    shape = None if row["shape"] == "stretch" else row["shape"]
    return [name for name in ("FCL" if row["fcl"] else None, crop, "FGM" if row["fgm"] else None, shape) if name]


def cards(sources: Sources, rows: pd.DataFrame, row_of: dict[str, int]) -> list[dict[str, Any]]:
    """One card per video, with film strip and curve where its frames are available.

    Args:
        sources: What the report shows.
        rows: The videos, in the order of the cards.
        row_of: Number of each video's row in the page's table.
    """
    by_video = dict(iter(sources.frame_scores.groupby("video_id", sort=False)))
    result = []
    for row in rows.to_dict("records"):
        scores = by_video.get(row["video_id"])
        strip: Sequence[StripFrame] = []
        if sources.frames is not None and scores is not None:
            strip = film_strip(row["video_id"], scores, sources.frames, sources.crops)
        result.append(
            row
            | {
                "number": row_of[row["video_id"]],
                "strip": strip,
                "points": curve_points(strip),
                "n_frames_scored": 0 if scores is None else len(scores),
            }
        )
    return result


def worst_errors(test: pd.DataFrame) -> pd.DataFrame:
    """The videos with the 12 largest errors of either sign, largest first."""
    return test.loc[test["error"].abs().sort_values(ascending=False, kind="stable").index[:CARDS]]


def most_inconsistent(test: pd.DataFrame) -> pd.DataFrame:
    """The 12 videos whose frame scores vary most, in descending order."""
    return test.sort_values("spread", ascending=False, kind="stable").head(CARDS)


def table_rows(sources: Sources) -> list[dict[str, Any]]:
    """One row per video of all parts, with a thumbnail of its worst frame unless there are too many videos."""
    with_pictures = sources.frames is not None and len(sources.videos) <= THUMBNAILS_MAX
    rows = []
    for row in sources.videos.to_dict("records"):
        picture = None
        if with_pictures and sources.frames is not None:
            worst = row["worst_frame_index"]
            picture = thumbnail(row["video_id"], sources.frames, None if pd.isna(worst) else int(worst))
        rows.append(row | {"picture": picture, "notes": file_notes(row)})
    return rows


def file_notes(row: dict[str, Any]) -> list[str]:
    """What the audit found in one file, a few words each."""
    notes = [] if row["status"] == "ok" else [row["reason"] or "failed"]
    if "audit_status" not in row:
        return notes
    if row["status"] == "ok" and row["audit_status"] == "failed":
        notes.append(row["audit_reason"] or "damaged")
    header, decoded = row["audit_n_frames_header"], row["audit_n_frames"]
    # A header without a count (live-muxed WebM) is not wrong.
    if not pd.isna(decoded) and header not in (0, decoded):
        notes.append(f"header says {header:.0f} frames, {decoded:.0f} decode")
    if row["audit_variable_rate"] is True:
        notes.append("variable frame rate")
    for key, text in (
        ("audit_rotation_deg", "rotated by {:.0f}°"),
        ("audit_mirrored", "mirrored"),
        ("audit_n_interlaced", "{:.0f} interlaced frames"),
        ("audit_is_transparent", "transparent pixels"),
        ("audit_n_size_changes", "{:.0f} changes of size"),
        ("audit_n_identical", "{:.0f} repeated frames"),
    ):
        if not pd.isna(row[key]) and row[key] > 0:
            notes.append(text.format(row[key]))
    # A video without a row in the audit has NaN here, which counts as true.
    if isinstance(row["audit_same_file_as"], str):
        notes.append(f"same file as {row['audit_same_file_as']}")
    if isinstance(row["audit_near_copy_of"], str):
        notes.append(f"shows the same as {row['audit_near_copy_of']}")
    return notes


# Key of audit.json, and what it counts the videos of.
AUDIT_COUNTS = (
    ("n_damaged", "damaged or missing files"),
    ("n_unusable_labels", "labels without a usable MOS"),
    ("n_header_differs", "header and decoded frame count differ"),
    ("n_packets_differ", "coded frames that do not decode"),
    ("n_variable_rate", "variable frame rate"),
    ("n_rotated", "rotated by the header"),
    ("n_mirrored", "mirrored by the header"),
    ("n_not_square", "pixels that are not square"),
    ("n_interlaced", "interlaced frames"),
    ("n_transparent", "transparent pixels, shown over white"),
    ("n_size_changes", "size changes inside the file"),
    ("n_with_identical_neighbours", "repeated frames"),
    ("n_same_file", "byte for byte the same as another"),
    ("n_near_copies", "showing the same as another, in other bytes"),
    ("n_near_copies_apart", "showing the same as a video of another group (prompt)"),
)


def audit_findings(audit: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """The audit's counts, in the order of the page; counts that an older audit does not have are left out.

    Returns:
        For each what was looked at, what was found, and whether it is a fault.
    """
    total = audit["n_videos"]
    counts = [(text, f"{audit[key]} of {total} videos", audit[key] > 0) for key, text in AUDIT_COUNTS if key in audit]
    shares = f"{audit['identical_share']:.1%} of neighbours; {audit['nearly_identical_share']:.1%} with near copies"
    return [*counts, ("share of identical neighbours", shares, audit["identical_share"] > 0)]


def audit_kinds(audit: dict[str, Any]) -> list[tuple[str, list[tuple[str, int]]]]:
    """What kinds of files there are; a kind with more than one value is a sign of a mixed data set.

    Returns:
        For each kind its name, and (value, number of videos), most frequent first.
    """
    kinds = (
        ("by_size", "size, pixels"),
        ("by_rate_fps", "frames per second"),
        ("by_codec", "codec, pixel format"),
        ("by_colour_tags", "colour tags: range, matrix, primaries, transfer"),
        ("by_rotation_deg", "rotation, degrees"),
    )
    untagged = " ".join(["unspecified"] * 4)
    result = []
    for key, label in kinds:
        counts = sorted(audit[key].items(), key=lambda pair: (-pair[1], pair[0]))
        result.append((label, [("none" if value == untagged else value, count) for value, count in counts]))
    return [(label, counts) for label, counts in result if counts]


def compared_srocc(sources: Sources) -> list[tuple[str, float]]:
    """(name, SROCC) of this run and of what it has to beat; a run on other test videos is no such bar."""
    bars = [("this run", sources.metrics["srocc"])]
    previous = sources.previous
    if previous and not previous.differences and (before := previous.run.value("srocc")) is not None:
        bars.append((previous.run.name, before))
    if "sharpness_srocc" in sources.baselines:
        bars.append(("plain sharpness", sources.baselines["sharpness_srocc"]))
    labels = (("generator", "generator"), ("prompt", "prompt"), ("generator_prompt", "generator and prompt"))
    for key, label in labels:
        if f"{key}_srocc" in sources.baselines:
            bars.append((f"labels alone: {label}", sources.baselines[f"{key}_srocc"]))
    return bars


def summary_of_errors(test: pd.DataFrame) -> dict[str, float]:
    """Three numbers on the errors of the test videos.

    Args:
        test: One row per scored test video with the column error, points of 0-100.

    Returns:
        bias: mean error; bias_noise: two standard errors of it; within_10: share of videos within 10 points, 0..1.
    """
    errors = test["error"].to_numpy()
    return {
        "bias": float(errors.mean()),
        "bias_noise": float(2 * errors.std(ddof=1) / np.sqrt(len(errors))),
        "within_10": float(np.mean(np.abs(errors) <= 10)),
    }
