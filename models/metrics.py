"""How well predicted quality scores agree with mean opinion scores (MOS).

Rank and linear correlations (SROCC, PLCC, KROCC), errors, the logistic fit of VQEG, the final score of the
NTIRE 2024 challenge on short-form user video, pairs within a prompt. Arrays in, floats out; everything is float64.
Intervals of these are in `models.resampling`.

`scores` and `mos` are one-dimensional, of the same length N, finite. A shape that is not, (N, 1) among them,
raises ShapeError; a NaN or an infinity NonFiniteError; and where the number does not exist (fewer than 3
videos, constant input) UndefinedMetricError.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from models.errors import AigcVqaError, NonFiniteError, ShapeError

FloatArray = NDArray[np.float64]
# A number, or one number per resample.
Numbers = TypeVar("Numbers", float, FloatArray)

N_MIN = 3
LOGISTIC_EVALUATIONS_MAX = 2000
# Of the logistic fit: a steep curve, and a wide one for data that hardly bend.
LOGISTIC_WIDTHS = (0.5, 2.0)
# Kendall's correlation by rows compares all pairs: beyond so many videos scipy's sorting is faster.
KENDALL_ROWS_MAX = 256


class UndefinedMetricError(AigcVqaError, ValueError):
    """A metric that does not exist for these data; the text says which input is why."""


class MetricOptionError(AigcVqaError, ValueError):
    """An option of a metric outside what is allowed, or pair labels that are not booleans."""


@dataclass(frozen=True)
class LogisticFit:
    """Result of `logistic_fit`.

    Attributes:
        fitted: (N,) float64, the predictions mapped to the scale of the MOS. If not `converged`: the least-squares
            line.
        converged: Whether the fit ended within its bounds with finite values and a curve that is not flat.
    """

    fitted: FloatArray
    converged: bool


def srocc(scores: ArrayLike, mos: ArrayLike) -> float:
    """Spearman's rank correlation, -1..1: Pearson's of the ranks, ties at their mean rank."""
    x, y = checked_pair(scores, mos)
    return float(_pearson_rows(stats.rankdata(x), stats.rankdata(y)))


def plcc(scores: ArrayLike, mos: ArrayLike) -> float:
    """Pearson's linear correlation, -1..1, of the scores as they are (no logistic fit)."""
    x, y = checked_pair(scores, mos)
    return float(_pearson_rows(x, y))


def krocc(scores: ArrayLike, mos: ArrayLike) -> float:
    """Kendall's rank correlation, -1..1, variant tau-b (corrected for ties)."""
    x, y = checked_pair(scores, mos)
    return float(stats.kendalltau(x, y, variant="b").statistic)


def rmse(scores: ArrayLike, mos: ArrayLike) -> float:
    """Root mean squared error, in the unit of both inputs; defined for constant input, and for one video."""
    x, y = _checked_arrays(("scores", scores), ("mos", mos))
    if x.size == 0:
        raise UndefinedMetricError("no videos: the root mean squared error needs at least 1")
    return float(np.sqrt(np.mean((x - y) ** 2)))


def logistic_fit(scores: ArrayLike, mos: ArrayLike) -> LogisticFit:
    """Fit q = b2 + (b1 - b2) / (1 + exp(-(x - b3) / |b4|)) to the MOS by least squares (VQEG).

    x are the predictions standardised to mean 0 and standard deviation 1, so that one start suits every
    scale: (max mos, min mos, mean x, 0.5), and where the fit from there fails a wider one, 2.0. At most 2000
    evaluations each.

    Args:
        scores: (N,).
        mos: (N,).

    Returns:
        The curve. A fit that fails is marked, not raised: fewer than 4 videos, no minimum in that many evaluations, or
        a flat curve.
    """
    x, y = checked_pair(scores, mos)
    centred = _centred_rows(x)
    standardised = centred / centred.std()
    for width in LOGISTIC_WIDTHS if x.size >= 4 else ():
        result = optimize.least_squares(
            _logistic_residuals,
            args=(standardised, y),
            x0=(y.max(), y.min(), standardised.mean(), width),
            # Differences in place of the derivatives lose the way where the curve is nearly a line.
            jac=_logistic_jacobian,
            method="lm",
            max_nfev=LOGISTIC_EVALUATIONS_MAX,
        )
        fitted = _logistic(standardised, result.x)
        # A flat curve has no correlation: spread below a billionth of the MOS' own is rounding.
        if result.success and np.isfinite(fitted).all() and np.ptp(fitted) > 1e-9 * np.ptp(y):
            return LogisticFit(fitted=fitted, converged=True)
    slope = float(np.mean(standardised * (y - y.mean())))
    return LogisticFit(fitted=y.mean() + slope * standardised, converged=False)


def plcc_logistic(scores: ArrayLike, mos: ArrayLike) -> float:
    """Pearson's correlation after the logistic fit; the plain PLCC where the fit does not converge.

    The curve may fall as well as rise, so predictions that are the wrong way round score well here: SROCC
    shows them.
    """
    return _plcc_of_fit(logistic_fit(scores, mos), scores, mos)


