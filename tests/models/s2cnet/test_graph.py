"""The graph against the equations: numbers by hand, slow loops, and what missing objects may not change."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from models.s2cnet.graph import (
    Gate,
    Graph,
    GraphLayer,
    PaperRelations,
    ReleaseRelations,
    guarded_adjacency,
    join,
)

WIDTH, HEADS = 8, 2


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relations_of(variant: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        module = PaperRelations(WIDTH, 4) if variant == "paper" else ReleaseRelations(WIDTH, 4, HEADS)
    return module.double()


def graph_of(variant: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        relations = relations_of(variant)
        torch.default_generator.manual_seed(4)
        gate = Gate(WIDTH, normalise=variant == "release")
        layers = [GraphLayer(WIDTH, heads=HEADS, mlp_width=16) for _ in range(2)]
    return Graph(relations, gate, layers, candidate_only=False).double().eval()


def inputs(n_images: int, n_candidates: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Features and centres of the candidates and of three objects."""
    features = draw(n_images, n_candidates, WIDTH), draw(n_images, 3, WIDTH, seed=1)
    return features, (draw(n_images, n_candidates, 2, seed=2), draw(n_images, 3, 2, seed=3))


ALL = torch.ones(1, 3, dtype=torch.bool)


def test_adjacency_by_hand():
    # M_a = [1 2; 3 -1], M_p = [0 ln2; ln4 0].
    # Row 0: terms 1 * 1, 2 * 2, sum 5 -> 0.2, 0.8.  Row 1: 3 * 4, -1 * 1, sum 11 -> 12/11, -1/11.
    appearance = torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64)
    position = torch.tensor([[0.0, math.log(2)], [math.log(4), 0.0]], dtype=torch.float64)
    found = guarded_adjacency(appearance, position, torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(found, torch.tensor([[0.2, 0.8], [12 / 11, -1 / 11]], dtype=torch.float64))


def test_guards_of_the_adjacency():
    # The terms cancel to 0: of the absolute sum 2 a tenth, 0.2, is taken: 1 / 0.2 = 5. Row 1 cancels to -0.1
    # of 2.1, whose tenth is 0.21: -0.21 is taken, the sign kept. Row 2: all zero stays zero.
    appearance = torch.tensor([[1.0, -1.0], [1.0, -1.1], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    found = guarded_adjacency(appearance, torch.zeros(3, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.bool))
    expected = [[5.0, -5.0], [1 / -0.21, 1.1 / 0.21], [0.0, 0.0]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    found.sum().backward()
    assert appearance.grad is not None
    assert torch.isfinite(appearance.grad).all()


def test_a_large_distance_does_not_overflow():
    # e^1000 is infinite. Relative to the row maximum: terms e^-1000 = 0 and 2, so the row is (0, 1).
    position = torch.tensor([[0.0, 1000.0]])
    found = guarded_adjacency(torch.tensor([[1.0, 2.0]]), position, torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(found, torch.tensor([[0.0, 1.0]]))


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_relations_against_a_slow_loop(variant):
    """Every pair on its own, from the definitions, for two candidates and three objects."""
    module = relations_of(variant)
    features, centres = (
        (draw(1, 2, WIDTH), draw(1, 3, WIDTH, seed=1)),
        (draw(1, 2, 2, seed=2), draw(1, 3, 2, seed=3)),
    )
    found = module(features, centres, torch.ones(1, 4, dtype=torch.bool))
    for k in range(2):
        nodes = torch.cat([features[0][0, k : k + 1], features[1][0]])
        places = torch.cat([centres[0][0, k : k + 1], centres[1][0]])
        position, appearance = torch.zeros(4, 4).double(), torch.zeros(4, 4).double()
        for i in range(4):
            for j in range(4):
                offset = module.position_theta(places[i]) - module.position_phi(places[j])
                squared = (offset * offset).sum()
                position[i, j] = squared if variant == "paper" else squared.sqrt() / 2  # sqrt(E) = sqrt(4)
                appearance[i, j] = module.appearance_theta(nodes[i]) @ module.appearance_phi(nodes[j]) / 2
        if variant == "paper":
            terms = appearance * position.exp()
            totals = []
            for row in terms.detach():
                total, floor = float(row.sum()), 0.1 * float(row.abs().sum())
                totals.append(math.copysign(max(abs(total), floor), total))
            mixing = terms / torch.tensor(totals).double()[:, None]
            bias = (position + appearance)[None]
        else:
            p_heads = position[..., None] * module.position_heads.weight[:, 0] + module.position_heads.bias
            a_heads = appearance[..., None] * module.appearance_heads.weight[:, 0] + module.appearance_heads.bias
            mixing = (p_heads.mean(-1) * a_heads.mean(-1)).softmax(dim=1)
            bias = (p_heads + a_heads).permute(2, 0, 1)
        torch.testing.assert_close(found.mixing[0, k], mixing)
        torch.testing.assert_close(found.bias[0, k], bias)


def test_gate_by_hand():
    # A = [0.5 0.5], X Z = [[2, -4], [4, 2]]: the mean is [3, -1], ReLU gives [3, 0].
    gate = Gate(2, normalise=False)
    found = gate(torch.tensor([[[[0.5, 0.5]]]]), torch.tensor([[[[2.0, -4.0], [4.0, 2.0]]]]))
    assert found.flatten().tolist() == [3.0, 0.0]


def test_layer_against_a_slow_loop():
    layer = graph_of("release").layers[0]
    nodes, gate, bias = draw(1, 1, 4, WIDTH), draw(1, 1, 4, WIDTH, seed=1), draw(1, 1, HEADS, 4, 4, seed=2)
    found = layer(nodes, gate=gate, keys_values=layer.keys_values(nodes), bias=bias)[0, 0]
    x = nodes[0, 0]
    keys, values = layer.to_key_value(layer.attention_norm(x)).chunk(2, dim=1)
    queries, half = layer.to_query(gate[0, 0]), WIDTH // HEADS
    rows = []
    for i in range(4):
        parts = []
        for head in range(HEADS):
            part = slice(head * half, (head + 1) * half)
            logits = torch.stack([queries[i, part] @ keys[j, part] for j in range(4)]) / math.sqrt(WIDTH)
            parts.append((logits + bias[0, 0, head, i]).softmax(dim=0) @ values[:, part])
        rows.append(torch.cat(parts))
    attended = x + layer.to_output(torch.stack(rows))
    torch.testing.assert_close(found, attended + layer.mlp(layer.mlp_norm(attended)))


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_candidates_do_not_see_each_other(variant):
    graph = graph_of(variant)
    features, centres = (
        (draw(1, 5, WIDTH), draw(1, 3, WIDTH, seed=1)),
        (draw(1, 5, 2, seed=2), draw(1, 3, 2, seed=3)),
    )
    together = graph(features, centres, ALL)
    alone = graph((features[0][:, 2:3], features[1]), (centres[0][:, 2:3], centres[1]), ALL)
    torch.testing.assert_close(together[:, 2:3], alone)


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_candidate_only_is_the_first_row(variant):
    features, centres = (
        (draw(2, 3, WIDTH), draw(2, 3, WIDTH, seed=1)),
        (draw(2, 3, 2, seed=2), draw(2, 3, 2, seed=3)),
    )
    graph = graph_of(variant)
    everything = graph(features, centres, ALL.expand(2, 3))
    graph.candidate_only = True
    torch.testing.assert_close(graph(features, centres, ALL.expand(2, 3)), everything[:, :, :1])


@pytest.mark.parametrize("variant", ["paper", "release"])
@pytest.mark.parametrize("n_present", [0, 1, 2])
def test_missing_objects_change_nothing(variant, n_present):
    """A graph with masked nodes is the smaller graph, whatever the masked nodes hold."""
    graph = graph_of(variant)
    candidates, objects = draw(1, 2, WIDTH), draw(1, 3, WIDTH, seed=1)
    places, object_places = draw(1, 2, 2, seed=2), draw(1, 3, 2, seed=3)
    present = torch.arange(3)[None] < n_present
    found = graph((candidates, objects), (places, object_places), present)
    few = slice(0, n_present)
    smaller = graph((candidates, objects[:, few]), (places, object_places[:, few]), present[:, few])
    torch.testing.assert_close(found[:, :, : n_present + 1], smaller)
    assert torch.equal(found[:, :, n_present + 1 :], torch.zeros_like(found[:, :, n_present + 1 :]))


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_gradients_are_finite_for_equal_nodes(variant):
    # Equal centres and features give distances of 0, where the square root has no slope.
    graph = graph_of(variant)
    with torch.no_grad():
        for name in ("weight", "bias"):
            theta, phi = (getattr(graph.relations, f"position_{role}") for role in ("theta", "phi"))
            getattr(phi, name).copy_(getattr(theta, name))
    features = torch.ones(1, 3, WIDTH, dtype=torch.float64)
    centres = torch.ones(1, 3, 2, dtype=torch.float64)
    graph((features[:, :2], features), (centres[:, :2], centres), ALL).sum().backward()
    gradients = [parameter.grad for parameter in graph.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def test_join_puts_the_candidate_first():
    joined = join(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[7.0], [8.0]]]))
    assert joined.squeeze().tolist() == [[1.0, 7.0, 8.0], [2.0, 7.0, 8.0]]
