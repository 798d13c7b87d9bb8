"""FGM: what the two passes share, and what the second one must not leave behind."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.errors import NonFiniteError, ShapeError
from models.fgm import fgm_backward, perturbed

EPSILON = 0.3


def small_network(*, dropout: float = 0.0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))


def batch(seed: int = 0) -> Tensor:
    return torch.randn(16, 3, generator=torch.Generator().manual_seed(seed))


def squared(network: nn.Module, inputs: Tensor) -> Callable[[], Tensor]:
    return lambda: network(inputs).square().mean()


def grads(module: nn.Module) -> list[Tensor]:
    return [param.grad.clone() for param in module.parameters() if param.grad is not None]


def assert_all_close(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def clean_and_adversarial(network: nn.Module, inputs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """g and g_adv, one at a time and by hand: plain backward, weights moved and put back parameter by
    parameter."""
    network.zero_grad()
    squared(network, inputs)().backward()
    clean = grads(network)
    norm = torch.cat([gradient.flatten() for gradient in clean]).norm()
    weights = [param.detach().clone() for param in network.parameters()]
    for param, gradient in zip(network.parameters(), clean, strict=True):
        param.data += EPSILON * gradient / norm
    network.zero_grad()
    squared(network, inputs)().backward()
    adversarial = grads(network)
    for param, weight in zip(network.parameters(), weights, strict=True):
        param.data = weight
    network.zero_grad()
    return clean, adversarial


def test_the_gradients_of_both_passes_add_up() -> None:
    network = small_network()
    clean, adversarial = clean_and_adversarial(small_network(), batch())
    fgm_backward(network, squared(network, batch()), EPSILON)
    assert_all_close(grads(network), [g + a for g, a in zip(clean, adversarial, strict=True)])
    assert not torch.allclose(clean[0], adversarial[0], rtol=1e-2)


def test_statistics_come_from_the_clean_pass_only() -> None:
    plain, network = small_network(), small_network()
    squared(plain, batch())()
    fgm_backward(network, squared(network, batch()), EPSILON)
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, plain.get_buffer(name)), name
    assert int(network.get_buffer("1.num_batches_tracked")) == 1


def test_a_buffer_that_the_forward_pass_replaces_keeps_its_clean_value() -> None:
    class Counting(nn.Linear):
        seen: Tensor

        def __init__(self) -> None:
            super().__init__(3, 1)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, inputs: Tensor) -> Tensor:
            self.seen = self.seen + 1
            return super().forward(inputs)

    network = Counting()
    fgm_backward(network, squared(network, batch()), EPSILON)
    assert network.seen.item() == 1


def record_dropout(network: nn.Module, device: str = "cpu") -> list[Tensor]:
    """The dropout mask of every forward pass, in order."""
    masks: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        masks.append((output == 0).cpu())

    network.get_submodule("3").register_forward_hook(keep)
    return masks


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
    ],
)
def test_both_passes_draw_the_same_numbers_and_count_once(device: str) -> None:
    plain, network = small_network(dropout=0.5).to(device), small_network(dropout=0.5).to(device)
    inputs = batch().to(device)
    masks = record_dropout(network)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        squared(plain, inputs)().backward()
        expected = torch.rand(4, device=device), torch.rand(4)
        torch.manual_seed(3)
        fgm_backward(network, squared(network, inputs), EPSILON)
        assert torch.equal(torch.rand(4, device=device), expected[0])
        assert torch.equal(torch.rand(4), expected[1])
        fgm_backward(network, squared(network, inputs), EPSILON)
    assert len(masks) == 4
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[2], masks[3])
    assert not torch.equal(masks[0], masks[2])


def test_accumulation_adds_what_each_micro_batch_gives_alone() -> None:
    network = small_network()
    alone = []
    for seed in (0, 1):
        clean, adversarial = clean_and_adversarial(small_network(), batch(seed))
        alone.append([g + a for g, a in zip(clean, adversarial, strict=True)])
    for seed in (0, 1):
        fgm_backward(network, squared(network, batch(seed)), EPSILON)
    assert_all_close(grads(network), [one + other for one, other in zip(*alone, strict=True)])


def test_a_weight_that_one_micro_batch_does_not_use_keeps_what_the_others_gave() -> None:
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    network = nn.ParameterList([first, second])
    first.data.fill_(3.0)
    second.data.fill_(4.0)
    # L = w^2 / 2 of one weight each: g = w, delta = epsilon along it alone, so g + g_adv = 2 w + epsilon.
    fgm_backward(network, lambda: 0.5 * first.square().sum(), EPSILON)
    fgm_backward(network, lambda: 0.5 * second.square().sum(), EPSILON)
    assert [gradient.item() for gradient in grads(network)] == pytest.approx([6.3, 8.3])


def test_frozen_and_unused_weights_are_left_alone() -> None:
    network = small_network()
    network.add_module("unused", nn.Linear(2, 2))
    network.requires_grad_(False)
    network.get_submodule("4").requires_grad_(True)
    network.get_submodule("unused").requires_grad_(True)
    before = {name: param.detach().clone() for name, param in network.named_parameters()}
    during: list[dict[str, Tensor]] = []

    def loss_fn() -> Tensor:
        during.append({name: param.detach().clone() for name, param in network.named_parameters()})
        return nn.Sequential(*list(network)[:5])(batch()).square().mean()

    fgm_backward(network, loss_fn, EPSILON)
    moved = {name for name in before if not torch.equal(during[1][name], before[name])}
    assert moved == {"4.weight", "4.bias"}
    assert {name for name, param in network.named_parameters() if param.grad is not None} == moved
    assert all(torch.equal(param, before[name]) for name, param in network.named_parameters())


def test_a_loss_scale_changes_nothing_but_the_scale() -> None:
    plain, scaled = small_network(), small_network()
    optimiser = torch.optim.SGD(scaled.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    expected = fgm_backward(plain, squared(plain, batch()), EPSILON)
    found = fgm_backward(scaled, squared(scaled, batch()), EPSILON, scaler=scaler)
    assert torch.equal(found, expected)
    assert_all_close(grads(scaled), [1024.0 * gradient for gradient in grads(plain)])
    scaler.unscale_(optimiser)
    assert_all_close(grads(scaled), grads(plain))


def test_an_overflow_skips_the_second_pass_and_the_step() -> None:
    network = nn.Linear(2, 1)
    before = network.weight.detach().clone()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    calls = []

    def overflowing() -> Tensor:
        calls.append(1)
        return network(torch.full((1, 2), 1e35)).sum()  # times 65536 leaves float32

    fgm_backward(network, overflowing, EPSILON, scaler=scaler)
    assert len(calls) == 1
    scaler.step(optimiser)
    scaler.update()
    assert torch.equal(network.weight, before)
    assert scaler.get_scale() == 2.0**15


def test_autocast_around_both_passes_uses_the_perturbed_weights() -> None:
    # An autocast region keeps its bfloat16 copies of the weights: the second pass would see the old ones.
    inside, around = small_network(), small_network()

    def own_autocast() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return squared(inside, batch())()

    fgm_backward(inside, own_autocast, EPSILON)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fgm_backward(around, squared(around, batch()), EPSILON)
        after = around(batch())
    for found, expected in zip(grads(around), grads(inside), strict=True):
        assert torch.equal(found, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(around(batch()), after)


def test_a_nonfinite_clean_gradient_is_left_for_the_caller_to_see() -> None:
    network = nn.Linear(2, 1, bias=False)
    before = network.weight.detach().clone()
    loss = fgm_backward(network, lambda: network(torch.full((1, 2), torch.nan)).sum(), EPSILON)
    assert loss.isnan()
    assert grads(network)[0].isnan().all()
    assert torch.equal(network.weight, before)


def test_a_loss_that_breaks_at_the_perturbed_weights_is_an_error() -> None:
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    network.weight.grad = torch.tensor([[7.0]])
    # -log w at w = 1 has the gradient -1: epsilon 2 leads to w = -1, where the logarithm is NaN.
    with pytest.raises(NonFiniteError, match="epsilon 2"):
        fgm_backward(network, lambda: -network.weight.log().sum(), 2.0)
    assert network.weight.item() == 1.0
    assert network.weight.grad.item() == 7.0


def test_an_error_in_the_second_pass_leaves_what_the_clean_pass_left() -> None:
    plain, network = small_network(dropout=0.5), small_network(dropout=0.5)
    before = [param.detach().clone() for param in network.parameters()]
    calls = []

    def failing() -> Tensor:
        calls.append(1)
        loss = squared(network, batch())()
        if len(calls) == 2:
            torch.rand(5)  # more numbers than the clean pass drew
            raise KeyError
        return loss

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        squared(plain, batch())()
        expected = torch.get_rng_state()
        torch.manual_seed(3)
        with pytest.raises(KeyError):
            fgm_backward(network, failing, EPSILON)
        assert torch.equal(torch.get_rng_state(), expected)
    assert grads(network) == []
    assert all(torch.equal(now, then) for now, then in zip(network.parameters(), before, strict=True))
    assert all(torch.equal(buffer, plain.get_buffer(name)) for name, buffer in network.named_buffers())


def test_a_loss_that_is_no_scalar_is_refused() -> None:
    network = small_network()
    with pytest.raises(ShapeError, match=r"\(16, 1\)"):
        fgm_backward(network, lambda: network(batch()), EPSILON)


def test_perturbed_clears_what_autocast_kept() -> None:
    network = nn.Linear(4, 4, bias=False)
    inputs = torch.ones(1, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        clean = network(inputs)
        clean.sum().backward()
        with perturbed(network, 4.0):
            moved = network(inputs)
        back = network(inputs)
    # Each gradient entry is 1, the norm 4: every weight moves by 1, every output by the 4 inputs.
    torch.testing.assert_close(moved.float(), clean.float() + 4.0, rtol=0, atol=0.05)
    assert torch.equal(back, clean)