def paper_mean(srocc: float, plcc: float, krocc: float) -> float:
    """Mean of the three correlations: the summary column of the tables of arXiv 2409.14888."""
    return (srocc + plcc + krocc) / 3.0


def mean_of_three(scores: ArrayLike, mos: ArrayLike) -> float:
    """The paper's mean of SROCC, PLCC and KROCC of one set of videos, -1..1."""
    return paper_mean(srocc(scores, mos), plcc(scores, mos), krocc(scores, mos))


def rank_accuracy(first_scores: ArrayLike, second_scores: ArrayLike, first_is_better: ArrayLike) -> float:
    """Share of pairs, 0..1, whose predicted order is that of the raters (NTIRE 2024).

    As in the challenge, the first is predicted better when its score is at least the other's.

    Args:
        first_scores: (P,) predicted scores of the pairs' first videos.
        second_scores: (P,) those of the second ones.
        first_is_better: (P,) bool, what the raters say.

    Raises:
        ShapeError: Shapes differ or are not (P,).
        NonFiniteError: A score is NaN or infinite.
        MetricOptionError: `first_is_better` is not boolean.
        UndefinedMetricError: P is 0.
    """
    first, second = _checked_arrays(("first_scores", first_scores), ("second_scores", second_scores))
    better = np.asarray(first_is_better)
    if better.shape != first.shape:
        raise ShapeError(f"first_is_better has shape {better.shape} and first_scores {first.shape}; needed: equal")
    if better.dtype != np.bool_:
        raise MetricOptionError(f"first_is_better has dtype {better.dtype}; needed: bool")
    if first.size == 0:
        raise UndefinedMetricError("no pairs: a rank accuracy needs at least 1")
    return float(np.mean((first >= second) == better))


def ntire_score(*, srocc: Numbers, plcc: Numbers, rank1: Numbers, rank2: Numbers) -> Numbers:
    """Final score of the NTIRE 2024 challenge: 0.45 SROCC + 0.45 PLCC + 0.05 Rank1 + 0.05 Rank2.

    Args:
        srocc: -1..1, or one number per resample, (R,).
        plcc: As `srocc`.
        rank1: Accuracy on pairs of videos of different sources, 0..1.
        rank2: Accuracy on pairs of one source.

    Returns:
        One number, or (R,).
    """
    return 0.45 * srocc + 0.45 * plcc + 0.05 * rank1 + 0.05 * rank2


@dataclass(frozen=True)
class PairAccuracy:
    """Result of `group_pair_accuracy`.

    Attributes:
        accuracy: Share of pairs in the right order, 0..1.
        n_pairs: Pairs that count.
    """

    accuracy: float
    n_pairs: int


def group_pair_accuracy(scores: ArrayLike, mos: ArrayLike, groups: Sequence[Hashable]) -> PairAccuracy:
    """How often the better of two videos of one group (prompt) has the higher score.

    It asks what a user asks who picks the best of several videos of one prompt, and a model that only knows which
    prompts are easy is at chance, 0.5, here. Pairs of equal MOS have no better one and do not count; a pair of equal
    scores counts half. Groups of one video add nothing.

    Args:
        scores: (N,).
        mos: (N,).
        groups: N names.

    Raises:
        ShapeError: Lengths differ.
        NonFiniteError: A score or MOS is NaN or infinite.
        UndefinedMetricError: No group has two videos of different MOS.
    """
    x, y = _checked_arrays(("scores", scores), ("mos", mos))
    if len(groups) != x.size:
        raise ShapeError(f"groups has {len(groups)} names and scores shape {x.shape}; needed: one a video")
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    right, pairs = 0.0, 0
    for indices in members.values():
        for position, index in enumerate(indices[:-1]):
            others = indices[position + 1 :]
            better = np.sign(y[index] - y[others])
            ahead = np.sign(x[index] - x[others])
            counted = better != 0
            # Agreement of signs is 1, 0 or -1: right, a draw, wrong.
            right += float(np.sum((1 + better * ahead)[counted])) / 2
            pairs += int(np.sum(counted))
    if pairs == 0:
        raise UndefinedMetricError(f"no two of {x.size} videos share a group and differ in MOS: there is no pair")
    return PairAccuracy(right / pairs, pairs)


def metric_rows(metric: Callable[[ArrayLike, ArrayLike], float], scores: FloatArray, mos: FloatArray) -> FloatArray:
    """A metric of every row at once.

    Args:
        metric: One of this module, or any function of (scores, mos).
        scores: (R, N) finite.
        mos: (R, N) finite.

    Returns:
        (R,), NaN where the metric is not defined.
    """
    rowwise = _ROWWISE.get(metric)
    return rowwise(scores, mos) if rowwise else _each_row(metric, scores, mos)


