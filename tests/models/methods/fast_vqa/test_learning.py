"""Groups, rates, the running mean and scales, against golden values and by hand."""

import copy

import numpy as np
import pytest
import torch

from models.errors import ShapeError
from models.methods.fast_vqa.config import PUBLISHED_TRAINING
from models.methods.fast_vqa.learning import (
    CALIBRATIONS,
    calibrated,
    follow,
    learning_groups,
    rate_factor,
    rescaled,
)
from models.methods.fast_vqa.network import build_fragment_net
from tests.configs import shipped_section
from tests.models.methods.fast_vqa.golden import GOLDEN

SMALL = shipped_section("fast_vqa")
SMALL_NETWORK = SMALL.network


@pytest.mark.parametrize("case", GOLDEN["schedule"], ids=lambda case: str(case["iters_per_epoch"]))
def test_golden_factors(case):
    for step, expected in case["factor_at_step"].items():
        found = rate_factor(int(step), steps_per_epoch=case["iters_per_epoch"], epochs=case["epochs"])
        assert found == pytest.approx(expected, rel=1e-6), step


def test_factors_by_hand():
    # 4 steps an epoch, 2 epochs, warm-up of one: 0, 1/4 .. 1, then (1 + cos(pi k / 8)) / 2.
    found = [rate_factor(step, steps_per_epoch=4, epochs=2, warmup_epochs=1) for step in range(8)]
    assert found == pytest.approx([0, 0.25, 0.5, 0.75, 1, 0.9619398, 0.8535534, 0.6913417], abs=1e-6)
    assert rate_factor(0, steps_per_epoch=4, epochs=2, warmup_epochs=0) == 1


def test_groups_by_the_names_of_children():
    network = build_fragment_net(SMALL_NETWORK)
    backbone, head = learning_groups(network, backbone_rate=PUBLISHED_TRAINING.backbone_rate, weight_decay=0.05)
    assert (backbone["lr_scale"], head["lr_scale"]) == (0.1, 1)
    assert backbone["weight_decay"] == head["weight_decay"] == 0.05
    assert {id(weight) for weight in backbone["params"]} == {
        id(weight) for weight in network.fragments_backbone.parameters()
    }
    assert {id(weight) for weight in head["params"]} == {id(weight) for weight in network.vqa_head.parameters()}
    network.fragments_backbone.requires_grad_(False)
    (only,) = learning_groups(network, backbone_rate=PUBLISHED_TRAINING.backbone_rate, weight_decay=0.05)
    assert only["lr_scale"] == 1


def test_the_running_mean_follows_parameters_only():
    network = torch.nn.BatchNorm1d(1)
    mean = copy.deepcopy(network)
    network.load_state_dict(
        {**network.state_dict(), "weight": torch.tensor([2.0]), "running_mean": torch.tensor([5.0])}
    )
    follow(mean, network, decay=0.9)
    # 0.9 * 1 + 0.1 * 2, and once more: 0.9 * 1.1 + 0.2.
    assert mean.weight.item() == pytest.approx(1.1)
    follow(mean, network, decay=0.9)
    assert mean.weight.item() == pytest.approx(1.19)
    assert mean.state_dict()["running_mean"].item() == 0
    assert network.weight.item() == 2


@pytest.mark.parametrize("case", GOLDEN["losses"])
def test_golden_rescaled_scores(case):
    random = np.random.default_rng(case["seed"])
    scores, mos = (torch.from_numpy(random.standard_normal((case["n"], 1)).astype(np.float32)[:, 0]) for _ in range(2))
    found = rescaled(scores, mos)
    assert found[:3].tolist() == pytest.approx(case["rescaled_first3"], abs=1e-5)
    assert found.mean().item() == pytest.approx(mos.mean().item(), abs=1e-6)
    with pytest.raises(ShapeError, match=r"scores have shape \(3, 1\), mos \(3,\)"):
        rescaled(torch.zeros(3, 1), torch.zeros(3))


def test_golden_calibrated_scores():
    assert set(CALIBRATIONS) == set(GOLDEN["calibrated"])
    for name, case in GOLDEN["calibrated"].items():
        found = calibrated(torch.tensor([0.1, -0.1], dtype=torch.float64), CALIBRATIONS[name])
        assert found.tolist() == pytest.approx([case["raw_0.1"], case["raw_-0.1"]], rel=1e-6), name
