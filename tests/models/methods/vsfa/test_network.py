"""VSFA's temporal pooling against a slow loop and numbers derived by hand, and the network around it."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.errors import ShapeError
from models.methods.vsfa.config import VsfaConfig, VsfaPooling
from models.methods.vsfa.network import TemporalPooling, VsfaNet, build_vsfa
from tests.models.methods.public_weights import normal

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
TINY = VsfaConfig(feature_width=6, reduced_width=5, hidden_width=4)


def pooled(quality: list[float] | Tensor, **choices) -> Tensor:
    values = torch.as_tensor(quality, dtype=torch.float64)[None]
    return TemporalPooling(VsfaPooling(**choices))(values, torch.ones_like(values, dtype=torch.bool))[0]


def slow_pooling(quality: list[float], *, window: int, share: float, memory: str) -> list[float]:
    felt = []
    for now in range(len(quality)):
        if memory == "released":
            remembered = quality[max(0, now - window + 1) : now + 1]
        else:
            remembered = quality[max(0, now - window) : now] or quality[:1]
        coming = quality[now : now + window]
        total = sum(math.exp(-each) for each in coming)
        present = sum(each * math.exp(-each) for each in coming) / total
        felt.append(share * present + (1 - share) * min(remembered))
    return felt


@pytest.mark.parametrize("case", GOLDEN["temporal_pooling"], ids=lambda case: f"T={case['T']}")
def test_golden_values_of_the_pooling(case) -> None:
    quality = normal(case["seed"], case["T"])
    assert quality[:3].tolist() == pytest.approx(case["q_first3"], abs=1e-6)
    felt = pooled(quality.double())
    assert felt[:8].tolist() == pytest.approx(case["pooled_first8"], abs=2e-6)
    assert felt[-3:].tolist() == pytest.approx(case["pooled_last3"], abs=2e-6)
    assert felt.mean().item() == pytest.approx(case["mean"], abs=2e-6)


def test_pooling_by_hand() -> None:
    # Window 2, beta 1/4. exp(-log 3) = 1/3.
    # Frame 0: memory min(0) = 0; present (0 * 1 + log 3 / 3) / (4/3) = log 3 / 4; felt log 3 / 16.
    # Frame 1: memory min(0, log 3) = 0, in the paper min(0) = 0; present: weights 1/3 and 1/3 of log 3 twice: log 3.
    # Frame 2: memory min(log 3, log 3) = log 3; present log 3.
    log3 = math.log(3.0)
    released = pooled([0.0, log3, log3], window_frames=2, present_share=0.25)
    assert released.tolist() == pytest.approx([log3 / 16, log3 / 4, log3])
    # The paper's memory of two frames before frame 2 still holds frame 0.
    paper = pooled([0.0, log3, log3], window_frames=2, present_share=0.25, memory="paper")
    assert paper.tolist() == pytest.approx([log3 / 16, log3 / 4, log3 / 4])


@pytest.mark.parametrize("memory", ["released", "paper"])
@pytest.mark.parametrize(("window", "length"), [(12, 40), (12, 12), (12, 5), (3, 1), (1, 6)])
def test_pooling_equals_a_slow_loop(memory, window, length) -> None:
    quality = normal(window + length, length).double()
    found = pooled(quality, window_frames=window, present_share=0.3, memory=memory)
    expected = slow_pooling(quality.tolist(), window=window, share=0.3, memory=memory)
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_a_steady_quality_is_felt_as_it_is_and_far_ones_do_not_overflow() -> None:
    assert pooled([0.7] * 20).tolist() == pytest.approx([0.7] * 20)
    # exp(200) is beyond float32.
    low = TemporalPooling(VsfaPooling())(torch.tensor([[-200.0, 5.0]]), torch.ones(1, 2, dtype=torch.bool))
    # Frame 0: memory and present -200. Frame 1: memory -200, present 5: mean -97.5.
    assert low[0].tolist() == pytest.approx([-200.0, -97.5])


def test_tails_reach_neither_values_nor_gradients() -> None:
    quality = normal(5, 2, 9)
    quality[1, 4:] = math.nan
    quality.requires_grad_()
    real = torch.arange(9) < torch.tensor([9, 4])[:, None]
    felt = TemporalPooling(VsfaPooling(window_frames=3))(quality, real)
    assert felt[1, 4:].tolist() == [0.0] * 5
    assert felt[1, :4].tolist() == pytest.approx(pooled(quality[1, :4].detach(), window_frames=3).tolist(), abs=1e-6)
    felt.sum().backward()
    assert quality.grad is not None
    assert quality.grad[1, 4:].tolist() == [0.0] * 5
    assert quality.grad.isfinite().all()


def test_training_and_evaluation_compute_the_same() -> None:
    network, features = build_vsfa(TINY, seed=3), normal(1, 2, 7, 6)
    assert network.training
    assert torch.equal(network(features, [7, 5]), network.eval()(features, [7, 5]))
    assert network(features, [7, 5]).tolist() == pytest.approx(
        [
            each[:length].mean().item()
            for each, length in zip(network.felt_quality(features, [7, 5]), (7, 5), strict=True)
        ]
    )


def test_every_weight_gets_a_gradient() -> None:
    network = build_vsfa(TINY)
    network(normal(1, 2, 7, 6), [7, 5]).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_a_seed_gives_the_weights_and_sizes_are_those_of_the_release() -> None:
    state = torch.get_rng_state()
    first, again, other = (build_vsfa(VsfaConfig(), seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["quality.bias"], other["quality.bias"])
    # 4096 * 128 + 128; 3 * 32 * (128 + 32 + 2); 32 + 1.
    assert sum(value.numel() for value in first.values()) == 524_416 + 15_552 + 33


@pytest.fixture(scope="module")
def network() -> VsfaNet:
    return build_vsfa(TINY)


@pytest.mark.parametrize(
    ("shape", "lengths", "words"),
    [
        ((7, 6), [7], r"shape \(7, 6\).*needed: \(B, T, 6\)"),
        ((1, 7, 5), [7], r"shape \(1, 7, 5\).*needed: \(B, T, 6\)"),
        ((0, 7, 6), [], r"shape \(0, 7, 6\)"),
        ((2, 7, 6), [7], r"lengths are \[7\]; needed: 2 whole numbers of 1 to 7"),
        ((2, 7, 6), [7, 0], "needed: 2 whole numbers"),
        ((2, 7, 6), [8, 7], "of 1 to 7"),
        ((1, 7, 6), [6.5], "whole numbers"),
        ((1, 7, 6), torch.tensor(7), "lengths are 7"),
    ],
)
def test_shapes_that_do_not_fit(network, shape, lengths, words) -> None:
    for call in (network, network.felt_quality):
        with pytest.raises(ShapeError, match=words):
            call(torch.zeros(shape), lengths)


def test_pooling_asks_for_equal_shapes_and_features_for_numbers(network) -> None:
    with pytest.raises(ShapeError, match=r"\(2, 3\) and real \(3, 2\)"):
        TemporalPooling(VsfaPooling())(torch.zeros(2, 3), torch.ones(3, 2, dtype=torch.bool))
    with pytest.raises(ShapeError, match=r"torch\.int64"):
        network(torch.zeros(1, 2, 6, dtype=torch.int64), [2])
