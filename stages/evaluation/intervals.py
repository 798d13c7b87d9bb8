"""Intervals of the change between two runs on the same test videos: both are measured on every resample.

What is drawn with replacement: for correlations and errors the test videos, or whole groups of them where the test part
was dealt by group; whole prompts, whose videos belong together, for the pairs within a prompt; the rated pairs for
Rank1 and Rank2; videos (or groups) and pairs, each on their own, for the NTIRE score (what the two share is left out,
and the ranks weigh a tenth).
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.errors import AigcVqaError
from models.metrics import (
    N_MIN,
    UndefinedMetricError,
    group_pair_accuracy,
    ntire_score,
    plcc,
    srocc,
)
from models.resampling import (
    PairedDifference,
    bootstrap_interval,
    paired_bootstrap,
    percentile_interval,
    resampled_differences,
    resampled_indices,
)
from stages.evaluation.metrics import METRICS
from stages.evaluation.runs import Run
from stages.evaluation.units import groups_of
from stages.params.schema import EvaluateParams

FloatArray = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Units:
    """What is drawn as one: prompts, or rated pairs, U of them.

    Attributes:
        now: (U,) right answers of this run.
        baseline: (U,) right answers of the other.
        asked: (U,) questions, at least 1 in each unit.
    """

    now: FloatArray
    baseline: FloatArray
    asked: FloatArray

    def differences(self, generator: np.random.Generator, samples: int) -> FloatArray:
        """Change of the share of right answers, on units drawn again with replacement.

        Args:
            generator: Where the draws come from.
            samples: Number of resamples.

        Returns:
            (samples,), in -1..1.
        """
        change = self.now - self.baseline
        parts = [
            change[drawn].sum(axis=1) / self.asked[drawn].sum(axis=1)
            for drawn in resampled_indices(len(self.asked), samples, generator)
        ]
        return np.concatenate(parts)

    def give(self, now: float | None, baseline: float | None) -> bool:
        """Whether the units are enough to draw from and lead to the two recorded values.

        Args:
            now: The recorded share of right answers of this run, 0..1; None: it has none.
            baseline: That of the other run.

        Returns:
            False also where prompts, pairs or videos are not those that the values were computed from.
        """
        if len(self.asked) < N_MIN or now is None or baseline is None:
            return False
        total = self.asked.sum()
        shares = self.now.sum() / total, self.baseline.sum() / total
        return bool(abs(shares[0] - now) < 1e-6 and abs(shares[1] - baseline) < 1e-6)


def prompt_units(both: pd.DataFrame, groups: pd.Series) -> Units:
    """One unit per prompt with a pair to compare.

    Args:
        both: Columns video_id, mos, score and score_baseline, one row per video.
        groups: Prompt by video id; a video that it lacks is alone.
    """
    rows: list[tuple[float, float, int]] = []
    for _, own in both.groupby(groups_of(both["video_id"], groups).to_numpy(), sort=True):
        one_prompt: list[Hashable] = [0] * len(own)
        try:
            now = group_pair_accuracy(own["score"], own["mos"], one_prompt)
            baseline = group_pair_accuracy(own["score_baseline"], own["mos"], one_prompt)
        except UndefinedMetricError:
            continue
        rows.append((now.accuracy * now.n_pairs, baseline.accuracy * baseline.n_pairs, now.n_pairs))
    return Units(*np.array(rows, dtype=np.float64).reshape(-1, 3).T)


def rank_units(both: pd.DataFrame, pairs: pd.DataFrame) -> Units:
    """One unit per rated pair of which both runs scored both videos; with equal scores the first counts as better.

    Args:
        both: Columns video_id, score and score_baseline, one row per video.
        pairs: Rows of the PAIRS schema.
    """
    scores = both.set_index("video_id")
    pairs = pairs[pairs["first"].isin(scores.index) & pairs["second"].isin(scores.index)]
    first, second = scores.loc[pairs["first"]], scores.loc[pairs["second"]]
    better = pairs["first_is_better"].to_numpy(dtype=bool)
    right = [
        ((first[column].to_numpy() >= second[column].to_numpy()) == better).astype(np.float64)
        for column in ("score", "score_baseline")
    ]
    return Units(right[0], right[1], np.ones(len(pairs)))


class Intervals:
    """The intervals of the change from one run to another, each computed when it is asked for.

    Prompts and pairs are this run's, and count only where they lead to the recorded metrics of both runs.

    Attributes:
        both: Columns video_id, mos, score and score_baseline: the videos that both runs scored.
        now: This run.
        baseline: The run that it is compared with.
        params: How intervals are resampled.
        groups: Prompt by video id; None: not known.
        pairs: Rows of the PAIRS schema; None: not known.
        drawn: What is drawn as one, by video id (`units.drawn_groups`); None: every video by itself.
    """

    def __init__(
        self,
        now: Run,
        baseline: Run,
        params: EvaluateParams,
        *,
        groups: pd.Series | None = None,
        pairs: pd.DataFrame | None = None,
        drawn: pd.Series | None = None,
    ) -> None:
        old = baseline.scored[["video_id", "score"]]
        self.both = now.scored.merge(old, on="video_id", suffixes=("", "_baseline"))
        self.now, self.baseline, self.params = now, baseline, params
        self.groups, self.pairs, self.drawn = groups, pairs, drawn

    def of(self, key: str) -> Interval | None:
        """The interval of a metric's change.

        Args:
            key: Of `METRICS`.

        Returns:
            Lower and upper end, in the metric's unit; None where nothing can be drawn for it.
        """
        metric = METRICS[key]
        if metric.unit == "videos":
            found = self.difference(key)
            return None if found is None else (found.low, found.high)
        differences = self._score_differences() if metric.unit == "videos and pairs" else self._share_differences(key)
        try:
            return None if differences is None else percentile_interval(differences, self.params.confidence)
        except UndefinedMetricError:
            return None

    def difference(self, key: str) -> PairedDifference | None:
        """The difference of a metric of single videos, with its interval and standard error.

        Args:
            key: Of `METRICS`, one whose unit is videos.

        Returns:
            None where nothing can be drawn for it.
        """
        try:
            return paired_bootstrap(
                self.both["mos"],
                self.both["score"],
                self.both["score_baseline"],
                metric=METRICS[key].judge_videos,
                n_resamples=self.params.bootstrap_samples,
                confidence=self.params.confidence,
                seed=self.params.seed,
                groups=_names(self.both, self.drawn),
            )
        except AigcVqaError:
            return None

    def _share_differences(self, key: str, stream: int = 0) -> FloatArray | None:
        metric = METRICS[key]
        if metric.unit == "prompts" and self.groups is not None:
            units = prompt_units(self.both, self.groups)
        elif metric.unit == "pairs" and self.pairs is not None:
            units = rank_units(self.both, self.pairs[self.pairs["kind"] == metric.kind])
        else:
            return None
        if not units.give(self.now.value(key), self.baseline.value(key)):
            return None
        return units.differences(np.random.default_rng([self.params.seed, stream]), self.params.bootstrap_samples)

    def _score_differences(self) -> FloatArray | None:
        # Streams of their own: draws of equal seed would tie the first pair to the first video.
        rank1, rank2 = self._share_differences("rank1", 1), self._share_differences("rank2", 2)
        names = _names(self.both, self.drawn)
        if rank1 is None or rank2 is None or len(set(self.both["video_id"] if names is None else names)) < N_MIN:
            return None
        mos, now, baseline = (self.both[name].to_numpy(np.float64) for name in ("mos", "score", "score_baseline"))
        # The same stream twice: both correlations on the same videos.
        by_rank, by_line = (
            resampled_differences(
                metric,
                mos,
                now,
                baseline,
                n_resamples=len(rank1),
                rng=np.random.default_rng([self.params.seed, 3]),
                groups=names,
            )
            for metric in (srocc, plcc)
        )
        # The score is linear: that of the changes is the change of the score.
        return ntire_score(srocc=by_rank, plcc=by_line, rank1=rank1, rank2=rank2)


def interval_of(
    function: Callable[..., float], rows: pd.DataFrame, params: EvaluateParams, *, drawn: pd.Series | None
) -> Interval:
    """The interval of a metric of one run.

    Args:
        function: Of (scores (N,), mos (N,)).
        rows: Columns video_id, score and mos, one row per scored video.
        params: How intervals are resampled.
        drawn: As `Intervals` has it.

    Returns:
        Lower and upper end.

    Raises:
        AigcVqaError: Nothing can be drawn: too few videos or groups, or scores that do not vary.
    """
    return bootstrap_interval(
        function,
        rows["score"],
        rows["mos"],
        samples=params.bootstrap_samples,
        confidence=params.confidence,
        seed=params.seed,
        groups=_names(rows, drawn),
    )


def _names(rows: pd.DataFrame, drawn: pd.Series | None) -> NDArray[np.str_] | None:
    return None if drawn is None else drawn.loc[rows["video_id"]].to_numpy(dtype=str)
