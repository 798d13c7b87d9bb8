"""Public weights of the FAST family, and of the Video-Swins that a training may start from.

Sources of the names: releases v2.0.0 and v2.0.1 of VQAssessment/FAST-VQA-and-FasterVQA; SwinTransformer/storage
v1.0.4 (`swin_tiny_patch244_window877_kinetics400_1k.pth`); torchvision's `swin3d_t`.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from models.backbones import Misfits, misfits, say_misfits, shapes_of
from models.errors import AigcVqaError, listed
from models.methods.fast_vqa.config import NETWORK_B, NETWORK_M, FastVqaNetwork
from models.methods.fast_vqa.network import FragmentNet, build_fragment_net
from models.methods.fast_vqa.position_bias import Sizes, table_rows
from models.methods.fast_vqa.swin import GatedVideoSwin

# A buffer of the public code. Here it is computed when needed; a file may have it or not, and it must be the same.
INDEX = "relative_position_index"
TABLE = "relative_position_bias_table"
GATE_TABLE = "fragment_position_bias_table"
WRAPPER = "state_dict"
MODULE = "module."
# torchvision's names inside a block -> ours.
PERCEPTRON = {"mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2"}
VARIANTS: dict[str, FastVqaNetwork] = {"B": NETWORK_B, "M": NETWORK_M}


class FragmentWeightsError(AigcVqaError, ValueError):
    """Weights that are not those of the network; the text counts and names the keys that do not fit."""


def from_public(state_dict: Mapping[str, Any], variant: Literal["B", "M"] = "B") -> FragmentNet:
    """The network of a public checkpoint of FAST-VQA.

    Args:
        state_dict: The checkpoint, as `load_public` takes it.
        variant: "B" (FAST-VQA, also FasterVQA and its -MS and -MT) or "M" (FAST-VQA-M).

    Returns:
        The network in evaluation mode, float32: normalised fragments (B, 3, T, H, W) -> (B,).

    Raises:
        FragmentWeightsError: Keys do not fit, or there is no such variant.
    """
    if variant not in VARIANTS:
        raise FragmentWeightsError(f"variant is {variant!r}; allowed: {', '.join(map(repr, VARIANTS))}")
    network = build_fragment_net(VARIANTS[variant])
    load_public(network, state_dict, source=f"FAST-VQA-{variant}")
    return network.eval()


def load_public(network: FragmentNet, state_dict: Mapping[str, Any], *, source: str) -> None:
    """Puts public weights into a network; every key must have its place and every place its key.

    Args:
        network: To fill. It stays as it was when the weights do not fit.
        state_dict: Name -> tensor; what wraps it under `state_dict`, and `module.` before all names, is taken off.
            `relative_position_index` may be missing.
        source: Whose weights they should be, for the message.

    Raises:
        FragmentWeightsError: The message counts and names what is missing, unknown, of another shape, no tensor or
            not finite, and each position index that differs from ours.
    """
    given = unwrapped(state_dict)
    indices = {key: value for key, value in given.items() if key.endswith(f".{INDEX}")}
    weights = {key: value for key, value in given.items() if key not in indices}
    own = network.state_dict()
    problems = _problems(weights, own) | _index_problems(indices, own, network.fragments_backbone.base)
    if problems:
        raise FragmentWeightsError(f"these are not the weights of {source}; {say_misfits(problems)}")
    network.load_state_dict(weights)


def load_video_swin(backbone: GatedVideoSwin, state_dict: Mapping[str, Any]) -> list[str]:
    """Starts a backbone from weights of Video-Swin-T, in the names of its authors or of torchvision.

    The table inside a patch (P) is in no such file and starts at zero. Tables of another window (FAST-VQA-M's) keep
    the values that they have, as do the public code's.

    Args:
        backbone: To fill. It stays as it was when the weights do not fit.
        state_dict: `backbone.*` and `cls_head.*`, or torchvision's `swin3d_t`; wrapped or not. The head is left out.

    Returns:
        The names of the tables that keep their values because the file has them for another window.

    Raises:
        FragmentWeightsError: The message counts and names the keys that do not fit.
    """
    given = {
        _swin_name(key): value
        for key, value in unwrapped(state_dict).items()
        if not key.startswith(("cls_head.", "head."))
    }
    own = {key: value for key, value in backbone.state_dict().items() if not key.endswith(GATE_TABLE)}
    other_window = [
        key
        for key, value in own.items()
        if key.endswith(TABLE)
        and isinstance(table := given.get(key), Tensor)
        and table.ndim == 2
        and table.shape[0] != value.shape[0]
        and table.shape[1] == value.shape[1]
    ]
    indices = {key: value for key, value in given.items() if key.endswith(f".{INDEX}")}
    weights = {key: value for key, value in given.items() if key not in indices and key not in other_window}
    expected = {key: value for key, value in own.items() if key not in other_window}
    # The index of another window belongs to its table.
    compared = {key: value for key, value in indices.items() if key.replace(INDEX, TABLE) not in other_window}
    if problems := _problems(weights, expected) | _index_problems(compared, own, backbone.base):
        raise FragmentWeightsError(f"these are not the weights of a Video-Swin; {say_misfits(problems)}")
    gates = {key: torch.zeros_like(value) for key, value in backbone.state_dict().items() if key.endswith(GATE_TABLE)}
    backbone.load_state_dict({**backbone.state_dict(), **weights, **gates})
    return other_window


def unwrapped(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The weights alone: without what stands around `state_dict`, and without `module.` where all names have it.

    Raises:
        FragmentWeightsError: There are no names in it.
    """
    inner = state_dict.get(WRAPPER, state_dict)
    if not isinstance(inner, Mapping) or not inner:
        raise FragmentWeightsError(
            f"weights hold {listed([str(key) for key in state_dict]) or 'nothing'}; needed: names and tensors, as they "
            f"are or under {WRAPPER!r}"
        )
    wrapped = all(str(key).startswith(MODULE) for key in inner)
    return {str(key).removeprefix(MODULE) if wrapped else str(key): value for key, value in inner.items()}


def _swin_name(key: str) -> str:
    """Our name of a parameter of Video-Swin's authors (`backbone.` before it) or of torchvision."""
    key = key.removeprefix("backbone.")
    if not (match := re.fullmatch(r"features\.(\d+)\.(.+)", key)):
        return key
    stage, rest = divmod(int(match[1]), 2)
    if rest:
        return f"layers.{stage}.downsample.{match[2]}"
    block, _, inner = match[2].partition(".")
    for theirs, ours in PERCEPTRON.items():
        inner = inner.replace(f"{theirs}.", f"{ours}.")
    return f"layers.{stage}.blocks.{block}.{inner}"


def _problems(given: Mapping[str, Any], own: Mapping[str, Tensor]) -> Misfits:
    tensors = {key: value for key, value in given.items() if isinstance(value, Tensor)}
    # What is no tensor is named as such, and is not missing too.
    there = {key: tuple(value.shape) for key, value in own.items() if key in given} | shapes_of(tensors)
    others = {
        "no tensor": [f"{key} ({type(value).__name__})" for key, value in given.items() if key not in tensors],
        "not finite": [key for key, value in tensors.items() if not value.isfinite().all()],
    }
    return misfits(there, shapes_of(own)) | {what: keys for what, keys in others.items() if keys}


def _index_problems(indices: Mapping[str, Any], own: Mapping[str, Tensor], base: Sizes) -> Misfits:
    """Position indices of blocks that there are not, or other ones than ours: their tables would be read wrongly."""
    rows = table_rows(base, base).flatten()
    unknown = [key for key in indices if key.removesuffix(INDEX) + TABLE not in own]
    other = [
        key
        for key, value in indices.items()
        if key not in unknown and not (isinstance(value, Tensor) and torch.equal(value.flatten().cpu().long(), rows))
    ]
    # torchvision has the index as one row, the others as a square.
    problems = {"index of no block:": unknown, "of another order of positions:": other}
    return {what: keys for what, keys in problems.items() if keys}
