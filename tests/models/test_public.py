"""Published state dicts: every key has its place or is named."""

import pytest
import torch
from torch import Tensor, nn

from models.public import PublicStateError, load_public


def load(network: nn.Module, state: dict) -> None:
    """The network's `weight` is published as `w`, and `old` was published but is not read."""
    load_public(network, state, of="X", public_name=lambda place: place.replace("weight", "w"), unused={"old": (2,)})


def published() -> dict[str, Tensor]:
    return {"0.w": torch.full((1, 2), 3.0), "0.bias": torch.ones(1), "1.w": torch.ones(1), "1.bias": torch.ones(1),
            "1.running_mean": torch.ones(1), "1.running_var": torch.ones(1)}  # fmt: skip


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("more", [{}, {"old": torch.zeros(2)}, {"1.num_batches_tracked": torch.tensor(7)}])
def test_values_come_under_our_names(network, prefix, more) -> None:
    load(network, {f"{prefix}{key}": value for key, value in (published() | more).items()})
    assert network[0].weight.tolist() == [[3.0, 3.0]]
    assert network[1].running_mean.tolist() == [1.0]
    assert network[1].num_batches_tracked.item() == more.get("1.num_batches_tracked", 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"0.bias": None}, r"^not the weights of X; 1 key does not fit: missing 0\.bias \(1,\)$"),
        ({"0.weight": torch.ones(1, 2)}, r"unknown 0\.weight"),
        ({"old": torch.ones(3)}, r"old is \(3,\), expected \(2,\)"),
        ({"0.w": torch.ones(2, 1), "0.bias": None}, r"2 keys .*missing 0\.bias.*0\.w is \(2, 1\), expected \(1, 2\)"),
        ({"0.w": torch.tensor([[1.0, float("nan")]])}, r"not finite 0\.w$"),
        ({"0.w": [1.0, 2.0]}, r"1 key does not fit: no tensor 0\.w \(list\)"),
        ({"module.old": torch.ones(2)}, r"unknown module\.old"),
    ],
)
def test_misfits_are_named_and_change_nothing(network, changes, words) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(PublicStateError, match=words):
        load(network, {key: value for key, value in (published() | changes).items() if value is not None})
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_an_empty_state_lacks_everything(network) -> None:
    with pytest.raises(PublicStateError, match="6 keys do not fit: missing"):
        load(network, {})
