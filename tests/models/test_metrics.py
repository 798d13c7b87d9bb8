"""The metrics against SciPy, values derived by hand, published figures and their own symmetries."""

import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from models.errors import NonFiniteError, ShapeError
from models.metrics import (
    MetricOptionError,
    PairAccuracy,
    UndefinedMetricError,
    group_pair_accuracy,
    krocc,
    logistic_fit,
    metric_rows,
    ntire_score,
    paper_mean,
    plcc,
    plcc_logistic,
    rank_accuracy,
    rmse,
    srocc,
)

CORRELATIONS = [srocc, plcc, krocc]


def noisy(n: int = 200, seed: int = 0, *, noise: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    mos = generator.uniform(0.0, 100.0, n)
    return mos + generator.normal(0.0, noise, n), mos


def test_correlations_by_hand() -> None:
    scores, mos = [1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 8.0]
    # Ranks 1 2 3 4 and 1 3 2 4: 1 - 6 (0 + 1 + 1 + 0) / (4 * 15) = 0.8.
    assert srocc(scores, mos) == pytest.approx(0.8, abs=1e-12)
    # One of the 6 pairs is the wrong way round: (5 - 1) / 6.
    assert krocc(scores, mos) == pytest.approx(2.0 / 3.0, abs=1e-12)
    # Centred -1.5 -0.5 0.5 1.5 and -2.5 -0.5 -1.5 4.5: 10 / sqrt(5 * 29).
    assert plcc(scores, mos) == pytest.approx(10.0 / math.sqrt(145.0), abs=1e-12)
    # Differences 0 1 1 4: sqrt(18 / 4).
    assert rmse(scores, mos) == pytest.approx(math.sqrt(4.5), abs=1e-12)


def test_ties_by_hand() -> None:
    scores, mos = [1.0, 1.0, 2.0], [1.0, 2.0, 3.0]
    # Tau-b: of 3 pairs 2 agree, 1 is tied in scores: 2 / sqrt(2 * 3).
    assert krocc(scores, mos) == pytest.approx(2.0 / math.sqrt(6.0), abs=1e-12)
    # Ranks 1.5 1.5 3 and 1 2 3, centred -0.5 -0.5 1 and -1 0 1: 1.5 / sqrt(1.5 * 2).
    assert srocc(scores, mos) == pytest.approx(1.5 / math.sqrt(3.0), abs=1e-12)


@pytest.mark.parametrize("decimals", [8, -1])  # without ties, and with many
@pytest.mark.parametrize("n", [3, 50, 1000])
def test_correlations_equal_those_of_scipy(n: int, decimals: int) -> None:
    scores, mos = (values.round(decimals) for values in noisy(n, seed=n))
    assert srocc(scores, mos) == pytest.approx(stats.spearmanr(scores, mos).statistic, abs=1e-12)
    assert plcc(scores, mos) == pytest.approx(stats.pearsonr(scores, mos).statistic, abs=1e-12)
    assert krocc(scores, mos) == pytest.approx(stats.kendalltau(scores, mos).statistic, abs=1e-12)


@pytest.mark.parametrize("metric", CORRELATIONS)
def test_correlations_are_symmetric_and_change_sign(metric: type) -> None:
    scores, mos = noisy(60)
    assert metric(scores, mos) == pytest.approx(metric(mos, scores), abs=1e-12)
    assert metric(-scores, mos) == pytest.approx(-metric(scores, mos), abs=1e-12)
    assert metric(mos, mos) == pytest.approx(1.0, abs=1e-12)
    assert metric(mos, mos) <= 1.0


def test_rank_correlations_see_only_the_order() -> None:
    scores, mos = noisy(60)
    assert srocc(np.exp(scores / 20.0), mos) == pytest.approx(srocc(scores, mos), abs=1e-12)
    assert krocc(np.exp(scores / 20.0), mos) == pytest.approx(krocc(scores, mos), abs=1e-12)


@pytest.mark.parametrize("size", [1e-180, 1e180])
def test_plcc_does_not_depend_on_the_unit(size: float) -> None:
    scores, mos = noisy(30)
    assert plcc(scores * size, mos) == pytest.approx(plcc(scores, mos), abs=1e-12)


@pytest.mark.parametrize("metric", [*CORRELATIONS, rmse, plcc_logistic])
def test_ambiguous_shapes_are_refused_with_both(metric: type) -> None:
    scores, mos = noisy(5)
    for first, second in ((scores, mos[:, None]), (scores[:, None], mos[:, None]), (scores[:4], mos)):
        with pytest.raises(ShapeError) as caught:
            metric(first, second)
        assert str(first.shape) in str(caught.value)
        assert str(second.shape) in str(caught.value)


@pytest.mark.parametrize("metric", [*CORRELATIONS, rmse, plcc_logistic])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(metric: type, value: float) -> None:
    with pytest.raises(NonFiniteError, match=r"mos\[2\]"):
        metric([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, value, 4.0])


@pytest.mark.parametrize("metric", [*CORRELATIONS, plcc_logistic])
def test_too_few_videos_and_constant_input_are_undefined(metric: type) -> None:
    for n in (0, 1, 2):
        with pytest.raises(UndefinedMetricError, match=f"{n} videos"):
            metric(np.arange(n), np.arange(n))
    constant, varying = [0.1] * 7, range(7)  # the mean of seven times 0.1 is not 0.1 in binary
    with pytest.raises(UndefinedMetricError, match=r"scores \(0\.1\);"):
        metric(constant, varying)
    with pytest.raises(UndefinedMetricError, match=r": mos \(0\.1\);"):
        metric(varying, constant)
    with pytest.raises(UndefinedMetricError, match=r"scores \(0\.1\) and mos \(0\.1\)"):
        metric(constant, constant)


def test_rmse_of_constant_and_single_input() -> None:
    assert rmse([50.0, 50.0], [50.0, 50.0]) == 0.0
    assert rmse([40.0], [43.0]) == 3.0
    with pytest.raises(UndefinedMetricError, match="no videos"):
        rmse([], [])


def test_logistic_fit_finds_the_curve_that_made_the_data() -> None:
    x = np.linspace(-3.0, 3.0, 101)
    x /= x.std()
    mos = 10.0 + 80.0 / (1.0 + np.exp(-(x - 0.4) / 0.3))
    for scores in (x, 50.0 + 7.0 * x):  # predictions are standardised, so their unit does not matter
        fit = logistic_fit(scores, mos)
        assert fit.converged
        np.testing.assert_allclose(fit.fitted, mos, atol=1e-5)
        assert plcc_logistic(scores, mos) == pytest.approx(1.0, abs=1e-9)
        assert plcc(scores, mos) < 0.98


def test_logistic_fit_hardly_changes_what_is_linear() -> None:
    # For jointly normal scores and MOS the best curve is a line.
    generator = np.random.default_rng(0)
    mos = generator.normal(50.0, 16.6, 2000)
    scores = 20.0 + 0.5 * mos + generator.normal(0.0, 6.0, 2000)
    assert plcc_logistic(scores, mos) == pytest.approx(plcc(scores, mos), abs=2e-3)


def test_logistic_fit_mends_a_skewed_output() -> None:
    scores, mos = noisy(500, noise=8.0)
    skewed = np.exp(scores / 10.0)
    assert plcc(skewed, mos) < 0.7
    assert plcc_logistic(skewed, mos) > plcc(skewed, mos) + 0.1


def test_a_fit_that_fails_is_marked_and_falls_back() -> None:
    # Three points cannot determine four parameters. The line through (1, 2, 3), (1, 3, 2): 2 + 0.5 (x - 2).
    fit = logistic_fit([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
    assert not fit.converged
    np.testing.assert_allclose(fit.fitted, [1.5, 2.0, 2.5], atol=1e-12)
    assert plcc_logistic([3.0, 2.0, 1.0], [1.0, 3.0, 2.0]) == pytest.approx(-0.5, abs=1e-12)


def test_means_and_final_scores_of_published_tables() -> None:
    # arXiv 2409.14888, T2VQA-DB: 0.742, 0.757, 0.555, mean 0.684 from figures before rounding.
    assert paper_mean(srocc=0.742, plcc=0.757, krocc=0.555) == pytest.approx(0.684, abs=1e-3)
    assert paper_mean(0.3, 0.6, 0.9) == pytest.approx(0.6, abs=1e-12)
    # The same paper's table III, NTIRE 2024.
    first = ntire_score(srocc=0.9361, plcc=0.9359, rank1=0.7792, rank2=0.8284)
    second = ntire_score(srocc=0.9298, plcc=0.9325, rank1=0.7013, rank2=0.8284)
    assert (round(first, 4), round(second, 4)) == (0.9228, 0.9145)
    # The weights apart, since the two rank accuracies look alike in a sum.
    assert ntire_score(srocc=1.0, plcc=0.0, rank1=0.0, rank2=0.0) == 0.45
    assert ntire_score(srocc=0.0, plcc=0.0, rank1=1.0, rank2=0.0) == 0.05


def test_rank_accuracy_counts_a_draw_for_the_first() -> None:
    # Predicted: first, second, first (equal). Right, wrong, right.
    assert rank_accuracy([3.0, 1.0, 2.0], [1.0, 2.0, 2.0], [True, True, True]) == pytest.approx(2.0 / 3.0)
    assert rank_accuracy([2.0], [2.0], [False]) == 0.0


def test_pairs_within_groups_by_hand() -> None:
    mos = [1.0, 2.0, 3.0, 5.0, 4.0, 4.0]
    scores = [1.0, 3.0, 2.0, 7.0, 7.0, 1.0]
    # a: of (1, 2), (1, 3), (2, 3) the last is wrong. b: (5, 4) with scores 7, 7 is half right, (5, 4) with 7, 1 is
    # right, (4, 4) has no better one. 2 + 1.5 of 5.
    assert group_pair_accuracy(scores, mos, list("aaabbb")) == PairAccuracy(3.5 / 5, 5)
    # Order and names do not matter; groups of one add nothing.
    order = [4, 0, 3, 2, 5, 1]
    shuffled = group_pair_accuracy(
        [scores[i] for i in order], [mos[i] for i in order], [6 * "x", 1, 6 * "x", 1, 6 * "x", 1]
    )
    assert shuffled == PairAccuracy(3.5 / 5, 5)
    assert group_pair_accuracy([*scores, 0.0], [*mos, 9.0], list("aaabbbc")) == PairAccuracy(3.5 / 5, 5)


def test_pairs_of_one_group_are_kendalls() -> None:
    scores, mos = noisy(60)
    # Without ties tau = (right - wrong) / pairs, so right / pairs = (tau + 1) / 2.
    found = group_pair_accuracy(scores, mos, ["one"] * 60)
    assert found.n_pairs == 60 * 59 // 2
    assert found.accuracy == pytest.approx((stats.kendalltau(scores, mos).statistic + 1) / 2, abs=1e-12)
    assert group_pair_accuracy(np.zeros(60), mos, ["one"] * 60).accuracy == 0.5


def test_knowing_the_prompt_alone_is_chance_within_prompts() -> None:
    """A model that knows only how hard a prompt is: SROCC is high over all videos, and nothing is told within one."""
    generator = np.random.default_rng(0)
    prompts = np.repeat(np.arange(40), 10)
    level = generator.uniform(0, 100, 40)[prompts]
    mos, scores = level + generator.normal(0, 10, 400), level + generator.normal(0, 1, 400)
    assert srocc(scores, mos) > 0.9
    # 40 prompts of 45 pairs: the share of right ones has a standard deviation of about 0.02.
    assert group_pair_accuracy(scores, mos, prompts.tolist()).accuracy == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("mos", "groups"), [([], []), ([5.0], ["a"]), ([1.0, 2.0], ["a", "b"]), ([3.0, 3.0], ["a", "a"])]
)
def test_no_pair_within_groups_is_undefined(mos: list[float], groups: list[str]) -> None:
    with pytest.raises(UndefinedMetricError, match=f"no two of {len(mos)} videos"):
        group_pair_accuracy(mos, mos, groups)


def test_groups_need_a_name_a_video() -> None:
    with pytest.raises(ShapeError, match=r"groups has 1 names and scores shape \(2,\)"):
        group_pair_accuracy([1.0, 2.0], [1.0, 2.0], ["a"])
    with pytest.raises(NonFiniteError, match=r"mos\[1\]"):
        group_pair_accuracy([1.0, 2.0], [1.0, math.nan], ["a", "a"])


def test_rank_accuracy_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(ShapeError, match=r"first_is_better has shape \(1,\)"):
        rank_accuracy([1.0, 2.0], [2.0, 1.0], [True])
    with pytest.raises(ShapeError, match="second_scores"):
        rank_accuracy([1.0], [2.0, 1.0], [True])
    with pytest.raises(MetricOptionError, match="needed: bool"):
        rank_accuracy([1.0], [2.0], [2])
    with pytest.raises(UndefinedMetricError, match="no pairs"):
        rank_accuracy([], [], np.zeros(0, dtype=bool))


@pytest.mark.parametrize(("seed", "n"), [(30, 20), (32, 40), (73, 20), (301, 20)])
def test_logistic_fit_of_noise_begins_anew_where_the_first_start_leads_nowhere(seed: int, n: int) -> None:
    """Four sets from which one start (a width of 0.5) finds no minimum; scipy's own fit is the reference."""
    generator = np.random.default_rng(seed)
    mos, scores = generator.uniform(10, 90, n), generator.normal(size=n)
    x = (scores - scores.mean()) / scores.std()

    def curve(x: np.ndarray, upper: float, lower: float, centre: float, width: float) -> np.ndarray:
        return lower + (upper - lower) * special.expit((x - centre) / width)

    parameters, _ = optimize.curve_fit(curve, x, mos, p0=(mos.max(), mos.min(), 0.0, 2.0), maxfev=20000)
    fit = logistic_fit(scores, mos)
    assert fit.converged
    assert rmse(fit.fitted, mos) == pytest.approx(rmse(curve(x, *parameters), mos), rel=1e-3)


@pytest.mark.parametrize("n", [3, 40, 300])  # 300: beyond the size that compares all pairs
def test_kendall_by_rows_equals_that_of_scipy(n: int) -> None:
    scores, mos = (
        np.random.default_rng(seed).normal(0, 3, (20, n)).round(decimals)
        for seed, decimals in ((0, 0), (1, 8))  # with ties, and without
    )
    scores[7] = 1.0  # constant: no correlation
    found = metric_rows(krocc, scores, mos)
    expected = [stats.kendalltau(x, y).statistic for x, y in zip(scores, mos, strict=True)]
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert np.isnan(found[7])
