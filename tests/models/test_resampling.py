"""Intervals over videos and over whole groups of them: against slow loops, by hand, and by how often they hold."""

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike

from models.metrics import MetricOptionError, UndefinedMetricError, krocc, plcc, rmse, srocc
from models.resampling import bootstrap_interval
from tests.models.test_metrics import CORRELATIONS, noisy


@pytest.mark.parametrize("metric", [*CORRELATIONS, rmse])
def test_bootstrap_equals_a_loop_over_the_same_draws(metric: type) -> None:
    scores, mos = (values.round(-1) for values in noisy(40))  # with ties
    found = bootstrap_interval(metric, scores, mos, samples=50, confidence=0.9, seed=7)
    drawn = np.random.default_rng(7).integers(0, 40, size=(50, 40))
    values = [metric(scores[row], mos[row]) for row in drawn]
    assert found == pytest.approx(tuple(np.percentile(values, [5.0, 95.0])), abs=1e-12)
    assert found[0] < metric(scores, mos) < found[1]


def test_bootstrap_of_any_function_and_of_its_seed() -> None:
    scores, mos = noisy(40)

    def own_plcc(first: ArrayLike, second: ArrayLike) -> float:
        return float(np.corrcoef(np.asarray(first), np.asarray(second))[0, 1])

    given = bootstrap_interval(plcc, scores, mos, samples=50, confidence=0.95, seed=1)
    own = bootstrap_interval(own_plcc, scores, mos, samples=50, confidence=0.95, seed=1)
    assert own == pytest.approx(given, abs=1e-12)
    assert bootstrap_interval(plcc, scores, mos, samples=50, confidence=0.95, seed=1) == given
    assert bootstrap_interval(plcc, scores, mos, samples=50, confidence=0.95, seed=2) != given


def test_bootstrap_has_the_known_width_of_srocc() -> None:
    # The standard error of SROCC near 0.8 with 854 videos is about 0.013: 95 % spans 2 * 1.96 * 0.013 =
    # 0.051.
    scores, mos = noisy(854, noise=21.0)
    assert srocc(scores, mos) == pytest.approx(0.8, abs=0.03)
    low, high = bootstrap_interval(srocc, scores, mos, samples=400, confidence=0.95, seed=0)
    assert high - low == pytest.approx(0.051, abs=0.012)


def test_bootstrap_leaves_out_undefined_resamples_but_not_most() -> None:
    # Three videos: 3 of 27 draws repeat one of them. Any other draw of a straight line has correlation 1.
    for metric in (plcc, krocc):
        assert bootstrap_interval(
            metric, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], samples=100, confidence=0.95, seed=0
        ) == pytest.approx((1.0, 1.0))
    # One video of 20 has another score, one another mos: both are in a draw with probability
    # 1 - 2 (19/20)^20 + (18/20)^20 = 0.404, so 596 of 1000 draws are expected to be undefined, +- 16.
    scores, mos = np.zeros(20), np.zeros(20)
    scores[0], mos[1] = 1.0, 1.0
    with pytest.raises(UndefinedMetricError, match="of 1000 resamples: too few distinct values"):
        bootstrap_interval(plcc, scores, mos, samples=1000, confidence=0.95, seed=0)


@pytest.mark.parametrize(("samples", "confidence"), [(0, 0.95), (10, 0.0), (10, 1.0), (10, math.nan)])
def test_bootstrap_refuses_options_out_of_range(samples: int, confidence: float) -> None:
    with pytest.raises(MetricOptionError):
        bootstrap_interval(plcc, *noisy(9), samples=samples, confidence=confidence, seed=0)
