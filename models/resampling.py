"""Intervals by resampling: of one run, and of the difference of two on the same videos (percentile bootstrap).

What was drawn is drawn again: single videos, or whole groups such as prompts where whole groups were dealt to the test
part. Errors of videos of one group are alike, so that a draw of single videos promises more than the data hold.

Why not scipy.stats.bootstrap: one resample without the metric makes its interval NaN, with a warning about another
method, it draws no groups, and it is no faster: 0.95 to 1.3 times our time for 112 and for 2,000 videos, with the same
draws and the same peak of memory (`python -m benchmarks intervals`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.errors import ShapeError
from models.metrics import N_MIN, FloatArray, MetricOptionError, UndefinedMetricError, checked_pair, metric_rows

IndexArray = NDArray[np.int64]
VideoMetric = Callable[[ArrayLike, ArrayLike], float]

# Rows of resampled data that are in memory at once hold at most this many values (32 MiB of float64).
BOOTSTRAP_VALUES_MAX = 4 * 2**20


def bootstrap_interval(
    metric: VideoMetric,
    scores: ArrayLike,
    mos: ArrayLike,
    *,
    samples: int,
    confidence: float,
    seed: int,
    groups: ArrayLike | None = None,
) -> tuple[float, float]:
    """Percentile interval of a metric over videos, or whole groups of videos, drawn again with replacement.

    Resamples on which the metric is not defined (one video drawn N times) are left out.

    Args:
        metric: One of `models.metrics`, or any function of (scores, mos). Ranks are those of the resampled data.
        scores: (N,).
        mos: (N,), entry i of both is video i.
        samples: Number of resamples, >= 1.
        confidence: Between 0 and 1; 0.95 gives the 2.5 and 97.5 percentiles.
        seed: Of the interval's own random generator.
        groups: (N,) names of what is drawn as one; None: every video by itself.

    Returns:
        Lower and upper end.

    Raises:
        MetricOptionError: `samples` or `confidence` is out of range.
        UndefinedMetricError: The metric is not defined on these videos, or on less than half of the resamples, or there
            are fewer than 3 groups.
        ShapeError: Shapes differ or are not (N,).
        NonFiniteError: A score or MOS is NaN or infinite.
    """
    x, y = checked_pair(scores, mos)
    _check_resampling("samples", samples, confidence)
    values = np.full(samples, np.nan)
    for rows, drawn in drawn_videos(x.size, samples, np.random.default_rng(seed), groups=groups):
        values[rows] = metric_rows(metric, x[drawn], y[drawn])
    return percentile_interval(values, confidence)


@dataclass(frozen=True)
class PairedDifference:
    """Result of `paired_bootstrap`: the difference metric(a) - metric(b) on the same videos.

    Attributes:
        difference: On all videos.
        low: Lower end of the percentile interval over resamples.
        high: Its upper end.
        error: Standard deviation over resamples: the standard error of the difference.
        n_resamples: Resamples that the metric is defined on.
    """

    difference: float
    low: float
    high: float
    error: float
    n_resamples: int


def paired_bootstrap(
    mos: ArrayLike,
    predicted_a: ArrayLike,
    predicted_b: ArrayLike,
    *,
    metric: VideoMetric,
    n_resamples: int,
    seed: int,
    confidence: float = 0.95,
    groups: ArrayLike | None = None,
) -> PairedDifference:
    """The difference of two runs on the same videos, with its interval.

    Both are measured on every resample, so what makes a draw of videos easy or hard for both drops out of the
    difference: much smaller differences stand out than from two single intervals. Resamples on which either run has no
    metric are left out.

    Args:
        mos: (N,), entry i of all three is video i.
        predicted_a: (N,), scores of the first run.
        predicted_b: (N,), scores of the second run.
        metric: As in `bootstrap_interval`.
        n_resamples: >= 1.
        seed: Of the interval's own random generator.
        confidence: Between 0 and 1.
        groups: As in `bootstrap_interval`.

    Returns:
        The difference and its interval.

    Raises:
        MetricOptionError: `n_resamples` or `confidence` is out of range.
        UndefinedMetricError: The metric is not defined on these videos, or on less than half of the resamples, or there
            are fewer than 3 groups.
        ShapeError: Shapes differ or are not (N,).
        NonFiniteError: A score or MOS is NaN or infinite.
    """
    a, y = checked_pair(predicted_a, mos, name="predicted_a")
    b, _ = checked_pair(predicted_b, mos, name="predicted_b")
    _check_resampling("n_resamples", n_resamples, confidence)
    rng = np.random.default_rng(seed)
    differences = resampled_differences(metric, y, a, b, n_resamples=n_resamples, rng=rng, groups=groups)
    low, high = percentile_interval(differences, confidence)
    return PairedDifference(
        difference=metric(a, y) - metric(b, y),
        low=low,
        high=high,
        error=float(np.nanstd(differences)),
        n_resamples=int(np.sum(~np.isnan(differences))),
    )


def resampled_differences(
    metric: VideoMetric,
    mos: FloatArray,
    predicted_a: FloatArray,
    predicted_b: FloatArray,
    *,
    n_resamples: int,
    rng: np.random.Generator,
    groups: ArrayLike | None = None,
) -> FloatArray:
    """The difference of two runs on videos, or whole groups of videos, drawn again with replacement.

    Args:
        metric: As in `bootstrap_interval`.
        mos: (N,) finite, entry i of all three is video i.
        predicted_a: (N,) finite, scores of the first run.
        predicted_b: (N,) finite, scores of the second run.
        n_resamples: >= 1.
        rng: Where the draws come from; generators of one seed give two metrics the same draws.
        groups: As in `bootstrap_interval`.

    Returns:
        (n_resamples,) metric(a) - metric(b), NaN where the metric is not defined on a draw.

    Raises:
        UndefinedMetricError: There are fewer than 3 groups.
        ShapeError: `groups` is not (N,).
    """
    values = np.full(n_resamples, np.nan)
    for rows, drawn in drawn_videos(mos.size, n_resamples, rng, groups=groups):
        y = mos[drawn]
        values[rows] = metric_rows(metric, predicted_a[drawn], y) - metric_rows(metric, predicted_b[drawn], y)
    return values


def drawn_videos(
    n: int, samples: int, rng: np.random.Generator, *, groups: ArrayLike | None = None
) -> Iterator[tuple[IndexArray, IndexArray]]:
    """Videos of resamples: G of G groups are drawn again with replacement, and each brings all of its videos.

    Args:
        n: Number of videos, N.
        samples: Number of resamples.
        rng: Where they come from.
        groups: As in `bootstrap_interval`; the draws do not depend on the order of the videos.

    Yields:
        Numbers of resamples, (R,), and their videos, (R, M): resamples of as many videos come together, since groups
        differ in size. Every resample comes once.

    Raises:
        UndefinedMetricError: There are fewer than 3 groups.
        ShapeError: `groups` is not (N,).
    """
    names = np.arange(n) if groups is None else np.asarray(groups)
    if names.shape != (n,):
        raise ShapeError(f"groups has shape {names.shape}; needed: ({n},), a name a video")
    _, group_of, sizes = np.unique(names, return_inverse=True, return_counts=True)
    if len(sizes) < N_MIN:
        raise UndefinedMetricError(f"{n} videos of {len(sizes)} groups: an interval draws from {N_MIN} or more")
    by_group = np.argsort(group_of, kind="stable")
    first = np.cumsum(sizes) - sizes
    done = 0
    for chosen in resampled_indices(len(sizes), samples, rng, width=n):
        lengths = sizes[chosen].sum(axis=1)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            groups_of_rows = chosen[rows].ravel()
            own = sizes[groups_of_rows]
            # Counts 0, 1, ... within every drawn group.
            within = np.arange(own.sum()) - np.repeat(np.cumsum(own) - own, own)
            yield done + rows, by_group[np.repeat(first[groups_of_rows], own) + within].reshape(len(rows), length)
        done += len(chosen)


def resampled_indices(
    n: int, samples: int, rng: np.random.Generator, *, width: int | None = None
) -> Iterator[IndexArray]:
    """Draw 0 to n - 1 again with replacement, n at a time.

    Args:
        n: What is drawn from, >= 1.
        samples: Number of resamples.
        rng: Where they come from; the draws do not depend on the size of the blocks.
        width: Values that a row becomes, which bounds the rows of a block; None: n.

    Yields:
        (rows, n), blocks of bounded memory with `samples` rows in all.
    """
    rows_at_once = max(1, BOOTSTRAP_VALUES_MAX // (width or n))
    for start in range(0, samples, rows_at_once):
        yield rng.integers(0, n, size=(min(rows_at_once, samples - start), n))


def sign_flip_p_value(differences: ArrayLike, *, samples: int, seed: int) -> float:
    """How often differences that have no side would have a mean as far from 0 as these have (two-sided).

    The null hypothesis is that each difference might as well have the other sign (Fisher, The Design of Experiments,
    1935, section 21). All signs are tried where there are no more than `samples` ways to choose them.

    Args:
        differences: (N,), one of each unit that was drawn, such as a prompt.
        samples: Ways to choose signs that are drawn, >= 1; the smallest value is 1 / (samples + 1) then.
        seed: Of the draws.

    Returns:
        More than 0, at most 1.

    Raises:
        MetricOptionError: `samples` is out of range.
        ShapeError: `differences` is not (N,) with at least one value.
    """
    values = np.asarray(differences, np.float64)
    if values.ndim != 1 or not values.size:
        raise ShapeError(f"differences has shape {values.shape}; needed: (N,), N at least 1")
    _check_resampling("samples", samples, 0.5)
    n = values.size
    # Sums of the same numbers in another order may differ in their last bits.
    observed = abs(values.sum()) - 1e-9 * np.abs(values).sum()
    if 2**n <= samples:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float(np.mean(np.abs(signs @ values) >= observed))
    rng, as_far, done = np.random.default_rng(seed), 0, 0
    rows_at_once = max(1, BOOTSTRAP_VALUES_MAX // n)
    while done < samples:
        signs = 1 - 2 * rng.integers(0, 2, size=(min(rows_at_once, samples - done), n))
        as_far += int(np.sum(np.abs(signs @ values) >= observed))
        done += len(signs)
    return (as_far + 1) / (samples + 1)


def percentile_interval(values: FloatArray, confidence: float) -> tuple[float, float]:
    """The percentiles of a metric over resamples that leave equal tails on both sides.

    Args:
        values: (samples,), NaN where a resample has no metric: these are left out.
        confidence: Between 0 and 1.

    Returns:
        Lower and upper end.

    Raises:
        UndefinedMetricError: More than half of the values are NaN.
    """
    defined = values[~np.isnan(values)]
    if 2 * defined.size < values.size:
        raise UndefinedMetricError(
            f"the metric is defined on only {defined.size} of {values.size} resamples: too few distinct values in "
            "scores or mos for an interval"
        )
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(defined, [tail, 100.0 - tail])
    return float(low), float(high)


def _check_resampling(name: str, samples: int, confidence: float) -> None:
    if samples < 1:
        raise MetricOptionError(f"{name} is {samples}; needed: at least 1")
    if not 0 < confidence < 1:
        raise MetricOptionError(f"confidence is {confidence}; allowed: more than 0 and less than 1")
