"""SRCC and AccK of crops: cases by hand with ties, scipy, and inputs that mean nothing."""

import numpy as np
import pytest
from scipy import stats

from models.errors import NonFiniteError, ShapeError
from models.s2cnet.metrics import NoImagesError, evaluate_crops, image_acc, image_srcc


def test_acc_by_hand():
    # MOS 7..0 by index. The best 3 are 0, 1, 2. Predicted order 0, 5, 1, 2: shares 1, 1/2, 2/3, 3/4; mean 2.9166 / 4.
    mos = np.arange(7.0, -1, -1)
    scores = np.array([9.0, 7.0, 6.0, 1.0, 1.0, 8.0, 0.0, 0.0])
    assert image_acc(scores, mos, best=3) == pytest.approx((1 + 1 / 2 + 2 / 3 + 3 / 4) / 4)


def test_ties_of_mos_count_as_best():
    # The second best MOS is 4, and three candidates reach it: 0, 1, 3. Predicted 3, 2, 1, 0: 1, 1/2, 2/3, 3/4.
    mos = np.array([4.0, 5.0, 1.0, 4.0, 2.0])
    scores = np.array([1.0, 2.0, 3.0, 4.0, 0.0])
    assert image_acc(scores, mos, best=2) == pytest.approx((1 + 1 / 2 + 2 / 3 + 3 / 4) / 4)


def test_ties_of_scores_keep_the_order_of_candidates():
    # All scores equal: predicted are 0, 1, 2, 3; the best is 1 alone: 0, 1/2, 1/3, 1/4.
    mos = np.array([1.0, 5.0, 2.0, 3.0, 4.0])
    assert image_acc(np.zeros(5), mos, best=1) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_few_candidates():
    # Two candidates, both among the best five: 1 and 1.
    assert image_acc([0.0, 1.0], [3.0, 2.0], best=5) == 1.0
    assert image_acc([0.0], [3.0], best=1) == 1.0


def test_srcc_is_scipys():
    random = np.random.default_rng(0)
    scores, mos = random.standard_normal(40), random.integers(1, 6, 40).astype(float)
    assert image_srcc(scores, mos) == pytest.approx(stats.spearmanr(scores, mos).statistic)


@pytest.mark.parametrize(
    ("scores", "mos"),
    [([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]), ([1.0, 2.0], [1.0, 2.0])],
)
def test_srcc_that_is_not_defined_is_zero(scores, mos):
    assert image_srcc(scores, mos) == 0.0


def test_averages_over_images():
    up, down = np.arange(12.0), np.arange(12.0)[::-1]
    found = evaluate_crops([up, up], [up, down])
    # The first image is perfect (1, 1, 1). The second is reversed: SRCC -1. Its predicted are the indices 11,
    # 10, 9, 8, true ranks 12, 11, 10, 9: none of the best 5; of the best 10 only those of rank 10 and 9: 0,
    # 0, 1/3, 2/4.
    assert found["srcc"] == pytest.approx(0)
    assert found["acc5"] == pytest.approx(0.5)
    assert found["acc10"] == pytest.approx((1 + (1 / 3 + 2 / 4) / 4) / 2)
    assert found["n_images"] == 2


def test_errors():
    with pytest.raises(NoImagesError):
        evaluate_crops([], [])
    with pytest.raises(ShapeError, match="1 images and MOS of 2"):
        evaluate_crops([[1.0]], [[1.0], [2.0]])
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        evaluate_crops([np.zeros(3)], [np.zeros((3, 1))])
    with pytest.raises(NonFiniteError, match="scores"):
        evaluate_crops([[1.0, np.nan]], [[1.0, 2.0]])
