"""The losses of the FAST family against golden values, numbers by hand and their own symmetries."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from models.errors import ShapeError
from models.methods.fast_vqa.losses import OneVideoError, fragment_loss, plcc_loss, rank_loss
from tests.models.methods.fast_vqa.golden import GOLDEN


def golden_pair(seed: int, count: int) -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(seed)
    pair = [torch.from_numpy(random.standard_normal((count, 1)).astype(np.float32)[:, 0]) for _ in range(2)]
    return pair[0].requires_grad_(), pair[1]


@pytest.mark.parametrize("case", GOLDEN["losses"])
def test_golden_values_and_gradients(case):
    scores, mos = golden_pair(case["seed"], case["n"])
    terms = fragment_loss(scores, mos, rank_weight=0.3)
    found = [terms.plcc.item(), terms.rank.item(), terms.total.item()]
    assert found == pytest.approx([case["plcc"], case["rank"], case["total"]], abs=1e-5)
    terms.total.backward()
    assert scores.grad is not None
    assert scores.grad[:4].tolist() == pytest.approx(case["grad_of_total_first4"], abs=1e-5)


def test_the_correlation_loss_by_hand():
    # (1, 2, 3) and (1, 3, 2): rho = 1/2, so (1 - 1/2) / 4 + (1 - 1/4) / 8 = 0.125 + 0.09375.
    scores, mos = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 30.0, 20.0])
    assert plcc_loss(scores, mos).item() == pytest.approx(0.21875, abs=1e-6)
    # rho = 1 and -1: 0, and 2 / 4.
    assert plcc_loss(scores, 5 * scores + 7).item() == pytest.approx(0, abs=1e-6)
    assert plcc_loss(scores, -scores).item() == pytest.approx(0.5, abs=1e-6)
    # Equal scores: rho = 0, so 1 / 4 * (1 + 1) / 2.
    assert plcc_loss(torch.ones(3), mos).item() == pytest.approx(0.25, abs=1e-6)


def test_the_rank_loss_by_hand():
    # p = (1, 4, 2), y = (3, 1, 2). All pairs are in the wrong order, by 3, 1 and 2, each seen from both sides:
    # sum 12, over 3 * 2 pairs, over 1 + the largest, 3: 12 / 6 / 4.
    scores, mos = torch.tensor([1.0, 4.0, 2.0]), torch.tensor([3.0, 1.0, 2.0])
    assert rank_loss(scores, mos).item() == pytest.approx(0.5, abs=1e-6)
    assert rank_loss(scores, -mos).item() == 0
    # Equal MOS have no order.
    assert rank_loss(scores, torch.ones(3)).item() == 0


def test_the_gradient_goes_through_the_maximum():
    scores = torch.tensor([0.0, 1.0], requires_grad=True)
    rank_loss(scores, torch.tensor([1.0, 0.0])).backward()
    # d of both sides: L = 2 d / 2 / (1 + d) with d = p_1 - p_0 = 1: L' = 1 / (1 + d)^2 = 1/4; a constant maximum
    # would give 1 / (1 + d) = 1/2.
    assert scores.grad is not None
    assert scores.grad.tolist() == pytest.approx([-0.25, 0.25], abs=1e-6)


def test_the_scale_of_the_mos_leaves_the_loss():
    scores, mos = golden_pair(3, 8)
    first = fragment_loss(scores, mos, rank_weight=0.3)
    other = fragment_loss(scores, 20 * mos + 50, rank_weight=0.3)
    assert other.total.item() == pytest.approx(first.total.item(), abs=1e-6)
    assert first.total.item() == pytest.approx(first.plcc.item() + 0.3 * first.rank.item(), abs=1e-6)


def test_half_precision_scores_and_autocast():
    scores, mos = golden_pair(5, 8)
    expected = fragment_loss(scores.bfloat16().float(), mos, rank_weight=0.3).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = fragment_loss(scores.bfloat16(), mos, rank_weight=0.3).total
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("loss", [plcc_loss, rank_loss])
def test_one_video_is_refused(loss):
    with pytest.raises(OneVideoError, match=r"a batch of 1 video .* at least 2 videos a batch"):
        loss(torch.zeros(1), torch.zeros(1))


@pytest.mark.parametrize("loss", [plcc_loss, rank_loss])
@pytest.mark.parametrize(
    ("scores", "mos"),
    [
        (torch.zeros(3, 1), torch.zeros(3)),
        (torch.zeros(3, 1), torch.zeros(3, 1)),
        (torch.zeros(3), torch.zeros(4)),
        (torch.zeros(0), torch.zeros(0)),
        (torch.zeros(3, dtype=torch.int64), torch.zeros(3)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(loss, scores, mos):
    with pytest.raises(ShapeError, match=r"scores have shape .* mos .*; needed: both \(B,\)"):
        loss(scores, mos)


def test_many_videos_stay_finite():
    scores = torch.zeros(4, requires_grad=True)
    terms = fragment_loss(scores, torch.arange(4.0), rank_weight=0.3)
    terms.total.backward()
    assert math.isfinite(terms.total.item())
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
