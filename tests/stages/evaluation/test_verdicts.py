"""One metric against its baseline: what passes, what fails, and where the tolerance alone decides."""

import math

import numpy as np
import pytest

from stages.evaluation.verdicts import RULES, Rule, Verdict, comparable, judge, rules_with, smallest_fall


def one(key: str, now: dict, baseline: dict, interval: tuple[float, float] | None = None) -> Verdict:
    (found,) = [verdict for verdict in judge(now, baseline, RULES, lambda _: interval) if verdict.key == key]
    return found


@pytest.mark.parametrize(
    ("now", "interval", "passes", "text", "alone"),
    [
        (0.85, (-0.09, -0.01), False, "regression", False),
        (0.85, (-0.09, 0.01), True, "worse, within noise", False),
        (0.85, None, False, "regression", True),
        (0.895, None, True, "worse, within tolerance", True),
        (0.895, (-0.02, 0.01), True, "worse, within tolerance", False),
        (0.9, (-0.02, 0.01), True, "same", False),
        (0.905, None, True, "better, within tolerance", True),
        (0.92, None, True, "better", True),
        (0.92, (-0.01, 0.05), True, "better, within noise", False),
        (0.92, (0.0, 0.05), True, "better, within noise", False),
        (0.905, (0.001, 0.01), True, "better", False),
    ],
)
def test_a_drop_fails_and_a_gain_is_one_unless_the_interval_holds_zero(now, interval, passes, text, alone) -> None:
    found = one("rank1", {"rank1": now}, {"rank1": 0.9}, interval)
    assert (found.passes, found.text, found.alone, found.interval) == (passes, text, alone, interval)


def test_lower_is_better_for_errors() -> None:
    # The change of an error is read the other way round: here from 9.0 to 8.0 points.
    assert one("rmse", {"rmse": 8.0}, {"rmse": 9.0}, (-1.5, -0.5)).text == "better"
    assert one("rmse", {"rmse": 8.0}, {"rmse": 9.0}, (-1.5, 0.5)).text == "better, within noise"
    assert one("rmse", {"rmse": 9.0}, {"rmse": 8.0}, (-0.5, 1.5)).text == "worse, within noise"
    assert not one("rmse", {"rmse": 9.0}, {"rmse": 8.0}, (0.5, 1.5)).passes


def test_the_logistic_fit_is_shown_and_fails_no_run() -> None:
    now, before = {"plcc_logistic": 0.5, "logistic_converged": 0}, {"plcc_logistic": 0.9, "logistic_converged": 1}
    for verdict in judge(now, before, RULES, lambda key: pytest.fail(f"asked for {key}")):
        if verdict.key != "n_failed":
            assert (verdict.passes, verdict.text) == (True, "not judged")
    assert not comparable(before, RULES)


def test_a_costly_interval_is_asked_for_beyond_the_tolerance_alone() -> None:
    asked = []
    rules = rules_with({"plcc_logistic": 0.01}, {}, {"plcc_logistic": "higher"})

    def interval_of(key: str) -> tuple[float, float]:
        asked.append(key)
        return -0.2, 0.1

    for now, expected in ((0.9, []), (0.895, []), (0.905, []), (0.8, ["plcc_logistic"])):
        (found,) = [
            verdict
            for verdict in judge({"plcc_logistic": now}, {"plcc_logistic": 0.9}, rules, interval_of)
            if verdict.key == "plcc_logistic"
        ]
        assert (asked, found.passes, found.alone) == (expected, True, False)


def test_failed_videos_and_counts_are_not_a_matter_of_intervals() -> None:
    counts = {"n_expected": 80, "n_failed": 0}
    verdicts = judge(counts, counts, RULES, lambda key: pytest.fail(f"asked for {key}"))
    assert [(verdict.key, verdict.text, verdict.alone) for verdict in verdicts] == [
        ("n_failed", "none", False), ("n_expected", "same", False),
    ]  # fmt: skip
    assert one("n_expected", {"n_expected": 80}, {"n_expected": 79}).text == "another number of test videos"
    assert not one("n_expected", {"n_expected": 80}, {"n_expected": 79}).passes
    assert one("n_expected", {"n_expected": 80}, {}).passes


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "0.9", True])
def test_a_baseline_that_is_no_finite_number_fails(value: object) -> None:
    found = one("srocc", {"srocc": 0.9}, {"srocc": value})
    assert not found.passes
    assert found.text == f"the baseline is not a finite number: {value}"
    assert one("srocc", {"srocc": 0.9}, {}).text == "new"


def test_a_baseline_is_comparable_by_the_metrics_that_are_judged_against_it() -> None:
    assert comparable({"rmse": math.nan}, RULES)
    assert not comparable({"n_failed": 0, "n_expected": 80, "mine": 1.0}, RULES)
    assert comparable({"mine": 1.0}, rules_with({}, {}, {"mine": "higher"}))


def test_the_smallest_fall_by_hand() -> None:
    # 95 %: 1.960 standard errors to the bound, 0.842 more for 8 of 10: 2.802 * 0.01.
    assert smallest_fall(Rule("higher", 0.01), 0.01, confidence=0.95) == pytest.approx(0.02802, abs=1e-5)
    # The tolerance is the wider bound: 0.05 + 0.842 * 0.01.
    assert smallest_fall(Rule("higher", 0.05), 0.01, confidence=0.95) == pytest.approx(0.05842, abs=1e-5)


def test_the_gate_fails_eight_of_ten_falls_of_the_smallest_size() -> None:
    """Changes scatter around the true fall by one standard error: 400 draws, of which 320 +- 8 are expected."""
    error, generator = 0.02, np.random.default_rng(0)
    fall = smallest_fall(RULES["srocc"], error, confidence=0.95)
    failed = 0
    for change in generator.normal(-fall, error, 400):
        interval = change - 1.96 * error, change + 1.96 * error
        failed += not one("srocc", {"srocc": 0.9 + change}, {"srocc": 0.9}, interval).passes
    assert 296 <= failed <= 344
