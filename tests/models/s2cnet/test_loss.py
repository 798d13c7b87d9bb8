"""The cropper's loss: numbers by hand, slow loops, cases without pairs."""

import math

import pytest
import torch

from models.errors import ShapeError
from models.s2cnet.loss import crop_loss, pairwise_ranking, weighted_smooth_l1


def test_regression_by_hand():
    # Errors 0.5 and 2: smooth L1 0.125 and 1.5. Targets ln 3 and -1: weights 3 and 1. (0.375 + 1.5) / 4 = 0.46875.
    targets = torch.tensor([math.log(3), -1.0])
    scores = targets + torch.tensor([0.5, -2.0])
    assert weighted_smooth_l1(scores, targets).item() == pytest.approx(0.46875)
    # A crop far above the average: weight 20 beside 1. (20 * 0.125 + 1.5) / 21.
    targets = torch.tensor([math.log(20), -1.0])
    scores = targets + torch.tensor([0.5, -2.0])
    assert weighted_smooth_l1(scores, targets).item() == pytest.approx(4 / 21)


def test_ranking_by_hand():
    # Pairs by MOS: (2, 1): wanted 1, found 0.5 -> 0.5. (2, 0): wanted 2, found 3 -> 0. (1, 0): wanted 1,
    # found 2.5 -> 0. The mean of three: 1 / 6.
    found = pairwise_ranking(torch.tensor([3.0, 2.5, 0.0]), torch.tensor([2.0, 1.0, 0.0]))
    assert found.item() == pytest.approx(1 / 6)


def test_ranking_against_a_slow_loop():
    generator = torch.Generator().manual_seed(0)
    scores, targets = (
        torch.randn(12, generator=generator),
        torch.randn(12, generator=generator).round(decimals=0),
    )
    losses = []
    for i in range(12):
        for j in range(12):
            if targets[i] > targets[j]:
                losses.append(max(0.0, float((targets[i] - targets[j]) - (scores[i] - scores[j]))))
    assert len(losses) < 66  # the rounding made ties
    assert pairwise_ranking(scores, targets).item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_perfect_scores_cost_nothing():
    targets = torch.tensor([0.3, -1.0, 2.0])
    loss = crop_loss([targets, targets[:1]], [targets, targets[:1]], rank_weight=1.0)
    assert loss.total.item() == loss.regression.item() == loss.ranking.item() == 0


def test_a_shift_costs_regression_alone():
    targets = torch.tensor([0.3, -1.0, 2.0])
    loss = crop_loss([targets + 0.2], [targets], rank_weight=1.0)
    assert loss.ranking.item() == pytest.approx(0, abs=1e-6)
    assert loss.regression.item() == pytest.approx(0.02, rel=1e-4)  # 0.2^2 / 2


def test_the_total_is_weighted_and_images_count_alike():
    first, second = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0, 2.0, 3.0])
    both = crop_loss([first * 0, second * 0], [first, second], rank_weight=0.5)
    alone = [crop_loss([each * 0], [each], rank_weight=0.5) for each in (first, second)]
    torch.testing.assert_close(both.total, (alone[0].total + alone[1].total) / 2)
    torch.testing.assert_close(both.total, both.regression + 0.5 * both.ranking)


def test_without_pairs_the_gradient_is_finite():
    scores = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = crop_loss([scores, scores[:1]], [torch.zeros(2), torch.zeros(1)], rank_weight=1.0)
    loss.total.backward()
    assert loss.ranking.item() == 0
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize(
    ("scores", "targets"),
    [
        ([torch.zeros(3)], [torch.zeros(3, 1)]),
        ([torch.zeros(0)], [torch.zeros(0)]),
        ([torch.zeros(2)], []),
        ([], []),
    ],
)
def test_ambiguous_shapes_are_refused(scores, targets):
    with pytest.raises(ShapeError):
        crop_loss(scores, targets, rank_weight=1.0)
