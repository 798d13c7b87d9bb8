"""The paired bootstrap: two runs on the same videos, against a loop over the same draws and known distributions."""

import math

import numpy as np
import pytest
from scipy import stats

from models import resampling
from models.errors import NonFiniteError, ShapeError
from models.metrics import MetricOptionError, UndefinedMetricError, krocc, metric_rows, plcc, rmse, srocc
from models.resampling import bootstrap_interval, paired_bootstrap, percentile_interval, resampled_indices


def runs(n: int = 150, *, seed: int = 0, noise_a: float = 10.0, noise_b: float = 10.0) -> tuple[np.ndarray, ...]:
    """MOS and two runs with independent errors."""
    generator = np.random.default_rng(seed)
    mos = generator.uniform(0.0, 100.0, n)
    return mos, mos + generator.normal(0.0, noise_a, n), mos + generator.normal(0.0, noise_b, n)


@pytest.mark.parametrize("metric", [srocc, plcc, krocc, rmse])
def test_it_equals_a_loop_over_the_same_draws(metric: type) -> None:
    mos, a, b = (values.round(-1) for values in runs(40, noise_b=20.0))  # with ties
    found = paired_bootstrap(mos, a, b, metric=metric, n_resamples=60, seed=7, confidence=0.9)
    drawn = np.random.default_rng(7).integers(0, 40, size=(60, 40))
    differences = [metric(a[row], mos[row]) - metric(b[row], mos[row]) for row in drawn]
    assert found.difference == metric(a, mos) - metric(b, mos)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(differences, [5.0, 95.0])), abs=1e-12)
    assert found.n_resamples == 60


def test_the_interval_is_that_of_scipy() -> None:
    """SciPy draws with its own numbers: ends of 4000 resamples scatter by about a fiftieth of the interval's width."""
    mos, a, b = runs(80, noise_b=20.0)

    def difference(mos: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a, mos)[0, 1] - np.corrcoef(b, mos)[0, 1])

    reference = stats.bootstrap(
        (mos, a, b), difference, paired=True, vectorized=False, n_resamples=4000, method="percentile", rng=1
    ).confidence_interval
    found = paired_bootstrap(mos, a, b, metric=plcc, n_resamples=4000, seed=0)
    width = reference.high - reference.low
    assert found.low == pytest.approx(reference.low, abs=width / 10)
    assert found.high == pytest.approx(reference.high, abs=width / 10)


def test_equal_runs_do_not_differ() -> None:
    mos, a, _ = runs(30)
    found = paired_bootstrap(mos, a, a, metric=srocc, n_resamples=100, seed=0)
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)
    # A rank correlation sees no difference in scores of one order either.
    same_order = paired_bootstrap(mos, a, np.exp(a / 20), metric=srocc, n_resamples=100, seed=0)
    assert (same_order.low, same_order.high) == (0.0, 0.0)


def test_swapped_runs_change_the_sign_alone() -> None:
    mos, a, b = runs(60, noise_b=14.0)
    one = paired_bootstrap(mos, a, b, metric=plcc, n_resamples=200, seed=3)
    other = paired_bootstrap(mos, b, a, metric=plcc, n_resamples=200, seed=3)
    assert other.difference == -one.difference
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low), abs=1e-12)


def test_a_clear_difference_is_far_from_zero() -> None:
    mos, a, b = runs(noise_a=5.0, noise_b=40.0)
    assert paired_bootstrap(mos, a, b, metric=srocc, n_resamples=500, seed=0).low > 0.1


def test_pairing_finds_what_two_intervals_cannot() -> None:
    """Run b is run a with a little more noise: their errors are nearly the same."""
    mos, a, _ = runs(200, noise_a=15.0)
    b = a + np.random.default_rng(9).normal(0.0, 8.0, 200)
    found = paired_bootstrap(mos, a, b, metric=srocc, n_resamples=500, seed=0)
    assert found.low > 0
    alone = [bootstrap_interval(srocc, run, mos, samples=500, confidence=0.95, seed=0) for run in (a, b)]
    assert alone[0][0] < alone[1][1], "the two single intervals overlap"


