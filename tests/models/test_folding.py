"""Folded batch normalisation computes the same, and leaves the network that it came from alone."""

import pytest
import torch
from torch import nn

from models.folding import fold_batch_norms


def filled(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    """A batch normalisation with weights and statistics that are not those of the start."""
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.uniform_(norm.bias, -1, 1)
    norm.running_mean = torch.randn(norm.num_features)
    norm.running_var = torch.rand(norm.num_features) + 0.5
    return norm


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    chain = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), filled(nn.BatchNorm2d(4)), nn.ReLU(), filled(nn.BatchNorm2d(4)),
        nn.Flatten(), nn.Linear(4 * 6 * 6, 5), filled(nn.BatchNorm1d(5)),
    )  # fmt: skip
    return nn.Sequential(nn.Sequential(chain)).eval()


def test_the_values_stay_and_the_norms_go(network: nn.Sequential) -> None:
    images = torch.randn(7, 3, 8, 8)
    folded = fold_batch_norms(network)
    # Another order of the same float32 operations.
    torch.testing.assert_close(folded(images), network(images), atol=1e-5, rtol=1e-5)
    kinds = [type(module).__name__ for module in folded.modules()][3:]
    # The norm after an activation has no layer to go into.
    assert kinds == ["Conv2d", "Identity", "ReLU", "BatchNorm2d", "Flatten", "Linear", "Identity"]


def test_the_original_is_untouched(network: nn.Sequential) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fold_batch_norms(network)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_network_in_training_is_refused(network: nn.Sequential) -> None:
    with pytest.raises(AssertionError, match="training"):
        fold_batch_norms(network.train())
