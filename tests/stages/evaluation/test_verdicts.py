"""One metric against its baseline: what passes, what fails, and where the tolerance alone decides."""

import math

import pytest

from stages.evaluation.verdicts import RULES, Verdict, comparable, judge, rules_with


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
        (0.91, None, True, "better", True),
    ],
)
def test_a_drop_fails_unless_its_interval_holds_zero(now, interval, passes, text, alone) -> None:
    found = one("rank1", {"rank1": now}, {"rank1": 0.9}, interval)
    assert (found.passes, found.text, found.alone, found.interval) == (passes, text, alone, interval)


def test_a_costly_interval_is_asked_for_after_a_drop_alone() -> None:
    asked = []

    def interval_of(key: str) -> tuple[float, float]:
        asked.append(key)
        return -0.2, 0.1

    for now, expected in ((0.9, []), (0.895, []), (0.8, ["plcc_logistic"])):
        (found,) = [
            verdict
            for verdict in judge({"plcc_logistic": now}, {"plcc_logistic": 0.9}, RULES, interval_of)
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
