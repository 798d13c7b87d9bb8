"""The learning rate rises to its peak and falls to zero; norms and biases do not decay."""

import math

import pytest
import torch
from torch import nn

from models.methods.frame_consistency.network import build_quality
from models.optim import epoch_generator, layered_groups, parameter_groups, warmup_cosine
from tests.configs import quality_config


def rates_of(*, steps: int, warmup_fraction: float, done: int = 0, scale: float = 1.0) -> list[float]:
    """The rates of the steps from `done` on, of a group that was made with a rate of 2 * scale."""
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": 2.0 * scale}])
    schedule = warmup_cosine(optimizer, steps=steps, warmup_fraction=warmup_fraction, done=done)
    rates = []
    for _ in range(done, steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_rises_then_falls_to_zero() -> None:
    rates = rates_of(steps=10, warmup_fraction=0.4)
    # Four steps of warm-up: 1/5 ... 4/5 of the peak; then half a cosine over six steps, whose middle is step 7.
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates[7] == pytest.approx(1.0)
    assert rates[9] == pytest.approx(1 - 0.8660254, abs=1e-6)


def test_without_warm_up_the_first_step_has_the_peak() -> None:
    assert rates_of(steps=5, warmup_fraction=0)[0] == 2.0


def test_a_training_that_goes_on_has_the_rates_of_an_unbroken_one() -> None:
    for done in (1, 3, 9):
        assert rates_of(steps=10, warmup_fraction=0.4, done=done) == rates_of(steps=10, warmup_fraction=0.4)[done:]


def test_layers_keep_their_share_of_the_rate() -> None:
    slow, fast = (rates_of(steps=10, warmup_fraction=0.2, scale=scale) for scale in (0.25, 1.0))
    assert slow == pytest.approx([rate / 4 for rate in fast])


@pytest.mark.parametrize("warmup_fraction", [0.0, 0.1, 0.25, 0.99])
def test_a_training_killed_after_every_epoch_has_the_rates_of_the_closed_form(warmup_fraction: float) -> None:
    """Groups of two rates, as layer-wise decay makes them, whose optimiser starts anew from its state every epoch."""
    epochs, steps_an_epoch = 5, 7
    steps, warmup = epochs * steps_an_epoch, warmup_fraction * epochs * steps_an_epoch
    weights = [nn.Parameter(torch.ones(1)) for _ in range(2)]
    state, step = None, 0
    for epoch in range(epochs):
        groups = [{"params": [weight], "lr": rate} for weight, rate in zip(weights, (0.3, 0.02), strict=True)]
        optimizer = torch.optim.AdamW(groups)
        if state is not None:
            optimizer.load_state_dict(state)
        schedule = warmup_cosine(optimizer, steps=steps, warmup_fraction=warmup_fraction, done=epoch * steps_an_epoch)
        for _ in range(steps_an_epoch):
            share = (step + 1) / (warmup + 1)
            if step >= warmup:
                share = math.cos(math.pi / 2 * (step - warmup) / (steps - warmup)) ** 2  # = (1 + cos 2 x) / 2
            assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
                [0.3 * share, 0.02 * share], rel=0, abs=1e-12
            )
            optimizer.step()
            schedule.step()
            step += 1
        state = optimizer.state_dict()


def test_epochs_have_numbers_of_their_own_that_leave_the_global_ones_alone() -> None:
    before = torch.get_rng_state()
    drawn = [torch.rand(3, generator=epoch_generator(*both)).tolist() for both in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert drawn[0] == drawn[3]
    assert len({tuple(each) for each in drawn}) == 3
    assert torch.equal(torch.get_rng_state(), before)


def test_norms_biases_and_frozen_weights_do_not_decay() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    network[2].requires_grad_(False)
    decaying, others = parameter_groups(network, 0.1)
    assert decaying == {"params": [network[0].weight], "weight_decay": 0.1}
    assert [weight.shape for weight in others["params"]] == [(2,), (2,), (2,)]
    assert others["weight_decay"] == 0.0


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext", "test_vit"])
def test_layers_learn_the_slower_the_lower_and_the_head_at_the_full_rate(backbone: str) -> None:
    network = build_quality(quality_config(backbone, "mean", 0.0, 32))
    groups = layered_groups(network, network.backbone, 0.1, layer_decay=0.5)
    scale_of = {id(weight): group["lr_scale"] for group in groups for weight in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(scale_of) == len(list(network.parameters()))
    assert all(group["weight_decay"] == 0.1 * (weight.ndim > 1) for group in groups for weight in group["params"])
    in_order = [scale_of[id(weight)] for weight in network.backbone.parameters()]
    assert scale_of[id(network.head.weight)] == scale_of[id(network.head.bias)] == 1.0
    # Halved from layer to layer, the topmost of the backbone like the head.
    assert set(in_order) == {0.5**power for power in range(len(set(in_order)))}
    assert in_order[0] == min(in_order)
    assert in_order[-1] == 1.0


def test_without_layer_decay_the_groups_are_the_plain_ones() -> None:
    network = build_quality(quality_config("test_resnet", "mean", 0.0, 32))
    layered = layered_groups(network, network.backbone, 0.1, layer_decay=1)
    for group, plain in zip(layered, parameter_groups(network, 0.1), strict=True):
        assert list(map(id, group["params"])) == list(map(id, plain["params"]))
        assert (group["lr_scale"], group["weight_decay"]) == (1.0, plain["weight_decay"])
