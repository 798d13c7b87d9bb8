"""Is A better than B? Scores of two or more sets of videos, paired by prompt.

What was drawn are prompts, so a prompt is the unit of everything here: scores of one side's videos of a prompt are
averaged first, intervals draw prompts again with replacement, and the p-value flips the sign of prompts' differences.
An interval says how far the difference depends on which prompts were drawn; how far the model's scores are off is
another matter.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from models.metrics import N_MIN
from models.resampling import percentile_interval, resampled_indices, sign_flip_p_value
from stages.errors import EvaluationError

FloatArray = NDArray[np.float64]
# Chance that a comparison with `n_needed` prompts finds a difference as large as the one that was seen.
POWER = 0.8


@dataclass(frozen=True)
class Duel:
    """Two sides on the prompts that both have.

    Attributes:
        first: Name of one side.
        second: Name of the other.
        n_prompts: Prompts of both.
        difference: Mean over the prompts of first - second, points of 0-100.
        low: Lower end of its interval.
        high: Its upper end.
        p_value: Of no difference, two-sided; of several duels adjusted for their number (Holm).
        win_rate: Share of the prompts where the first scores higher, draws counted half.
        win_low: Lower end of its interval.
        win_high: Its upper end.
        n_needed: Prompts with which a difference of this size is found in four of five comparisons; None for none.
    """

    first: str
    second: str
    n_prompts: int
    difference: float
    low: float
    high: float
    p_value: float
    win_rate: float
    win_low: float
    win_high: float
    n_needed: int | None

    def is_told_apart(self, confidence: float) -> bool:
        """Whether both the interval and the p-value exclude that there is no difference."""
        return self.p_value <= 1 - confidence and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Ranked:
    """One side, on the prompts that all sides have.

    Attributes:
        name: Of the side.
        mean: Mean of its prompts' scores, 0-100.
        low: Lower end of its interval.
        high: Its upper end.
        n_prompts: Prompts of all sides.
    """

    name: str
    mean: float
    low: float
    high: float
    n_prompts: int


def by_prompt(scores: pd.DataFrame) -> pd.DataFrame:
    """The mean score of every prompt and side.

    Args:
        scores: One row per scored video: side, prompt, score.

    Returns:
        A row per prompt, a column per side in the order of `scores`; NaN where a side lacks the prompt.
    """
    table = scores.pivot_table(index="prompt", columns="side", values="score", aggfunc="mean")
    return table[[side for side in dict.fromkeys(scores["side"]) if side in table]]


def duel(table: pd.DataFrame, first: str, second: str, *, samples: int, confidence: float, seed: int) -> Duel:
    """Compare two sides.

    Args:
        table: As `by_prompt` gives it.
        first: Name of one side.
        second: Name of the other.
        samples: Resamples.
        confidence: Of the intervals, between 0 and 1.
        seed: Of the draws.

    Raises:
        EvaluationError: Both have fewer than three prompts in common.
    """
    both = _shared(table, (first, second))
    differences = both[first].to_numpy() - both[second].to_numpy()
    wins = (np.sign(differences) + 1) / 2
    low, high = mean_interval(differences, samples=samples, confidence=confidence, seed=seed)
    win_low, win_high = mean_interval(wins, samples=samples, confidence=confidence, seed=seed)
    return Duel(
        first=first,
        second=second,
        n_prompts=len(differences),
        difference=float(differences.mean()),
        low=low,
        high=high,
        p_value=sign_flip_p_value(differences, samples=samples, seed=seed),
        win_rate=float(wins.mean()),
        win_low=win_low,
        win_high=win_high,
        n_needed=prompts_needed(differences, confidence=confidence),
    )


def duels(table: pd.DataFrame, *, samples: int, confidence: float, seed: int) -> list[Duel]:
    """Compare every pair of sides; p-values are adjusted for the number of pairs (Holm, 1979).

    Args:
        table: As `by_prompt` gives it.
        samples: Resamples.
        confidence: Of the intervals, between 0 and 1.
        seed: Of the draws.

    Raises:
        EvaluationError: Two sides have fewer than three prompts in common.
    """
    found = [
        duel(table, first, second, samples=samples, confidence=confidence, seed=seed)
        for first, second in combinations(table.columns, 2)
    ]
    adjusted, least = {}, 0.0
    for place, each in enumerate(sorted(found, key=lambda one: one.p_value)):
        least = max(least, min(1.0, (len(found) - place) * each.p_value))
        adjusted[each.first, each.second] = least
    return [Duel(**(asdict(each) | {"p_value": adjusted[each.first, each.second]})) for each in found]


def ranking(table: pd.DataFrame, *, samples: int, confidence: float, seed: int) -> list[Ranked]:
    """All sides on the prompts that all of them have, best first.

    Args:
        table: As `by_prompt` gives it.
        samples: Resamples.
        confidence: Of the intervals, between 0 and 1.
        seed: Of the draws.

    Raises:
        EvaluationError: They have fewer than three prompts in common.
    """
    names = [str(name) for name in table.columns]
    shared = _shared(table, names)
    rows = []
    for name in names:
        values = shared[name].to_numpy()
        low, high = mean_interval(values, samples=samples, confidence=confidence, seed=seed)
        rows.append(Ranked(name, float(values.mean()), low, high, len(values)))
    return sorted(rows, key=lambda row: -row.mean)


def mean_interval(values: FloatArray, *, samples: int, confidence: float, seed: int) -> tuple[float, float]:
    """Percentile interval of a mean over units that are drawn again with replacement.

    Args:
        values: (N,), one of each unit.
        samples: Resamples.
        confidence: Between 0 and 1.
        seed: Of the draws.
    """
    draws = resampled_indices(values.size, samples, np.random.default_rng(seed))
    return percentile_interval(np.concatenate([values[chosen].mean(axis=1) for chosen in draws]), confidence)


def prompts_needed(differences: FloatArray, *, confidence: float) -> int | None:
    """How many prompts a comparison needs to find a difference of the size that was seen, in POWER of all cases.

    By the normal approximation n = ((z of the confidence + z of the power) * deviation / mean) squared, as for any
    paired comparison of means.

    Args:
        differences: (N,), one of each prompt.
        confidence: Of the interval that has to exclude 0.

    Returns:
        At least 3; None where the mean is 0.
    """
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1))
    if mean == 0:
        return None
    z = float(norm.ppf((1 + confidence) / 2) + norm.ppf(POWER))
    return max(N_MIN, math.ceil((z * deviation / mean) ** 2))


def largest(table: pd.DataFrame, first: str, second: str, *, shown: int) -> pd.DataFrame:
    """The prompts where two sides differ most.

    Args:
        table: As `by_prompt` gives it.
        first: Name of one side.
        second: Name of the other.
        shown: Most prompts.

    Returns:
        Columns prompt, first, second (scores) and difference, the largest first.
    """
    both = table[[first, second]].dropna()
    rows = pd.DataFrame({"first": both[first], "second": both[second], "difference": both[first] - both[second]})
    rows = rows.rename_axis("prompt").reset_index()
    return rows.reindex(rows["difference"].abs().sort_values(ascending=False, kind="stable").index).head(shown)


def _shared(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    shared = table[list(names)].dropna()
    if len(shared) < N_MIN:
        counts: Mapping[str, Any] = table[list(names)].notna().sum().to_dict()
        own = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise EvaluationError(
            f"{len(shared)} prompts are common to {', '.join(names)} ({own}); at least {N_MIN} are needed: videos of "
            "one prompt have one file name, or a row each in --prompts"
        )
    return shared
