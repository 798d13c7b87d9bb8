"""The losses against numbers derived by hand, a slow loop, and their own symmetries."""

import math
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from models.errors import NonFiniteError, ShapeError
from models.methods.frame_consistency.losses import (
    SIGMA_MIN,
    LossInputError,
    bce_loss,
    frame_consistency_loss,
    frame_scores,
    mae_loss,
    video_terms,
)

SIGMA = 10.0


def constant_logits(*values: float, frames: int = 2) -> Tensor:
    """(B, frames, 100) float64: one video a value, all of its logits equal to it."""
    return torch.tensor(values, dtype=torch.float64)[:, None, None].expand(-1, frames, 100).clone()


def one_level_logits(*levels: int) -> Tensor:
    """(1, F, 100) float32: one frame a level, with nearly all probability on it."""
    logits = torch.full((1, len(levels), 100), -100.0)
    for frame, level in enumerate(levels):
        logits[0, frame, level] = 100.0
    return logits


def random_case(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3.0 * torch.randn(3, 4, 100, generator=generator, dtype=torch.float64)
    return logits, torch.tensor([12.0, 55.5, 93.0], dtype=torch.float64)


def test_frame_scores_of_equal_and_of_two_levels() -> None:
    logits = torch.full((1, 2, 100), -200.0, dtype=torch.float64)
    logits[0, 0, 20] = 0.0  # p = 1/2
    logits[0, 0, 80] = math.log(3.0)  # p = 3/4
    logits[0, 1] = 0.0
    # Frame 0: (20/2 + 80 * 3/4) / (100 * 5/4) = 70 / 125 = 0.56. Frame 1: mean of 0..99 = 49.5, so 0.495.
    torch.testing.assert_close(
        frame_scores(logits), torch.tensor([[0.56, 0.495]], dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_frame_scores_reach_exactly_the_ends_of_their_range() -> None:
    torch.testing.assert_close(frame_scores(one_level_logits(0, 99)), torch.tensor([[0.0, 0.99]]), rtol=0, atol=1e-7)
    logits = 100.0 * torch.sign(torch.randn(50, 8, 100, generator=torch.Generator().manual_seed(1)))
    scores = frame_scores(logits)
    assert scores.min() >= 0
    assert scores.max() <= 0.99


def test_mae_is_of_the_mean_frame_score() -> None:
    logits = torch.full((2, 2, 100), -200.0, dtype=torch.float64)
    logits[:, 0, 20], logits[:, 0, 80], logits[:, 1] = 0.0, math.log(3.0), 0.0
    # Mean of 0.56 and 0.495 is 0.5275: |0.5275 - 0.40| = 0.1275, |0.5275 - 0.90| = 0.3725; mean 0.25.
    mos = torch.tensor([40.0, 90.0], dtype=torch.float64)
    assert mae_loss(logits, mos).item() == pytest.approx(0.25, abs=1e-12)
    assert video_terms(logits, mos, SIGMA).mae.tolist() == pytest.approx([0.1275, 0.3725], abs=1e-12)


def test_bce_of_equal_logits() -> None:
    mos = torch.tensor([50.0], dtype=torch.float64)
    # x = 0: -d log(1/2) - (1 - d) log(1/2) = log 2 whatever d is.
    assert bce_loss(constant_logits(0.0), mos, SIGMA).item() == pytest.approx(math.log(2.0), abs=1e-12)
    # x = 2: log(1 + e^2) - 2 d a bin; the density around 50 with sigma 10 sums to 1 over 0..99 but for tails
    # beyond 5 sigma (6e-7), so mean d = 0.01 and BCE = 2.126928 - 0.02.
    assert bce_loss(constant_logits(2.0), mos, SIGMA).item() == pytest.approx(2.106928, abs=1e-6)


def test_bce_target_is_the_normal_density_at_each_level() -> None:
    logits = constant_logits(0.0).requires_grad_()
    bce_loss(logits, torch.tensor([50.0]), SIGMA).backward()
    assert logits.grad is not None
    # d BCE / d x = (sigmoid(x) - d) / (F 100) = (1/2 - d) / 200. Normal density over sigma 10: 0.03989423 at
    # the mean, 0.02419707 one sigma away.
    density = 0.5 - 200.0 * logits.grad[0, 1]
    assert density[[50, 40, 60]].tolist() == pytest.approx([0.03989423, 0.02419707, 0.02419707], abs=1e-8)


def test_fcl_multiplies_a_video_or_the_batch() -> None:
    logits = constant_logits(0.0, 2.0)
    mos = torch.tensor([9.5, 50.0], dtype=torch.float64)
    # Both videos score 0.495: MAE 0.4 and 0.005. BCE log 2 = 0.693147 and 2.106928 (above).
    # video: (0.4 * 0.693147 + 0.005 * 2.106928) / 2 = (0.2772589 + 0.0105346) / 2 = 0.1438968
    # batch: 0.2025 * (0.693147 + 2.106928) / 2 = 0.2025 * 1.4000376 = 0.2835076
    assert frame_consistency_loss(logits, mos, SIGMA).item() == pytest.approx(0.1438968, abs=1e-6)
    batch = frame_consistency_loss(logits, mos, SIGMA, reduction="batch")
    assert batch.item() == pytest.approx(0.2835076, abs=1e-6)


def test_video_reduction_is_the_mean_of_the_videos_alone() -> None:
    logits, mos = random_case()
    alone = [frame_consistency_loss(logits[i : i + 1], mos[i : i + 1], SIGMA).item() for i in range(3)]
    assert frame_consistency_loss(logits, mos, SIGMA).item() == pytest.approx(sum(alone) / 3, rel=1e-12)


def test_all_losses_equal_a_slow_loop() -> None:
    logits, mos = random_case()
    maes, bces = [], []
    for video, target in zip(logits.tolist(), mos.tolist(), strict=True):
        scores, entropies = [], []
        for frame in video:
            p = [1.0 / (1.0 + math.exp(-x)) for x in frame]
            d = [
                math.exp(-((i - target) ** 2) / (2 * SIGMA**2)) / math.sqrt(2 * math.pi * SIGMA**2) for i in range(100)
            ]
            scores.append(sum(p[i] * i for i in range(100)) / (100 * sum(p)))
            entropies += [-d[i] * math.log(p[i]) - (1 - d[i]) * math.log(1 - p[i]) for i in range(100)]
        maes.append(abs(sum(scores) / len(scores) - target / 100))
        bces.append(sum(entropies) / len(entropies))
    # The loop sums in another order: 1e-12 is rounding of float64.
    assert mae_loss(logits, mos).item() == pytest.approx(sum(maes) / 3, rel=1e-12)
    assert bce_loss(logits, mos, SIGMA).item() == pytest.approx(sum(bces) / 3, rel=1e-12)
    products = [mae * bce for mae, bce in zip(maes, bces, strict=True)]
    assert frame_consistency_loss(logits, mos, SIGMA).item() == pytest.approx(sum(products) / 3, rel=1e-12)


def test_example_of_the_paper_same_fcl_different_bce() -> None:
    mos = torch.tensor([2.0])
    spread, steady = one_level_logits(1, 2, 3), one_level_logits(2, 2, 2)
    # Both have mean level 2, the target: MAE 0, so FCL 0 (to float32 rounding of 0.02, times a BCE of about
    # 1).
    for logits in (spread, steady):
        assert frame_consistency_loss(logits, mos, SIGMA).item() == pytest.approx(0.0, abs=1e-8)
    # A frame's BCE sums softplus(x) - d x. The +100 (else -100) at level i takes 200 d(i) off the sum, so
    # over 300 bins the two differ by 200 (3 d(2) - d(1) - d(2) - d(3)) / 300 = (4 / 3) (d(2) - d(1)), where
    # d(2) = 0.03989423, the density at the mean, and d(1) = d(3) = d(2) exp(-1 / 200).
    difference = 4.0 / 3.0 * 0.03989423 * (1.0 - math.exp(-1.0 / 200.0))
    found = bce_loss(spread, mos, SIGMA) - bce_loss(steady, mos, SIGMA)
    assert found.item() == pytest.approx(difference, rel=1e-2)  # float32 differences of numbers near 1


def test_order_of_frames_changes_nothing() -> None:
    logits, mos = random_case()
    shuffled = logits[:, [2, 0, 3, 1]]
    reductions: tuple[Literal["video", "batch"], ...] = ("video", "batch")
    for reduction in reductions:
        expected = frame_consistency_loss(logits, mos, SIGMA, reduction=reduction)
        found = frame_consistency_loss(shuffled, mos, SIGMA, reduction=reduction)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_gradients_are_those_of_the_values() -> None:
    logits, mos = random_case()
    logits = logits[:2, :2].requires_grad_()
    mos = mos[:2]
    assert torch.autograd.gradcheck(lambda x: mae_loss(x, mos), logits, fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: bce_loss(x, mos, SIGMA), logits, fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: frame_consistency_loss(x, mos, SIGMA), logits, fast_mode=True)


@pytest.mark.parametrize("value", [-100.0, 100.0])
def test_extreme_float32_logits_stay_finite(value: float) -> None:
    logits = torch.full((2, 3, 100), value, requires_grad=True)
    mos = torch.tensor([0.0, 100.0])
    # Equal logits score 0.495, although every float32 sigmoid of -100 is below the smallest normal number.
    torch.testing.assert_close(frame_scores(logits), torch.full((2, 3), 0.495), rtol=0, atol=1e-6)
    loss = frame_consistency_loss(logits, mos, SIGMA)
    loss.backward()
    assert logits.grad is not None
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    assert logits.grad.any()


def test_mixed_extreme_logits_have_finite_gradients() -> None:
    logits = one_level_logits(0, 50, 99).requires_grad_()
    loss = frame_consistency_loss(logits, torch.tensor([70.0]), SIGMA)
    loss.backward()
    assert logits.grad is not None
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_inside_autocast_the_losses_are_those_of_float32() -> None:
    logits, mos = random_case()
    half, mos = logits.to(torch.bfloat16), mos.float()
    plain = frame_consistency_loss(half.float(), mos, SIGMA)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = frame_consistency_loss(half, mos, SIGMA)
        scores = frame_scores(half)
    assert found.dtype == scores.dtype == torch.float32
    assert torch.equal(found, plain)
    assert torch.equal(scores, frame_scores(half.float()))


@pytest.mark.parametrize("shape", [(4, 100), (2, 3, 99), (2, 0, 100), (0, 3, 100), (2, 3, 100, 1)])
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=str(shape[0])):
        frame_scores(torch.zeros(shape))


def test_mos_of_another_shape_is_refused_with_both_shapes() -> None:
    for shape in ((2, 1), (1,), (), (3,)):
        with pytest.raises(ShapeError) as caught:
            mae_loss(torch.zeros(2, 3, 100), torch.full(shape, 50.0))
        assert str(shape) in str(caught.value)
        assert "(2, 3, 100)" in str(caught.value)


def test_mos_and_sigma_outside_their_range_are_refused() -> None:
    logits, mos = torch.zeros(2, 3, 100), torch.tensor([50.0, 50.0])
    for value in (-0.5, 100.5):
        with pytest.raises(LossInputError, match=rf"row 1 .*{value}"):
            mae_loss(logits, torch.tensor([50.0, value]))
    for value in (math.nan, math.inf):
        with pytest.raises(NonFiniteError, match="row 0"):
            bce_loss(logits, torch.tensor([value, 50.0]), SIGMA)
        with pytest.raises(NonFiniteError, match="sigma"):
            frame_consistency_loss(logits, mos, value)
    for sigma in (-1.0, 0.0, 0.398):
        with pytest.raises(LossInputError, match=r"0\.3989"):
            bce_loss(logits, mos, sigma)


def test_the_smallest_sigma_has_a_peak_of_one() -> None:
    # At sigma = 1 / sqrt(2 pi) the density at the mean is 1: x = 100 there is right, -100 costs 100 of 100
    # bins.
    right, wrong = one_level_logits(50), torch.full((1, 1, 100), -100.0)
    mos = torch.tensor([50.0])
    costs = bce_loss(wrong, mos, SIGMA_MIN) - bce_loss(right, mos, SIGMA_MIN)
    assert costs.item() == pytest.approx(1.0, abs=1e-5)


def test_unknown_reduction_and_integer_logits_are_refused() -> None:
    reduction: Any = "sum"
    with pytest.raises(LossInputError, match="'sum'"):
        frame_consistency_loss(torch.zeros(1, 1, 100), torch.tensor([50.0]), SIGMA, reduction=reduction)
    with pytest.raises(LossInputError, match="int64"):
        frame_scores(torch.zeros(1, 1, 100, dtype=torch.int64))
