"""THE list of metrics: what each is called, which way is better, how it is shown, judged and resampled.

Tables, gate, report, protocol and ablation read it; nobody keeps a second list. It loads no numerical library, since
the command that shows metrics has to answer at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Literal

Direction = Literal["higher", "lower"]
# What is drawn with replacement for an interval; "videos" are whole groups where whole groups were dealt (`units`).
Unit = Literal["videos", "prompts", "pairs", "videos and pairs"]


@dataclass(frozen=True)
class Metric:
    """One number of results/metrics.json.

    Attributes:
        key: Its name in the file.
        label: For tables.
        meaning: A few words for readers who do not know it.
        better: Direction of improvement; None: it is not judged.
        tolerance: Change for the worse that the gate lets pass, in the metric's unit.
        floor: Worst value that the gate lets pass whatever the baseline has; None: any.
        digits: Decimal places in tables.
        unit: What its interval resamples; None: it has none.
        function: Name in `models.metrics` of the function of (scores, mos), for those of single videos; empty: none.
        kind: For accuracies on rated pairs, the kind of pair.
        slow: Its interval is computed only where it decides.
        judged: Whether the gate may fail a run for it; otherwise it is shown only.
    """

    key: str
    label: str
    meaning: str
    better: Direction | None = None
    tolerance: float = 0.0
    floor: float | None = None
    digits: int = 4
    unit: Unit | None = None
    function: str = ""
    kind: str = ""
    slow: bool = False
    judged: bool = True

    @property
    def judge_videos(self) -> Callable[..., float]:
        """The function of (scores (N,), mos (N,)); only for metrics of single videos."""
        function: Callable[..., float] = getattr(import_module("models.metrics"), self.function)
        return function

    def show(self, value: float, *, sign: bool = False) -> str:
        """A value with the digits that tables show.

        Args:
            value: The value.
            sign: Whether to show a plus sign too.
        """
        return f"{value:{'+' if sign else ''}.{self.digits}f}"


def _correlation(key: str, label: str, meaning: str, *, function: str = "") -> Metric:
    return Metric(key, label, meaning, "higher", 0.01, unit="videos", function=function or key)


def _share(key: str, label: str, meaning: str, *, unit: Unit, kind: str = "") -> Metric:
    return Metric(key, label, meaning, "higher", 0.01, unit=unit, kind=kind)


def _count(key: str, label: str) -> Metric:
    return Metric(key, label, "a count", digits=0)


METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric("val_srocc", "validation SROCC", "of the part that selects: rank experiments by it"),
        Metric("val_plcc", "validation PLCC", "of the part that selects"),
        _correlation("srocc", "SROCC", "Spearman: is the order right?"),
        _correlation("plcc", "PLCC", "Pearson: is it a straight line?"),
        _correlation("krocc", "KROCC", "Kendall: share of pairs in order, as -1 to 1"),
        _correlation("mean", "mean of the three", "the paper's summary", function="mean_of_three"),
        # Four free parameters reward noise (of 112 videos: 0.05 above |PLCC| in 7 of 10 draws without any relation),
        # and a fit that fails says nothing of the model: it stands beside the plain PLCC, which is judged. A fit for
        # each of thousands of resamples takes seconds: worth it only where it decides.
        replace(
            _correlation("plcc_logistic", "PLCC, logistic fit", "Pearson after a logistic fit"),
            slow=True,
            judged=False,
        ),
        Metric("logistic_converged", "logistic fit converged", "1, or 0: the fit failed", digits=0),
        Metric(
            "rmse", "RMSE", "typical error, points of 0-100", "lower", 0.5, digits=2, unit="videos", function="rmse"
        ),
        _share(
            "within_prompt_accuracy",
            "right pairs within a prompt",
            "share of pairs of one prompt in the right order",
            unit="prompts",
        ),
        _share(
            "rank1", "Rank1", "share of rated pairs of two sources in the right order", unit="pairs", kind="nonsource"
        ),
        _share("rank2", "Rank2", "share of rated pairs of one source in the right order", unit="pairs", kind="source"),
        _share("ntire_score", "NTIRE 2024 score", "final score of the challenge", unit="videos and pairs"),
        Metric("interval_coverage", "MOS within the interval", "share of the test videos with an interval", digits=3),
        Metric("interval_width", "width of the interval", "mean, points of 0-100", digits=1),
        _count("n_unlike", "videos unlike the training videos"),
        _count("n_expected", "test videos"),
        _count("n_scored", "scored videos"),
        _count("n_groups", "test groups (prompts)"),
        Metric("n_failed", "failed videos", "a count", "lower", floor=0.0, digits=0),
        _count("n_within_prompt_pairs", "pairs within a prompt"),
        _count("n_rank1", "pairs of two sources compared"),
        _count("n_rank1_rated", "pairs of two sources rated"),
        _count("n_rank2", "pairs of one source compared"),
        _count("n_rank2_rated", "pairs of one source rated"),
    )
}
# The three that every publication reports, and the paper's summary of them.
CORRELATIONS = ("srocc", "plcc", "krocc")
SUMMARY = (*CORRELATIONS, "mean")
# What experiments are ranked by: the test part is what is reported, and would be chosen on otherwise.
VALIDATION = ("val_srocc", "val_plcc")
# What a table of several runs compares: neither counts nor flags.
COMPARED = tuple(key for key, metric in METRICS.items() if metric.better and metric.unit)
# Accuracies on rated pairs, with the kind of pair that each is of.
PAIR_KINDS = {key: metric.kind for key, metric in METRICS.items() if metric.kind}
# Ends of intervals, and keys that a user's own code adds.
INTERVAL_ENDS = ("_ci_low", "_ci_high")


def label_of(key: str) -> str:
    """The label of a metric; a key that is no metric is its own label."""
    return METRICS[key].label if key in METRICS else key
