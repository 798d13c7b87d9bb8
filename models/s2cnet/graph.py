"""The adaptive attention graph of S²CNet: one crop candidate and N objects, every node joined to every other.

Source: Su et al., "Spatial-Semantic Collaborative Cropping for User Generated Content" (AAAI 2024), as printed in Yue
et al., "Advancing Video Quality Assessment for AIGC" (arXiv 2409.14888), whose equations 7-11 are the numbers here, and
its public release (suyukun666/S2CNet at 6c92712), which differs. Both are implemented, named `paper` and `release`.

Glossary: B image, K candidate, N object, n = N + 1 nodes of a graph (the candidate first), D feature, E relation
feature, A head. The objects of an image are the same in all of its K graphs. Whatever depends on them alone is
therefore computed once per image, in the shape (B, N, ...), and joined to the candidates, (B, K, ...), as late as
possible.

Missing objects: an image with fewer than N keeps N nodes. No node reads from a missing one (its columns are left out of
every normalisation), and what a missing node holds at the end is set to zero before the score. With all N objects
present nothing is masked.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

# Equation 9 divides by a row sum of terms of either sign, which can be zero. Guard: a sum smaller than this share of
# the sum of the absolute terms is raised to it, keeping its sign; a row of zeros stays zero. An entry of the adjacency
# is therefore at most 1 / 0.1, and rows whose terms do not cancel are as printed.
ROW_SUM_FLOOR = 0.1


class Relations(NamedTuple):
    """How the nodes of a graph relate to each other.

    Attributes:
        bias: (B, K, A, n, n) or (B, K, 1, n, n), added to the attention logits; -inf in the columns of missing objects.
        mixing: (B, K, n, n), the adjacency that the gate gathers features with; 0 in the columns of missing objects.
    """

    bias: Tensor
    mixing: Tensor


def join(candidates: Tensor, objects: Tensor) -> Tensor:
    """Join every candidate with the objects of its image.

    Args:
        candidates: (B, K, ...).
        objects: (B, N, ...).

    Returns:
        (B, K, n, ...), the candidate first.
    """
    n_candidates = candidates.shape[1]
    shared = objects[:, None].expand(-1, n_candidates, *objects.shape[1:])
    return torch.cat([candidates[:, :, None], shared], dim=2)


def join_pairs(
    pair: Callable[[Tensor, Tensor], Tensor], left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]
) -> Tensor:
    """Values of all ordered pairs of nodes; those of two objects are computed once per image.

    Args:
        pair: Maps (..., P, E) and (..., Q, E) to (..., P, Q).
        left: Features of the candidates (B, K, E) and of the objects (B, N, E) in the role of the row.
        right: The same in the role of the column.

    Returns:
        (B, K, n, n).
    """
    (left_candidates, left_objects), (right_candidates, right_objects) = left, right
    n_candidates = left_candidates.shape[1]
    own = pair(left_candidates[:, :, None], right_candidates[:, :, None])
    to_objects = pair(left_candidates, right_objects)[:, :, None]
    from_objects = pair(left_objects, right_candidates).transpose(1, 2)[..., None]
    between = pair(left_objects, right_objects)[:, None].expand(-1, n_candidates, -1, -1)
    return torch.cat([torch.cat([own, to_objects], dim=3), torch.cat([from_objects, between], dim=3)], dim=2)


def dot_products(left: Tensor, right: Tensor) -> Tensor:
    """Dot products of all pairs of rows: (..., P, E) and (..., Q, E) -> (..., P, Q)."""
    return left @ right.transpose(-1, -2)


def distances(left: Tensor, right: Tensor) -> Tensor:
    """Euclidean distances of all pairs of rows: (..., P, E) and (..., Q, E) -> (..., P, Q).

    They are computed from differences: expanded squares can turn negative by rounding.
    """
    result: Tensor = torch.linalg.vector_norm(left[..., :, None, :] - right[..., None, :, :], dim=-1)
    return result


def squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """Squared Euclidean distances of all pairs of rows: (..., P, E) and (..., Q, E) -> (..., P, Q)."""
    return (left[..., :, None, :] - right[..., None, :, :]).square().sum(dim=-1)


def guarded_adjacency(appearance: Tensor, position: Tensor, present: Tensor) -> Tensor:
    """The adjacency A = M_a e^{M_p}, divided by its row sum (equation 9).

    Two guards: the row maximum of M_p is subtracted first (the quotient stays the same, and the exponential cannot
    overflow), and ROW_SUM_FLOOR.

    Args:
        appearance: M_a, (..., n, n).
        position: M_p, (..., n, n).
        present: (..., 1, n) bool, False in the columns of missing objects.

    Returns:
        (..., n, n), 0 in the columns of missing objects.
    """
    position = position.masked_fill(~present, -torch.inf)
    position = position - position.amax(dim=-1, keepdim=True).detach()
    terms = appearance * position.exp()
    total = terms.sum(dim=-1, keepdim=True)
    floor = ROW_SUM_FLOOR * terms.abs().sum(dim=-1, keepdim=True)
    total = torch.where(total.abs() < floor, torch.where(total < 0, -floor, floor), total)
    return terms / torch.where(total == 0, torch.ones_like(total), total)


class PairRelations(nn.Module):
    """Embeddings of centres and features that relate the nodes: the common part of both variants."""

    def __init__(self, width: int, relation_width: int) -> None:
        super().__init__()
        self.position_theta = nn.Linear(2, relation_width)
        self.position_phi = nn.Linear(2, relation_width)
        self.appearance_theta = nn.Linear(width, relation_width)
        self.appearance_phi = nn.Linear(width, relation_width)
        self.scale: float = relation_width**-0.5

    def _position(self, measure: Callable[[Tensor, Tensor], Tensor], centres: tuple[Tensor, Tensor]) -> Tensor:
        theta = (self.position_theta(centres[0]), self.position_theta(centres[1]))
        phi = (self.position_phi(centres[0]), self.position_phi(centres[1]))
        return join_pairs(measure, theta, phi)

    def _appearance(self, features: tuple[Tensor, Tensor]) -> Tensor:
        """Scaled dot products of two embeddings (equation 7)."""
        theta = (self.appearance_theta(features[0]), self.appearance_theta(features[1]))
        phi = (self.appearance_phi(features[0]), self.appearance_phi(features[1]))
        return join_pairs(dot_products, theta, phi) * self.scale


class ReleaseRelations(PairRelations):
    """Distances / sqrt(E) and dot products / sqrt(E), each spread over the heads by its own Linear(1, A)."""

    def __init__(self, width: int, relation_width: int, heads: int) -> None:
        super().__init__(width, relation_width)
        self.position_heads = nn.Linear(1, heads)
        self.appearance_heads = nn.Linear(1, heads)

    def forward(self, features: tuple[Tensor, Tensor], centres: tuple[Tensor, Tensor], present: Tensor) -> Relations:
        """Relate the nodes.

        Args:
            features: (B, K, D) of the candidates and (B, N, D) of the objects.
            centres: (B, K, 2) and (B, N, 2), x and y as shares of the image, 0..1.
            present: (B, n) bool, the candidate first.
        """
        position = self.position_heads((self._position(distances, centres) * self.scale)[..., None])
        appearance = self.appearance_heads(self._appearance(features)[..., None])
        absent = ~present[:, None, None, :]
        agreement = position.mean(dim=-1) * appearance.mean(dim=-1)
        mixing = agreement.masked_fill(absent, -torch.inf).softmax(dim=-1)
        bias = (position + appearance).movedim(-1, 2)
        return Relations(bias=bias.masked_fill(absent[:, None], -torch.inf), mixing=mixing)


class PaperRelations(PairRelations):
    """Equations 7-9 as printed: unscaled squared distances, a guarded quotient, one map for all heads."""

    def __init__(self, width: int, relation_width: int) -> None:
        super().__init__(width, relation_width)
        # The squared distance is a sum over E features. The usual initialisation makes it about a hundred: one node
        # takes all of the exponential, and its gradient is zero. The paper prints no initialisation; this one starts
        # with distances below 1.
        for layer in (self.position_theta, self.position_phi):
            nn.init.normal_(layer.weight, std=0.5 * self.scale)
            nn.init.zeros_(layer.bias)

    def forward(self, features: tuple[Tensor, Tensor], centres: tuple[Tensor, Tensor], present: Tensor) -> Relations:
        """Relate the nodes; arguments as those of `ReleaseRelations.forward`."""
        position = self._position(squared_distances, centres)  # equation 8
        appearance = self._appearance(features)  # equation 7
        columns = present[:, None, None, :]
        mixing = guarded_adjacency(appearance, position, columns)  # equation 9
        bias = (position + appearance).masked_fill(~columns, -torch.inf)
        return Relations(bias=bias[:, :, None], mixing=mixing)


class Gate(nn.Module):
    """Features gathered from the nodes: ReLU(A Z X) (equation 10); in the release after a LayerNorm.

    The paper prints Z as (N + 1) x d; here it is d x d in both variants, as in the release.
    """

    def __init__(self, width: int, *, normalise: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)
        self.norm: nn.Module = nn.LayerNorm(width) if normalise else nn.Identity()

    def project(self, nodes: Tensor) -> Tensor:
        """The product X Z, which can be shared between graphs: A (X Z) is (A X) Z.

        Args:
            nodes: X, (..., D).

        Returns:
            (..., D).
        """
        projected: Tensor = self.linear(nodes)
        return projected

    def forward(self, mixing: Tensor, projected: Tensor) -> Tensor:
        """Gather features.

        Args:
            mixing: A, (B, K, q, n); q of the n nodes gather.
            projected: X Z, (B, K, n, D).

        Returns:
            (B, K, q, D).
        """
        return functional.relu(self.norm(mixing @ projected))


class GraphLayer(nn.Module):
    """Attention whose queries come from the gate (equation 11), then a perceptron.

    The residuals, the norms before both and the perceptron are the release's; the paper prints none of them.
    """

    def __init__(self, width: int, *, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.heads = heads
        # Of the full width, not of that of a head, as in the release.
        self.scale: float = width**-0.5
        self.attention_norm = nn.LayerNorm(width)
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_key_value = nn.Linear(width, 2 * width, bias=False)
        self.to_output = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_width), nn.GELU(), nn.Linear(mlp_width, width))

    def keys_values(self, nodes: Tensor) -> Tensor:
        """Keys and values of the nodes: (..., D) -> (..., 2 D)."""
        keys_values: Tensor = self.to_key_value(self.attention_norm(nodes))
        return keys_values

    def forward(self, nodes: Tensor, *, gate: Tensor, keys_values: Tensor, bias: Tensor) -> Tensor:
        """Pass messages to q of the n nodes.

        Args:
            nodes: (B, K, q, D).
            gate: (B, K, q, D), the gate's output for them.
            keys_values: (B, K, n, 2 D), of all nodes.
            bias: (B, K, A or 1, q, n), added to the attention logits.

        Returns:
            (B, K, q, D).
        """
        parts = (self.to_query(gate), *keys_values.chunk(2, dim=-1))
        query, key, value = (torch.unflatten(part, -1, (self.heads, -1)).transpose(2, 3) for part in parts)
        attention = (query @ key.transpose(-1, -2) * self.scale + bias).softmax(dim=-1)
        nodes = nodes + self.to_output((attention @ value).transpose(2, 3).flatten(3))
        result: Tensor = nodes + self.mlp(self.mlp_norm(nodes))
        return result


class Graph(nn.Module):
    """Relations, and layers that pass messages along them.

    Attributes:
        relations: ReleaseRelations or PaperRelations.
        gate: Shared by all layers.
        layers: GraphLayers of one width.
        candidate_only: Whether only the candidate's node is read afterwards; the last layer then computes no other.
    """

    def __init__(self, relations: nn.Module, gate: Gate, layers: list[GraphLayer], *, candidate_only: bool) -> None:
        super().__init__()
        self.relations = relations
        self.gate = gate
        self.layers = nn.ModuleList(layers)
        self.candidate_only = candidate_only

    def forward(self, features: tuple[Tensor, Tensor], centres: tuple[Tensor, Tensor], present: Tensor) -> Tensor:
        """Pass messages through all layers.

        Args:
            features: (B, K, D) of the candidates and (B, N, D) of the objects.
            centres: (B, K, 2) and (B, N, 2), x and y as shares of the image, 0..1.
            present: (B, N) bool, False for missing objects.

        Returns:
            Nodes after the last layer: (B, K, n, D), zeros for missing objects; (B, K, 1, D) if `candidate_only`.
        """
        present = functional.pad(present, (1, 0), value=True)
        relations = self.relations(features, centres, present)
        nodes = join(*features)
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, GraphLayer)
            # Before the first layer, an object is the same in every graph of its image.
            shared = features if index == 0 else None
            last = index == len(self.layers) - 1
            rows = slice(0, 1) if last and self.candidate_only else slice(None)
            gate = self.gate(relations.mixing[:, :, rows], _each_node(self.gate.project, nodes, shared))
            keys_values = _each_node(layer.keys_values, nodes, shared)
            nodes = layer(nodes[:, :, rows], gate=gate, keys_values=keys_values, bias=relations.bias[..., rows, :])
        if self.candidate_only:
            return nodes
        return nodes.masked_fill(~present[:, None, :, None], 0.0)


def _each_node(function: Callable[[Tensor], Tensor], nodes: Tensor, shared: tuple[Tensor, Tensor] | None) -> Tensor:
    """Apply `function` to every node (B, K, n, D); before joining where candidates and objects are given apart."""
    if shared is None:
        return function(nodes)
    return join(function(shared[0]), function(shared[1]))
