"""Public checkpoints of S²CNet: their names of the parameters, and the constants of their training data.

Source: suyukun666/S2CNet at 6c92712. `models.s2cnet.network.from_release` builds the networks.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from models.backbones import misfits, say_misfits, shapes_of
from models.errors import AigcVqaError

# Constants of the release's data pipeline: input side, and mean and deviation of the MOS that it was trained on.
RELEASE_SHORT_SIDE_PX = 256
RELEASE_MOS_MEAN, RELEASE_MOS_STD = 2.95, 0.8

# The release cuts MobileNetV2 into three parts, at the ends of strides 8, 16 and 32.
BACKBONE_PARTS = {"feature3": range(7), "feature4": range(7, 14), "feature5": range(14, 18)}
# Our names -> the release's. It counts activations among the layers of an inverted residual, torchvision does not; the
# first block has no expanding convolution.
FIRST_BLOCK = {"0.0": "0", "0.1": "1", "1": "3", "2": "4"}
OTHER_BLOCKS = {"0.0": "0", "0.1": "1", "1.0": "3", "1.1": "4", "2": "6", "3": "7"}

MODULES = {
    "features.reduce": "DimRed",
    "embed.0": "node_emb.0",
    "embed.1": "node_emb.1",
    "graph.relations.appearance_theta": "GraphConstructor.fc_rn_theta",
    "graph.relations.appearance_phi": "GraphConstructor.fc_rn_phi",
    "graph.relations.position_theta": "GraphConstructor.pos_ascension_theta",
    "graph.relations.position_phi": "GraphConstructor.pos_ascension_phi",
    "graph.relations.position_heads": "GraphConstructor.pos_to_head",
    "graph.relations.appearance_heads": "GraphConstructor.app_to_head",
    "graph.gate.linear": "GraphTransformer.fc_gcn",
    "graph.gate.norm": "GraphTransformer.nl_gcn",
    "head": "FC_layers",
    "head.0": "FC_layers.0.0",
    "head.1": "FC_layers.0.1",
    "head.3": "FC_layers.1.0",
    "head.4": "FC_layers.1.1",
    "head.7": "FC_layers.3",
}
LAYER_PARTS = {
    "attention_norm": "0.fn.norm",
    "to_query": "0.fn.fn.to_q",
    "to_key_value": "0.fn.fn.to_kv",
    "to_output": "0.fn.fn.to_out.0",
    "mlp_norm": "1.fn.norm",
    "mlp.0": "1.fn.fn.net.0",
    "mlp.2": "1.fn.fn.net.3",
}
# The release's head convolves maps of 16x16, one per node: a linear layer over the same numbers in one row.
NODE_MAP_PX = 16
HEAD_CONVOLUTIONS = ("head.0.weight", "head.3.weight", "head.7.weight")


class CheckpointError(AigcVqaError):
    """A state dict that is not S²CNet's; the text lists missing and unknown keys and wrong shapes."""


def translate(state_dict: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The release's weights under our names.

    Every key must have its place and every place its key, in the release's own shape.

    Args:
        state_dict: The release's checkpoint; `module.` before a name (from DataParallel) is dropped.
        own: State of the network to fill.

    Raises:
        CheckpointError: The message lists, under the release's names, what is missing, unknown, present twice, of
            another shape, no tensor, or not finite.
    """
    given: dict[str, Tensor] = {}
    twice = []
    for key, value in state_dict.items():
        name = key.removeprefix("module.")
        if name in given:
            twice.append(name)
        given[name] = value
    places = {release_name(place): place for place in own}
    expected = {key: release_shape(place, own) for key, place in places.items()}
    tensors = {key: value for key, value in given.items() if isinstance(value, Tensor)}
    # What is no tensor is named as such, and is not missing too.
    there = {key: shape for key, shape in expected.items() if key in given} | shapes_of(tensors)
    others = {
        "there twice (with and without module.)": twice,
        "no tensor": [f"{key} ({type(value).__name__})" for key, value in given.items() if key not in tensors],
        "not finite": [key for key, value in tensors.items() if not value.isfinite().all()],
    }
    problems = misfits(there, expected, counters_needed=True) | {what: keys for what, keys in others.items() if keys}
    if problems:
        raise CheckpointError(f"not a checkpoint of the S2CNet release; {say_misfits(problems)}")
    return {places[key]: value.reshape(own[places[key]].shape) for key, value in tensors.items()}


def release_name(place: str) -> str:
    """The release's name of a parameter of a network that `models.s2cnet.network.from_release` builds."""
    module, _, kind = place.rpartition(".")
    if module in MODULES:
        return f"{MODULES[module]}.{kind}"
    if match := re.fullmatch(r"graph\.layers\.(\d+)\.(.+)", module):
        return f"GraphTransformer.layers.{match[1]}.{LAYER_PARTS.get(match[2], match[2])}.{kind}"
    if match := re.fullmatch(r"features\.backbone\.features\.(\d+)\.(.+)", module):
        block, inner = int(match[1]), match[2]
        part = next((name for name, blocks in BACKBONE_PARTS.items() if block in blocks), "none")
        if inner.startswith("conv."):
            layers = FIRST_BLOCK if block == 1 else OTHER_BLOCKS
            inner = f"conv.{layers.get(inner.removeprefix('conv.'), 'none')}"
        return f"Feat_ext.{part}.0.{block}.{inner}.{kind}"
    return place


def release_shape(place: str, own: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The shape in which the release stores a parameter.

    Args:
        place: Our name of the parameter.
        own: State of the network.
    """
    shape = tuple(own[place].shape)
    if place == HEAD_CONVOLUTIONS[0]:
        return (shape[0], shape[1] // NODE_MAP_PX**2, NODE_MAP_PX, NODE_MAP_PX)
    return (*shape, 1, 1) if place in HEAD_CONVOLUTIONS else shape
