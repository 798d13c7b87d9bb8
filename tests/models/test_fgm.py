"""FGM: where the weights go, that they come back, and the step derived by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.fgm import EpsilonError, fgm_backward, gradient_norm, perturbed


def small_network(*, dropout: float = 0.0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))


def batch(seed: int = 0) -> Tensor:
    return torch.randn(16, 3, generator=torch.Generator().manual_seed(seed))


def squared(network: nn.Module, inputs: Tensor) -> Callable[[], Tensor]:
    return lambda: network(inputs).square().mean()


def grads(module: nn.Module) -> list[Tensor]:
    found = [param.grad for param in module.parameters() if param.grad is not None]
    return [gradient.clone() for gradient in found]


def with_grad(value: Tensor, gradient: Tensor) -> nn.Parameter:
    param = nn.Parameter(value)
    param.grad = gradient
    return param


def same_bits(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.view(torch.int32), other.view(torch.int32))


def test_weights_move_by_epsilon_along_the_gradient() -> None:
    # The gradients (3, 0) and (4) have the norm 5 together: epsilon 0.5 moves by a tenth of them.
    first = with_grad(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.0]))
    second = with_grad(torch.tensor([-1.0]), torch.tensor([4.0]))
    with perturbed([first, second], 0.5) as moved:
        assert moved
        torch.testing.assert_close(first.data, torch.tensor([1.3, 2.0]))
        torch.testing.assert_close(second.data, torch.tensor([-0.6]))


@pytest.mark.parametrize("epsilon", [1e-3, 0.5, 20.0])
def test_the_move_has_length_epsilon_over_all_weights(epsilon: float) -> None:
    network = small_network()
    squared(network, batch())().backward()
    before = [param.detach().clone() for param in network.parameters()]
    with perturbed(network, epsilon):
        moves = [now.detach() - then for now, then in zip(network.parameters(), before, strict=True)]
    assert gradient_norm(moves) == pytest.approx(epsilon, rel=1e-3)  # w + delta rounds in float32


def test_weights_come_back_bit_for_bit_even_after_an_error() -> None:
    # Values that w + delta - delta would not give back: signed zero, subnormal, huge, tiny beside delta.
    values = torch.tensor([-0.0, 0.0, 1e-45, 3e38, 1e-8, 0.1])
    param = with_grad(values.clone(), torch.ones(6))
    with perturbed([param], 0.7):
        assert not same_bits(param.detach(), values)
    assert same_bits(param.detach(), values)
    with pytest.raises(KeyError), perturbed([param], 0.7):
        raise KeyError
    assert same_bits(param.detach(), values)


def test_frozen_and_unused_weights_stay_and_do_not_count() -> None:
    used = with_grad(torch.zeros(1), torch.tensor([2.0]))
    frozen = with_grad(torch.zeros(1), torch.tensor([9.0])).requires_grad_(False)
    unused = nn.Parameter(torch.zeros(1))
    with perturbed([used, frozen, unused], 0.25):
        assert [used.item(), frozen.item(), unused.item()] == [0.25, 0.0, 0.0]


def test_shared_weights_count_once() -> None:
    shared = with_grad(torch.zeros(1), torch.tensor([3.0]))
    other = with_grad(torch.zeros(1), torch.tensor([4.0]))
    with perturbed([shared, other, shared], 5.0):  # norm 5, so delta = g
        assert [shared.item(), other.item()] == [pytest.approx(3.0), pytest.approx(4.0)]


@pytest.mark.parametrize("gradient", [0.0, math.nan, math.inf, -math.inf, 1e-45])
def test_a_gradient_without_direction_moves_nothing(gradient: float) -> None:
    param = with_grad(torch.tensor([1.0, 2.0]), torch.tensor([gradient, 0.0]))
    with perturbed([param], 0.5) as moved:
        assert not moved
        assert param.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_a_gradient_whose_square_leaves_float32_still_has_a_direction(size: float) -> None:
    param = with_grad(torch.zeros(2), torch.tensor([3.0, 4.0]) * size)
    with perturbed([param], 1.0) as moved:
        assert moved
        torch.testing.assert_close(param.data, torch.tensor([0.6, 0.8]))


def test_nothing_to_move_is_no_error() -> None:
    for epsilon in (0.0, 1.0):
        with perturbed(nn.ReLU(), epsilon) as moved:
            assert not moved


@pytest.mark.parametrize("epsilon", [-1e-3, math.nan, math.inf])
def test_epsilon_that_is_no_radius_is_refused(epsilon: float) -> None:
    network = small_network()
    with pytest.raises(EpsilonError, match="epsilon is"), perturbed(network, epsilon):
        pass
    with pytest.raises(EpsilonError, match="epsilon is"):
        fgm_backward(network, squared(network, batch()), epsilon)


def test_step_on_a_quadratic_is_the_one_derived_by_hand() -> None:
    # L = |w|^2 / 2 at w = (3, 4): g = (3, 4), |g| = 5. epsilon 0.5: delta = (0.3, 0.4), g_adv = w + delta =
    # (3.3, 4.4). The step of 0.1 along g + g_adv = (6.3, 8.4) from w leads to (2.37, 3.16).
    network = nn.Linear(2, 1, bias=False)
    network.weight.data = torch.tensor([[3.0, 4.0]])
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    loss = fgm_backward(network, lambda: 0.5 * network.weight.square().sum(), 0.5)
    assert loss.item() == 12.5
    assert not loss.requires_grad
    assert network.weight.grad is not None
    torch.testing.assert_close(network.weight.grad, torch.tensor([[6.3, 8.4]]))
    assert network.weight.tolist() == [[3.0, 4.0]]
    optimiser.step()
    torch.testing.assert_close(network.weight.data, torch.tensor([[2.37, 3.16]]))


def test_epsilon_zero_is_one_plain_pass() -> None:
    plain, network = small_network(), small_network()
    squared(plain, batch())().backward()
    calls = []

    def counted() -> Tensor:
        calls.append(1)
        return squared(network, batch())()

    fgm_backward(network, counted, 0.0)
    assert len(calls) == 1
    for found, expected in zip(grads(network), grads(plain), strict=True):
        assert torch.equal(found, expected)


def test_zero_gradient_gives_no_nan_and_no_second_pass() -> None:
    network = nn.Linear(2, 1)
    calls = []

    def flat_loss() -> Tensor:
        calls.append(1)
        return (network(torch.ones(1, 2)) * 0.0).sum()

    assert fgm_backward(network, flat_loss, 0.5).item() == 0.0
    assert len(calls) == 1
    assert all(not gradient.any() for gradient in grads(network))
