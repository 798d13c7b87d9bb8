"""Two sides on the same prompts: numbers by hand, and how often chance is taken for a difference."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.resampling import sign_flip_p_value
from stages.errors import EvaluationError
from stages.evaluation.versus import by_prompt, duel, duels, largest, mean_interval, prompts_needed, ranking

SETTINGS: dict[str, Any] = {"samples": 2000, "confidence": 0.95, "seed": 0}


def scores(**sides: list[float]) -> pd.DataFrame:
    """A video of each side for prompts p0, p1, ..."""
    rows = [(name, f"p{place}", value) for name, values in sides.items() for place, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["side", "prompt", "score"])


def test_videos_of_one_prompt_count_once() -> None:
    videos = pd.DataFrame(
        [("b", "x", 10.0), ("b", "x", 30.0), ("a", "x", 50.0), ("a", "y", 40.0)], columns=["side", "prompt", "score"]
    )
    table = by_prompt(videos)
    assert list(table.columns) == ["b", "a"]
    assert table.loc["x"].tolist() == [20.0, 50.0]
    assert np.isnan(table.loc["y", "b"])


def test_numbers_by_hand() -> None:
    # Differences 4, 2, 0, 6: mean 3; three wins and a draw of four.
    found = duel(by_prompt(scores(a=[14, 12, 10, 16], b=[10, 10, 10, 10])), "a", "b", **SETTINGS)
    assert (found.n_prompts, found.difference, found.win_rate) == (4, 3.0, 0.875)
    # Of the 16 ways to choose signs, those with a sum of 12 or -12 are as far: the 0 has either sign, 4 of 16.
    assert found.p_value == 4 / 16
    assert 0 <= found.low < 3 < found.high <= 6
    assert not found.is_told_apart(0.95)
    # Deviation of 4, 2, 0, 6 is sqrt(20 / 3) = 2.582: ((1.960 + 0.842) * 2.582 / 3)^2 = 5.81.
    assert found.n_needed == 6


def test_a_side_against_itself_and_the_two_turned_round() -> None:
    table = by_prompt(scores(a=[1, 5, 2, 9, 4], b=[2, 3, 4, 4, 1], c=[1, 5, 2, 9, 4]))
    same = duel(table, "a", "c", **SETTINGS)
    assert (same.difference, same.low, same.high, same.p_value, same.win_rate) == (0, 0, 0, 1, 0.5)
    assert same.n_needed is None
    there, back = duel(table, "a", "b", **SETTINGS), duel(table, "b", "a", **SETTINGS)
    assert there.difference == pytest.approx(-back.difference)
    assert there.p_value == back.p_value
    assert there.win_rate == pytest.approx(1 - back.win_rate)


def test_prompts_of_one_side_alone_are_left_out() -> None:
    table = by_prompt(scores(a=[1, 2, 3, 4, 90], b=[1, 2, 3, 4]))
    assert duel(table, "a", "b", **SETTINGS).difference == 0
    with pytest.raises(EvaluationError, match=r"2 prompts are common to a, b \(a has 5, b has 2\)"):
        duel(by_prompt(scores(a=[1, 2, 3, 4, 90], b=[1, 2])), "a", "b", **SETTINGS)


def test_signs_are_drawn_where_there_are_too_many() -> None:
    """Against all ways to choose them: the share is known to within three of its standard errors."""
    values = np.random.default_rng(3).normal(0.4, 1, 12)
    exact, drawn = sign_flip_p_value(values, samples=2**12, seed=0), sign_flip_p_value(values, samples=4000, seed=0)
    assert 0.01 < exact < 0.9
    assert abs(drawn - exact) < 3 * np.sqrt(exact * (1 - exact) / 4000) + 1 / 4000


def test_chance_is_taken_for_a_difference_as_rarely_as_said() -> None:
    """Of 400 comparisons of equals, 5 % are p <= 0.05: 20, give or take three times 4.4."""
    rng = np.random.default_rng(0)
    found = [sign_flip_p_value(rng.standard_t(4, 20), samples=999, seed=seed) for seed in range(400)]
    assert 7 <= sum(p <= 0.05 for p in found) <= 33


def test_the_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    low, high = mean_interval(values, samples=4000, confidence=0.95, seed=0)
    error = values.std(ddof=1) / 20
    np.testing.assert_allclose([low, high], values.mean() + 1.96 * error * np.array([-1, 1]), atol=0.25 * error)


def test_with_as_many_prompts_as_needed_four_of_five_comparisons_find_the_difference() -> None:
    rng = np.random.default_rng(2)
    n = prompts_needed(rng.normal(0.5, 1, 100_000), confidence=0.95)
    # ((1.960 + 0.842) / 0.5)^2 = 31.4.
    assert n in (31, 32)
    found = [sign_flip_p_value(rng.normal(0.5, 1, n), samples=499, seed=seed) <= 0.05 for seed in range(300)]
    assert 0.72 < np.mean(found) < 0.87


def test_many_sides_are_ranked_on_the_prompts_of_all() -> None:
    table = by_prompt(scores(a=[10, 20, 30], b=[20, 30, 40, 99], c=[0, 10, 20]))
    rows = ranking(table, **SETTINGS)
    assert [(row.name, row.mean, row.n_prompts) for row in rows] == [("b", 30, 3), ("a", 20, 3), ("c", 10, 3)]
    assert all(row.low <= row.mean <= row.high for row in rows)
    # Three differences of one sign: 2 of 8 ways. Of three pairs the smallest p counts three times, and none less.
    assert [each.p_value for each in duels(table, **SETTINGS)] == [0.75, 0.75, 0.75]


def test_the_prompts_that_differ_most_come_first() -> None:
    rows = largest(by_prompt(scores(a=[10, 50, 30], b=[20, 20, 29])), "a", "b", shown=2)
    assert rows["prompt"].tolist() == ["p1", "p0"]
    assert rows["difference"].tolist() == [30.0, -10.0]