def test_two_runs_of_one_quality_are_rarely_told_apart() -> None:
    """A 90 % interval misses a difference of 0 with a probability of 0.1: 6 of 60 expected, deviation 2.3."""
    found = [
        paired_bootstrap(*runs(80, seed=seed), metric=plcc, n_resamples=100, seed=seed, confidence=0.9)
        for seed in range(60)
    ]
    assert sum(not each.low <= 0 <= each.high for each in found) <= 13  # three deviations above what is expected


def test_the_seed_decides() -> None:
    mos, a, b = runs(50)
    one = paired_bootstrap(mos, a, b, metric=srocc, n_resamples=50, seed=1)
    assert paired_bootstrap(mos, a, b, metric=srocc, n_resamples=50, seed=1) == one
    assert paired_bootstrap(mos, a, b, metric=srocc, n_resamples=50, seed=2) != one


def test_draws_without_a_metric_are_left_out_but_not_most() -> None:
    # Three videos: a draw that repeats one has no correlation; on the others two straight lines differ by 0.
    mos = [1.0, 2.0, 3.0]
    found = paired_bootstrap(mos, mos, [2.0, 4.0, 6.0], metric=plcc, n_resamples=200, seed=0)
    drawn = np.random.default_rng(0).integers(0, 3, size=(200, 3))
    assert found.n_resamples == sum(len(set(row)) > 1 for row in drawn) < 200
    assert found.difference == pytest.approx(0.0, abs=1e-12)
    single = np.zeros(20)
    single[0] = 1.0
    with pytest.raises(UndefinedMetricError, match="of 1000 resamples: too few distinct values"):
        paired_bootstrap(np.roll(single, 1), single, single, metric=plcc, n_resamples=1000, seed=0)


def test_the_draws_do_not_depend_on_the_size_of_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.random.default_rng(5).integers(0, 7, size=(9, 7))
    for values in (1, 14, 21, 1000):  # one row at a time, two, three, all
        monkeypatch.setattr(resampling, "BOOTSTRAP_VALUES_MAX", values)
        blocks = list(resampled_indices(7, 9, np.random.default_rng(5)))
        assert max(map(len, blocks)) == min(9, max(1, values // 7))
        assert np.array_equal(np.concatenate(blocks), whole)


def test_scipy_has_no_interval_where_one_resample_has_no_metric() -> None:
    """The reason for our own: once scipy leaves such resamples out, it can do the work."""
    mos = np.array([1.0, 2.0, 3.0])

    def with_gaps(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return metric_rows(plcc, x, y)

    with pytest.warns(stats.DegenerateDataWarning):
        found = stats.bootstrap(
            (mos, mos), with_gaps, paired=True, vectorized=True, n_resamples=200, method="percentile", rng=0
        )
    assert math.isnan(found.confidence_interval.low)
    assert percentile_interval(found.bootstrap_distribution, 0.95) == pytest.approx((1.0, 1.0))


def test_what_cannot_be_compared_is_refused() -> None:
    mos, a, b = runs(5)
    with pytest.raises(ShapeError, match=r"predicted_b has shape \(4,\) and mos \(5,\)"):
        paired_bootstrap(mos, a, b[:4], metric=srocc, n_resamples=10, seed=0)
    with pytest.raises(NonFiniteError, match=r"predicted_a\[0\]"):
        paired_bootstrap(mos, [math.nan, *a[1:]], b, metric=srocc, n_resamples=10, seed=0)
    with pytest.raises(UndefinedMetricError, match=r"constant over all 5 videos: predicted_b \(3\)"):
        paired_bootstrap(mos, a, [3.0] * 5, metric=srocc, n_resamples=10, seed=0)
    with pytest.raises(UndefinedMetricError, match="2 videos"):
        paired_bootstrap(mos[:2], a[:2], b[:2], metric=srocc, n_resamples=10, seed=0)
    with pytest.raises(MetricOptionError, match="n_resamples is 0"):
        paired_bootstrap(mos, a, b, metric=srocc, n_resamples=0, seed=0)
    with pytest.raises(MetricOptionError, match="confidence is 1"):
        paired_bootstrap(mos, a, b, metric=srocc, n_resamples=10, seed=0, confidence=1)
