"""Public weights of SAMA. They have FAST-VQA-B's names, and terms of their own: education and research only."""

from collections.abc import Mapping
from typing import Any

from models.methods.fast_vqa.network import FragmentNet, build_fragment_net
from models.methods.fast_vqa.public import load_public
from models.methods.sama.config import PUBLISHED


def from_public(state_dict: Mapping[str, Any]) -> FragmentNet:
    """The network of a public checkpoint of SAMA.

    Args:
        state_dict: The checkpoint, as `fast_vqa.public.load_public` takes it.

    Returns:
        The network in evaluation mode, float32: normalised fragments (B, 3, T, H, W) -> (B,), the mean over all
        places as at test.

    Raises:
        FragmentWeightsError: Keys do not fit.
    """
    network = build_fragment_net(PUBLISHED.network)
    load_public(network, state_dict, source="SAMA")
    return network.eval()
