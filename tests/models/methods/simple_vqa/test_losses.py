"""SimpleVQA's loss against golden values, numbers derived by hand, and a slow loop."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.errors import NonFiniteError, ShapeError
from models.methods.simple_vqa.losses import loss_terms
from models.methods.simple_vqa.sampling import SimpleVqaInputError

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())["loss"][0]


def golden_case() -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(GOLDEN["seed"])
    labels, scores = (torch.from_numpy(random.uniform(40, 44, GOLDEN["n"]).astype(np.float32)) for _ in range(2))
    return scores.requires_grad_(), labels


@pytest.mark.parametrize(
    ("order", "entry"), [("named", "as_named_predictions_first"), ("released", "as_called_labels_first")]
)
def test_golden_loss_and_gradient(order, entry) -> None:
    scores, labels = golden_case()
    loss = loss_terms(scores, labels, order=order).total
    assert loss.item() == pytest.approx(GOLDEN[entry]["value"], abs=1e-6)
    loss.backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == pytest.approx(GOLDEN[entry]["grad"], abs=1e-6)


def test_loss_by_hand() -> None:
    # Labels 50, 50.5, 50.5, 60; scores 52, 51, 52, 58. L1: 2, 0.5, 1.5, 2: mean 1.5.
    # Pairs nearer than a point and not equal: (0, 1), (0, 2) and back, 4 of them. (0, 1): 1 should be above 0 and is
    # one point below: 1, both ways. (0, 2): equal scores lack nothing. Mean 2 / 4.
    terms = loss_terms(torch.tensor([52.0, 51.0, 52.0, 58.0]), torch.tensor([50.0, 50.5, 50.5, 60.0]))
    assert [terms.l1.item(), terms.rank.item(), terms.total.item()] == pytest.approx([1.5, 0.5, 2.0])


def test_a_distance_of_a_whole_point_does_not_count() -> None:
    scores = torch.tensor([3.0, 1.0])
    assert loss_terms(scores, torch.tensor([50.0, 51.0])).rank == 0
    assert loss_terms(scores, torch.tensor([50.0, 50.75])).rank.item() == pytest.approx(2.0)


def test_the_released_rank_part_moves_nothing() -> None:
    scores = torch.tensor([52.0, 51.5], requires_grad=True)
    # In each other's place: predictions half a point apart count, and the labels lack 2 points.
    terms = loss_terms(scores, torch.tensor([48.0, 50.0]), order="released")
    assert terms.rank.item() == pytest.approx(2.0)
    assert not terms.rank.requires_grad


def test_one_video_and_equal_labels_have_no_pair() -> None:
    alone = loss_terms(torch.tensor([3.0]), torch.tensor([5.0]))
    assert [alone.l1.item(), alone.rank.item()] == [2.0, 0.0]
    scores = torch.tensor([3.0, 4.0], requires_grad=True)
    terms = loss_terms(scores, torch.tensor([5.0, 5.0]))
    assert [terms.l1.item(), terms.rank.item()] == [1.5, 0.0]
    terms.total.backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [-0.5, -0.5]


def test_the_rank_loss_equals_a_slow_loop() -> None:
    scores, labels = golden_case()
    total, count = 0.0, 0
    for p_i, y_i in zip(scores.tolist(), labels.tolist(), strict=True):
        for p_j, y_j in zip(scores.tolist(), labels.tolist(), strict=True):
            if 0 < abs(y_i - y_j) < 1:
                total, count = total + max(0.0, -math.copysign(1, y_j - y_i) * (p_j - p_i)), count + 1
    assert loss_terms(scores, labels).rank.item() == pytest.approx(total / count, rel=1e-5)


def test_the_order_of_videos_does_not_matter() -> None:
    scores, labels = golden_case()
    turned = loss_terms(scores.flip(0), labels.flip(0))
    torch.testing.assert_close(turned.rank, loss_terms(scores, labels).rank)


def test_what_the_loss_is_not_defined_for() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 1\) and mos \(2, 1\); needed: both \(B,\)"):
        loss_terms(torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(NonFiniteError, match=r"mos\[0\] is nan"):
        loss_terms(torch.zeros(1), torch.tensor([math.nan]))
    with pytest.raises(SimpleVqaInputError, match="order is 'swapped'; allowed: 'named', 'released'"):
        loss_terms(torch.zeros(1), torch.zeros(1), order="swapped")  # type: ignore[arg-type]
