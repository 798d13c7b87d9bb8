"""Equations 7-11 of S²CNet as the variant `paper` computes them, with numbers derived by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from models.s2cnet.graph import GraphLayer, PaperRelations
from models.s2cnet.network import build_s2cnet
from tests.configs import s2cnet_config


def set_linear(layer: nn.Linear, weight: list[list[float]]) -> None:
    """Weights as given, no bias."""
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        if layer.bias is not None:
            layer.bias.zero_()


@pytest.fixture
def relations() -> PaperRelations:
    """One feature per node, one relation feature; theta takes x of a centre and it, phi y of a centre and twice it."""
    module = PaperRelations(1, 1)
    set_linear(module.position_theta, [[1.0, 0.0]])
    set_linear(module.position_phi, [[0.0, 1.0]])
    set_linear(module.appearance_theta, [[1.0]])
    set_linear(module.appearance_phi, [[2.0]])
    return module


# A candidate at (0.5, 0.2) with feature 2, an object at (0.3, 0.9) with feature -1.
CENTRES = (torch.tensor([[[0.5, 0.2]]]), torch.tensor([[[0.3, 0.9]]]))
FEATURES = (torch.tensor([[[2.0]]]), torch.tensor([[[-1.0]]]))
# Equation 8, |theta(c_i) - phi(c_j)|^2: (0.5 - 0.2)^2, (0.5 - 0.9)^2; (0.3 - 0.2)^2, (0.3 - 0.9)^2.
POSITION = torch.tensor([[0.09, 0.16], [0.01, 0.36]])
# Equation 7, theta(x_i) phi(x_j) / sqrt(1): 2 * 4, 2 * -2; -1 * 4, -1 * -2.
APPEARANCE = torch.tensor([[8.0, -4.0], [-4.0, 2.0]])


def test_equations_7_and_8_are_the_bias_of_the_attention(relations: PaperRelations) -> None:
    found = relations(FEATURES, CENTRES, torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(found.bias[0, 0, 0], POSITION + APPEARANCE)


def test_equation_7_is_scaled_by_the_width_of_the_relation() -> None:
    module = PaperRelations(1, 4)
    for layer in (module.appearance_theta, module.appearance_phi):
        set_linear(layer, [[1.0]] * 4)
    for layer in (module.position_theta, module.position_phi):
        set_linear(layer, [[0.0, 0.0]] * 4)
    found = module(FEATURES, CENTRES, torch.ones(1, 2, dtype=torch.bool))
    # Four equal products over sqrt(4): 2 * 2 * 4 / 2 = 8, 2 * -1 * 4 / 2 = -4, 1 * 4 / 2 = 2.
    torch.testing.assert_close(found.bias[0, 0, 0], torch.tensor([[8.0, -4.0], [-4.0, 2.0]]))


def test_equation_9_mixes_by_both(relations: PaperRelations) -> None:
    # Row 0: 8 e^0.09 = 8.7534, -4 e^0.16 = -4.6940, sum 4.0593.
    # Row 1: -4 e^0.01 = -4.0402, 2 e^0.36 = 2.8667, sum -1.1735.
    found = relations(FEATURES, CENTRES, torch.ones(1, 2, dtype=torch.bool))
    expected = torch.tensor([[8.7534 / 4.0593, -4.6940 / 4.0593], [-4.0402 / -1.1735, 2.8667 / -1.1735]])
    torch.testing.assert_close(found.mixing[0, 0], expected, atol=1e-3, rtol=0)


def test_equation_11_attends_with_the_gate_as_query() -> None:
    layer = GraphLayer(2, heads=1, mlp_width=1)
    identity = [[1.0, 0.0], [0.0, 1.0]]
    set_linear(layer.to_query, identity)
    set_linear(layer.to_key_value, [*identity, [2.0, 0.0], [0.0, 2.0]])  # keys as they are, values doubled
    set_linear(layer.to_output, identity)
    for part in layer.mlp:
        if isinstance(part, nn.Linear):
            set_linear(part, [[0.0] * part.in_features] * part.out_features)
    nodes = torch.tensor([[[[1.0, 3.0], [4.0, 0.0]]]])
    gate = torch.tensor([[[[1.0, 0.0], [0.0, 2.0]]]])
    # LayerNorm makes the nodes (-1, 1) and (1, -1): keys those, values (-2, 2) and (2, -2).
    # Query (1, 0): logits -1 and 1, over sqrt(2); softmax 1 / (1 + e^sqrt(2)) = 0.19557 and 0.80443.
    # Query (0, 2): logits 2 and -2, over sqrt(2); softmax 0.94420 and 0.05580.
    first = 2 * (0.80443 - 0.19557)
    second = 2 * (0.05580 - 0.94420)
    expected = torch.tensor([[[[1 + first, 3 - first], [4 + second, 0 - second]]]])
    bias = torch.zeros(1, 1, 1, 2, 2)
    found = layer(nodes, gate=gate, keys_values=layer.keys_values(nodes), bias=bias)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    # A bias of ln 3 - sqrt(2) on the second key of the first query: logits -0.7071 and ln 3 - 0.7071, so 1 to 3.
    bias[0, 0, 0, 0, 1] = math.log(3) - math.sqrt(2)
    shifted = layer(nodes, gate=gate, keys_values=layer.keys_values(nodes), bias=bias)
    torch.testing.assert_close(shifted[0, 0, 0], torch.tensor([1.0 + 2 * 0.5, 3.0 - 2 * 0.5]), atol=1e-4, rtol=0)


def test_the_score_is_a_two_layer_perceptron_over_the_candidate() -> None:
    head = build_s2cnet(
        s2cnet_config(
            variant="paper", backbone="test_resnet", reduced_channels=1, align_size=1, embed_width=2, heads=1, layers=1,
            mlp_width=1, objects=1, head_width=6, readout="candidate",
        )
    ).head.eval()  # fmt: skip
    assert isinstance(head, nn.Sequential)
    linear = [layer for layer in head if isinstance(layer, nn.Linear)]
    set_linear(linear[0], [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    set_linear(linear[1], [[1.0, 10.0, 100.0, 7.0, 7.0, 0.5]])
    # (2, -3): hidden 2, -3, -2, 0, 0, -1, of which ReLU keeps the first: 2.
    # (-1, 4): hidden -1, 4, 1, 0, 0, 3: 40 + 100 + 1.5.
    found: Tensor = head(torch.tensor([[2.0, -3.0], [-1.0, 4.0]]))
    assert found.flatten().tolist() == [2.0, 141.5]
