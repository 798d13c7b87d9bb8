"""Public checkpoints of S²CNet: their names of the parameters, and the constants of the data behind them.

Source: suyukun666/S2CNet at 6c92712. `models.s2cnet.from_release` builds the networks.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from models.errors import AigcVqaError

# Constants of the release's data pipeline: input side, and mean and deviation of the MOS that it was trained on.
RELEASE_SHORT_SIDE_PX = 256
RELEASE_MOS_MEAN, RELEASE_MOS_STD = 2.95, 0.8

# The release numbers the layers of an inverted residual with its activations, torchvision without them; the
# first block has no expanding convolution.
FIRST_BLOCK = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}
OTHER_BLOCKS = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}

PREFIXES = {
    "DimRed.": "features.reduce.",
    "node_emb.": "embed.",
    "GraphConstructor.fc_rn_theta.": "graph.relations.appearance_theta.",
    "GraphConstructor.fc_rn_phi.": "graph.relations.appearance_phi.",
    "GraphConstructor.pos_ascension_theta.": "graph.relations.position_theta.",
    "GraphConstructor.pos_ascension_phi.": "graph.relations.position_phi.",
    "GraphConstructor.pos_to_head.": "graph.relations.position_heads.",
    "GraphConstructor.app_to_head.": "graph.relations.appearance_heads.",
    "GraphTransformer.fc_gcn.": "graph.gate.linear.",
    "GraphTransformer.nl_gcn.": "graph.gate.norm.",
    "FC_layers.0.0.": "head.0.",
    "FC_layers.0.1.": "head.1.",
    "FC_layers.1.0.": "head.3.",
    "FC_layers.1.1.": "head.4.",
    "FC_layers.3.": "head.7.",
    "FC_layers.": "head.",
}
LAYER_PARTS = {
    "0.fn.norm": "attention_norm",
    "0.fn.fn.to_q": "to_query",
    "0.fn.fn.to_kv": "to_key_value",
    "0.fn.fn.to_out.0": "to_output",
    "1.fn.norm": "mlp_norm",
    "1.fn.fn.net.0": "mlp.0",
    "1.fn.fn.net.3": "mlp.2",
}


class CheckpointError(AigcVqaError):
    """A state dict that is not S²CNet's; the text lists missing and unknown keys and wrong shapes."""


def translate(state_dict: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The release's weights under the names of `models.s2cnet`, where `own` is the state of the network to fill.

    Every key must find its place and every place its key. Raises CheckpointError that lists what is missing,
    unknown or of another shape.
    """
    places = {key: own_name(key) for key in state_dict}
    taken = set(places.values())
    problems = [f"missing {key} {tuple(value.shape)}" for key, value in own.items() if key not in taken]
    translated = {}
    for key, value in state_dict.items():
        place = places[key]
        if place is None or place not in own:
            problems.append(f"unknown {key} {tuple(value.shape)}")
            continue
        # The head's convolutions over 16x16 maps and over 1x1 are linear layers over the same numbers in one row.
        flat = value.flatten(1) if place.startswith("head.") and value.ndim == 4 else value
        if flat.shape == own[place].shape:
            translated[place] = flat
        else:
            problems.append(f"{key} is {tuple(value.shape)}, expected {tuple(own[place].shape)} for {place}")
    if problems:
        raise CheckpointError(
            f"not a checkpoint of the S2CNet release; {len(problems)} keys do not fit: {'; '.join(problems)}"
        )
    return translated


def own_name(key: str) -> str | None:
    """The name in `models.s2cnet` of a parameter of the release; None for a key that it does not have."""
    if match := re.fullmatch(r"Feat_ext\.feature[345]\.0\.(\d+)\.(.+)", key):
        block, rest = int(match[1]), match[2]
        if block > 0:
            inner = re.fullmatch(r"conv\.(\d+)\.(\w+)", rest)
            names = FIRST_BLOCK if block == 1 else OTHER_BLOCKS
            if inner is None or inner[1] not in names:
                return None
            rest = f"conv.{names[inner[1]]}.{inner[2]}"
        return f"features.backbone.features.{block}.{rest}"
    if match := re.fullmatch(r"GraphTransformer\.layers\.(\d+)\.(.+)\.(\w+)", key):
        part = LAYER_PARTS.get(match[2])
        return None if part is None else f"graph.layers.{match[1]}.{part}.{match[3]}"
    for prefix, name in PREFIXES.items():
        if key.startswith(prefix):
            return name + key.removeprefix(prefix)
    return None
