"""Intervals over videos and over whole groups of them: against slow loops, by hand, and by how often they hold."""

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike

from models.errors import ShapeError
from models.metrics import MetricOptionError, UndefinedMetricError, krocc, mean_of_three, plcc, rmse, srocc
from models.resampling import bootstrap_interval, drawn_videos, paired_bootstrap
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


def test_groups_by_hand() -> None:
    # Three groups a, b, c of 1, 2 and 3 videos; a draw brings whole groups, in the order of the draw.
    groups = np.array(["c", "a", "b", "c", "b", "c"])
    videos_of = {0: [1], 1: [2, 4], 2: [0, 3, 5]}
    draws = np.random.default_rng(4).integers(0, 3, size=(30, 3))
    found: dict[int, list[int]] = {}
    for rows, videos in drawn_videos(6, 30, np.random.default_rng(4), groups=groups):
        assert len(rows) == len(videos)
        found |= {int(row): own.tolist() for row, own in zip(rows, videos, strict=True)}
    assert found == {row: [video for group in drawn for video in videos_of[group]] for row, drawn in enumerate(draws)}


@pytest.mark.parametrize("metric", [*CORRELATIONS, mean_of_three, rmse])
def test_groups_equal_a_loop_over_the_same_draws(metric: type) -> None:
    scores, mos = (values.round(-1) for values in noisy(60))  # with ties
    other = mos + np.random.default_rng(5).normal(0, 20, 60)
    groups = np.random.default_rng(6).integers(0, 15, 60).astype(str)
    names = np.unique(groups)
    values, changes = [], []
    for drawn in np.random.default_rng(7).integers(0, len(names), size=(50, len(names))):
        videos = np.concatenate([np.flatnonzero(groups == names[one]) for one in drawn])
        values.append(metric(scores[videos], mos[videos]))
        changes.append(values[-1] - metric(other[videos], mos[videos]))
    interval = bootstrap_interval(metric, scores, mos, samples=50, confidence=0.9, seed=7, groups=groups)
    assert interval == pytest.approx(tuple(np.percentile(values, [5.0, 95.0])), abs=1e-12)
    paired = paired_bootstrap(mos, scores, other, metric=metric, n_resamples=50, confidence=0.9, seed=7, groups=groups)
    assert (paired.low, paired.high) == pytest.approx(tuple(np.percentile(changes, [5.0, 95.0])), abs=1e-12)
    assert paired.error == pytest.approx(np.std(changes), abs=1e-12)


def test_groups_of_one_video_are_videos_and_their_order_does_not_matter() -> None:
    scores, mos = noisy(40)
    alone = bootstrap_interval(plcc, scores, mos, samples=50, confidence=0.9, seed=1)
    names = np.array([f"{number:02d}" for number in range(40)])
    assert bootstrap_interval(plcc, scores, mos, samples=50, confidence=0.9, seed=1, groups=names) == alone
    turned = bootstrap_interval(plcc, scores[::-1], mos[::-1], samples=50, confidence=0.9, seed=1, groups=names[::-1])
    assert turned == pytest.approx(alone, abs=1e-12)


def test_groups_that_cannot_be_drawn_from_are_refused() -> None:
    scores, mos = noisy(40)
    for groups in (["one"] * 40, ["one", "two"] * 20):
        with pytest.raises(UndefinedMetricError, match=f"40 videos of {len(set(groups))} groups: .* 3 or more"):
            bootstrap_interval(plcc, scores, mos, samples=50, confidence=0.9, seed=1, groups=groups)
    with pytest.raises(ShapeError, match=r"groups has shape \(3,\); needed: \(40,\)"):
        bootstrap_interval(plcc, scores, mos, samples=50, confidence=0.9, seed=1, groups=["a", "b", "c"])


def test_intervals_hold_as_often_as_they_say_where_errors_of_a_prompt_are_alike() -> None:
    """60 prompts of 4 videos; six tenths of the variance of MOS and of errors are the prompt's.

    MOS has variance 1, errors 0.25: the true PLCC is 1 / sqrt(1.25). Four videos whose errors correlate by 0.6 are
    worth 4 / (1 + 3 * 0.6) = 1.4, so intervals over videos are some 1 / sqrt(4 / 1.4) = 0.6 times as wide as they
    should be. Of 200 intervals of 95 % that are right 190 hold the truth, with a standard deviation of 3.1; an interval
    0.6 times as wide holds it in 76 % of the cases.
    """
    truth, held = 1 / math.sqrt(1.25), {"videos": 0, "prompts": 0}
    prompts = np.repeat(np.arange(60), 4)
    for seed in range(200):
        generator = np.random.default_rng(seed)

        def drawn(generator: np.random.Generator = generator) -> np.ndarray:
            own, shared = generator.normal(size=240), generator.normal(size=60)
            return math.sqrt(0.6) * shared[prompts] + math.sqrt(0.4) * own

        mos = drawn()
        scores = mos + 0.5 * drawn()
        for unit, groups in (("videos", None), ("prompts", prompts)):
            low, high = bootstrap_interval(plcc, scores, mos, samples=200, confidence=0.95, seed=seed, groups=groups)
            held[unit] += low <= truth <= high
    assert held["videos"] < 0.87 * 200
    assert 0.91 * 200 <= held["prompts"] <= 0.98 * 200
