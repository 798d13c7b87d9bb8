"""Frozen networks, and statistics of maps against numbers derived by hand."""

import pytest
import torch
from torch import nn

from models.errors import ShapeError
from models.frozen import FrozenNetwork, position_statistics


def test_the_deviation_is_the_unbiased_one() -> None:
    # 1, 2, 3, 6: mean 3, squares 4 + 1 + 0 + 9 = 14, / 3 = 4.666667, root 2.160247.
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    assert position_statistics(maps)[0].tolist() == pytest.approx([3.0, 2.160247], abs=1e-6)
    with pytest.raises(ShapeError, match=r"\(1, 1, 1, 1\), one position, .* larger frames"):
        position_statistics(maps[..., :1, :1])
    with pytest.raises(ShapeError, match=r"shape \(1, 2, 2\)"):
        position_statistics(maps[0])


def test_a_dead_channel_has_a_finite_gradient() -> None:
    # All zero after a ReLU: the root has no finite slope there.
    maps = torch.zeros(1, 2, 3, 3, requires_grad=True)
    position_statistics(maps).sum().backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


def test_statistics_run_in_full_precision() -> None:
    # In bfloat16 256 + 1 is 256, and the deviation of these would be 0.
    maps = torch.tensor([256.0, 257.0]).view(1, 1, 1, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = position_statistics(maps)
    # Half a unit off the mean each: 2 * 0.25 / (2 - 1), root 0.707107.
    assert found[0].tolist() == pytest.approx([256.5, 0.707107])
    assert position_statistics(maps.half()).dtype == torch.float32
    assert position_statistics(maps.double()).dtype == torch.float64


def test_a_frozen_network_stays_in_evaluation_mode() -> None:
    frozen = FrozenNetwork(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    owner = nn.ModuleList([frozen, nn.Dropout()]).train()
    assert owner[1].training
    assert not any(module.training for module in frozen.modules())
    assert not any(weight.requires_grad for weight in frozen.parameters())
