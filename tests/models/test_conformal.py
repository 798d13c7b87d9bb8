"""Split-conformal intervals: the quantile by hand, its coverage by simulation, and what is refused."""

import math

import numpy as np
import pytest

from models.conformal import ConformalError, conformal_quantile
from models.errors import ShapeError


def test_the_quantile_by_hand() -> None:
    # Ratios 1, 2, 3, 4 (of 2/2, -4/2, 3/1, -8/2). Of five places, 80 % is the fourth; 60 % the third.
    errors, deviations = [2.0, -4.0, 3.0, -8.0], [2.0, 2.0, 1.0, 2.0]
    assert conformal_quantile(errors, deviations, confidence=0.8) == 4.0
    assert conformal_quantile(errors, deviations, confidence=0.6) == 3.0
    # 90 % would be the fifth place, which the new video itself takes: no interval is sure enough.
    assert math.isinf(conformal_quantile(errors, deviations, confidence=0.9))


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9])
def test_new_videos_are_held_as_often_as_promised(confidence: float) -> None:
    """Whatever the errors' distribution and however wrong the stated deviations: on average over draws exactly so."""
    random = np.random.default_rng(5)
    n, draws = 39, 4000
    stated = random.uniform(0.5, 3.0, (draws, n + 1))
    errors = random.standard_t(3, (draws, n + 1)) * stated**2
    held = [
        abs(errors[draw, n])
        <= conformal_quantile(errors[draw, :n], stated[draw, :n], confidence=confidence) * stated[draw, n]
        for draw in range(draws)
    ]
    # Of 40 exchangeable places, ceil(40 confidence) are inside. Three standard errors of 4,000 draws.
    assert np.mean(held) == pytest.approx(confidence, abs=3 * math.sqrt(confidence * (1 - confidence) / draws))


@pytest.mark.parametrize(
    ("errors", "deviations", "confidence", "words"),
    [
        ([1.0, math.nan], [1.0, 1.0], 0.9, "an error is NaN"),
        ([1.0, 2.0], [1.0, 0.0], 0.9, "a deviation is not above 0"),
        ([1.0, 2.0], [1.0, 1.0], 1.0, "the confidence is 1.0; allowed: between 0 and 1"),
    ],
)
def test_what_gives_no_interval_is_refused(
    errors: list[float], deviations: list[float], confidence: float, words: str
) -> None:
    with pytest.raises(ConformalError, match=words):
        conformal_quantile(errors, deviations, confidence=confidence)


@pytest.mark.parametrize(("errors", "deviations"), [([1.0], [1.0, 2.0]), ([], []), ([[1.0]], [[1.0]])])
def test_other_shapes_are_refused(errors: list[float], deviations: list[float]) -> None:
    with pytest.raises(ShapeError, match="errors have shape"):
        conformal_quantile(errors, deviations, confidence=0.9)
