"""The learning rate rises to its peak and falls to zero; norms and biases do not decay."""

import pytest
from torch import nn

from models.training import parameter_groups, warmup_cosine


def test_rises_then_falls_to_zero() -> None:
    rates = [warmup_cosine(step, steps=10, peak=2.0, warmup_fraction=0.4) for step in range(10)]
    # Four steps of warm-up: 1/5 ... 4/5 of the peak; then half a cosine over six steps, whose middle is step 7.
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates[7] == pytest.approx(1.0)
    assert rates[9] == pytest.approx(1 - 0.8660254, abs=1e-6)


def test_without_warm_up_the_first_step_has_the_peak() -> None:
    assert warmup_cosine(0, steps=5, peak=0.1, warmup_fraction=0) == pytest.approx(0.1)


def test_norms_biases_and_frozen_weights_do_not_decay() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    network[2].requires_grad_(False)
    decaying, others = parameter_groups(network, 0.1)
    assert decaying == {"params": [network[0].weight], "weight_decay": 0.1}
    assert [weight.shape for weight in others["params"]] == [(2,), (2,), (2,)]
    assert others["weight_decay"] == 0.0