def checked_pair(scores: ArrayLike, mos: ArrayLike, *, name: str = "scores") -> tuple[FloatArray, FloatArray]:
    """Both as (N,) float64, for metrics that need N >= 3 and two inputs with spread.

    Args:
        scores: (N,).
        mos: (N,).
        name: What messages call the scores.

    Raises:
        ShapeError: Shapes differ or are not (N,).
        NonFiniteError: A number is NaN or infinite.
        UndefinedMetricError: N is below 3, or one of the two is constant.
    """
    x, y = _checked_arrays((name, scores), ("mos", mos))
    if x.size < N_MIN:
        raise UndefinedMetricError(f"{x.size} videos: a correlation needs at least {N_MIN}")
    named = ((name, x), ("mos", y))
    constant = [f"{label} ({values[0]:g})" for label, values in named if np.ptp(values) == 0]
    if constant:
        raise UndefinedMetricError(
            f"constant over all {x.size} videos: {' and '.join(constant)}; correlations need inputs that vary"
        )
    return x, y


def _logistic(x: FloatArray, parameters: FloatArray) -> FloatArray:
    upper, lower, centre, width = parameters
    # expit saturates where exp would overflow; the floor keeps a width of 0 (a step) from dividing 0 by 0.
    values: FloatArray = lower + (upper - lower) * special.expit((x - centre) / max(abs(width), 1e-12))
    return values


def _logistic_residuals(parameters: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    return _logistic(x, parameters) - y


def _logistic_jacobian(parameters: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Derivatives of the residuals by the four parameters, (N, 4)."""
    upper, lower, centre, width = parameters
    size = max(abs(width), 1e-12)
    place = (x - centre) / size
    share = special.expit(place)
    slope = (upper - lower) * share * (1 - share) / size
    return np.stack([share, 1 - share, -slope, -slope * place * (1 if width >= 0 else -1)], axis=1)


def _plcc_of_fit(fit: LogisticFit, scores: ArrayLike, mos: ArrayLike) -> float:
    return plcc(fit.fitted if fit.converged else scores, mos)


def _centred_rows(values: FloatArray) -> FloatArray:
    """Values less their mean, largest 1 in size, along the last axis; NaN where all are equal.

    Scaled so that no square leaves the range of float64. The mean of equal numbers may be off by rounding, so
    the range says which rows are constant.
    """
    centred = values - values.mean(axis=-1, keepdims=True)
    largest = np.abs(centred).max(axis=-1, keepdims=True)
    scaled: FloatArray = centred / np.where(np.ptp(values, axis=-1, keepdims=True) == 0, np.nan, largest)
    return scaled


def _pearson_rows(x: FloatArray, y: FloatArray) -> FloatArray:
    """Pearson's correlation along the last axis: (..., N) -> (...); NaN where either is constant."""
    x, y = _centred_rows(x), _centred_rows(y)
    product = np.sum(x * y, axis=-1) / (np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1))
    correlations: FloatArray = np.clip(product, -1.0, 1.0)
    return correlations


def _srocc_rows(x: FloatArray, y: FloatArray) -> FloatArray:
    return _pearson_rows(stats.rankdata(x, axis=-1), stats.rankdata(y, axis=-1))


def _krocc_rows(x: FloatArray, y: FloatArray) -> FloatArray:
    if x.shape[1] > KENDALL_ROWS_MAX:
        return _each_row(krocc, x, y)
    values = np.full(len(x), np.nan)
    for row in range(len(x)):
        orders = [np.sign(one[row][:, None] - one[row]).astype(np.int8) for one in (x, y)]
        untied = [np.count_nonzero(order) for order in orders]
        if all(untied):
            agreement = np.sum(orders[0] * orders[1], dtype=np.int64)
            values[row] = agreement / np.sqrt(untied[0]) / np.sqrt(untied[1])
    return values


def _mean_rows(x: FloatArray, y: FloatArray) -> FloatArray:
    means: FloatArray = (_srocc_rows(x, y) + _pearson_rows(x, y) + _krocc_rows(x, y)) / 3.0
    return means


def _rmse_rows(x: FloatArray, y: FloatArray) -> FloatArray:
    errors: FloatArray = np.sqrt(np.mean((x - y) ** 2, axis=-1))
    return errors


def _each_row(metric: Callable[[ArrayLike, ArrayLike], float], x: FloatArray, y: FloatArray) -> FloatArray:
    values = np.full(len(x), np.nan)
    for row in range(len(x)):
        try:
            values[row] = metric(x[row], y[row])
        except UndefinedMetricError:
            continue
    return values


_ROWWISE: dict[Callable[[ArrayLike, ArrayLike], float], Callable[[FloatArray, FloatArray], FloatArray]] = {
    srocc: _srocc_rows,
    plcc: _pearson_rows,
    krocc: _krocc_rows,
    mean_of_three: _mean_rows,
    rmse: _rmse_rows,
}


def _checked_arrays(first: tuple[str, ArrayLike], second: tuple[str, ArrayLike]) -> tuple[FloatArray, FloatArray]:
    x, y = np.asarray(first[1], dtype=np.float64), np.asarray(second[1], dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ShapeError(f"{first[0]} has shape {x.shape} and {second[0]} {y.shape}; needed: both (N,)")
    for name, values in ((first[0], x), (second[0], y)):
        if not (finite := np.isfinite(values)).all():
            index = int(np.argmin(finite))
            raise NonFiniteError(f"{name}[{index}] is {values[index]}; needed: finite numbers")
    return x, y
