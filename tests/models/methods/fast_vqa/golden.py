"""Golden values of the FAST family: public keys, weights and inputs by rule, and outputs of the public modules.

Made from VQAssessment/FAST-VQA-and-FasterVQA at 9f264e4 (and Sissuire/SAMA at 38c02bf) on a CPU, float32.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.methods.fast_vqa.config import NETWORK_B, FastVqaNetwork
from models.methods.fast_vqa.network import FragmentNet

GOLDEN = json.loads((Path(__file__).parent / "data/fastvqa_golden.json").read_text())
PATCH_KEYS = ("patch_embed", "stage0", "stage1", "stage2", "stage3", "features")


def public_keys(network: FastVqaNetwork) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes of a public checkpoint, in its order; `test_public` compares them with the real list."""
    trunk, width = "fragments_backbone", network.embed_width
    time, height, breadth = network.window
    rows, places = (2 * time - 1) * (2 * height - 1) * (2 * breadth - 1), time * height * breadth
    yield f"{trunk}.patch_embed.proj.weight", (width, 3, 2, 4, 4)
    yield from ((f"{trunk}.patch_embed.{name}", (width,)) for name in ("proj.bias", "norm.weight", "norm.bias"))
    for stage, (depth, heads) in enumerate(zip(network.depths, network.heads, strict=True)):
        last = stage == len(network.depths) - 1
        for block in range(depth):
            at = f"{trunk}.layers.{stage}.blocks.{block}"
            yield from ((f"{at}.norm1.{kind}", (width,)) for kind in ("weight", "bias"))
            yield f"{at}.attn.relative_position_bias_table", (rows, heads)
            if network.gated_bias and not last:
                yield f"{at}.attn.fragment_position_bias_table", (rows, heads)
            yield f"{at}.attn.relative_position_index", (places, places)
            for name, shape in (("attn.qkv", (3 * width, width)), ("attn.proj", (width, width))):
                yield f"{at}.{name}.weight", shape
                yield f"{at}.{name}.bias", shape[:1]
            yield from ((f"{at}.norm2.{kind}", (width,)) for kind in ("weight", "bias"))
            for name, shape in (("mlp.fc1", (4 * width, width)), ("mlp.fc2", (width, 4 * width))):
                yield f"{at}.{name}.weight", shape
                yield f"{at}.{name}.bias", shape[:1]
        if not last:
            at = f"{trunk}.layers.{stage}.downsample"
            yield f"{at}.reduction.weight", (2 * width, 4 * width)
            yield from ((f"{at}.norm.{kind}", (4 * width,)) for kind in ("weight", "bias"))
            width *= 2
    yield from ((f"{trunk}.norm.{kind}", (width,)) for kind in ("weight", "bias"))
    hidden = network.head_width
    yield "vqa_head.fc_hid.weight", (hidden, width, 1, 1, 1)
    yield "vqa_head.fc_hid.bias", (hidden,)
    yield "vqa_head.fc_last.weight", (1, hidden, 1, 1, 1)
    yield "vqa_head.fc_last.bias", (1,)


def golden_weights(network: FastVqaNetwork = NETWORK_B, *, base: int) -> dict[str, Tensor]:
    """The weights that golden outputs were made with, without the position indices, which count but are not drawn."""
    state = {}
    for index, (name, shape) in enumerate(public_keys(network)):
        if name.endswith("relative_position_index"):
            continue
        values = np.random.default_rng(base + index).standard_normal(shape).astype(np.float32)
        if len(shape) >= 2:
            values = values * math.sqrt(2 / math.prod(shape[1:]))
        else:
            values = 1 + 0.1 * values if name.endswith("weight") else 0.1 * values
        state[name] = torch.from_numpy(np.asarray(values, dtype=np.float32))
    return state


def golden_input(seed: int, shape: list[int]) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def golden_frames(seed: int, shape: list[int]) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def sha256(values: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def check_network(network: FragmentNet, case: dict[str, Any]) -> Tensor:
    """Compares score, map and the outputs of all stages with golden ones; returns the map."""
    backbone = network.fragments_backbone
    modules = dict(zip(PATCH_KEYS, [backbone.patch_embed, *backbone.layers, backbone.norm], strict=True))
    found = {}
    hooks = [
        module.register_forward_hook(lambda *given, name=name: found.update({name: given[2].permute(0, 4, 1, 2, 3)}))
        for name, module in modules.items()
    ]
    with torch.inference_mode():
        quality = network.quality_map(golden_input(case["input_seed"], case["input_shape"]))
    for hook in hooks:
        hook.remove()
    for name, values in found.items():
        expected = case[name]
        assert list(values.shape) == expected["shape"]
        picked = [*values[0, :5, 0, 0, 0].tolist(), values[0, 7, -1, -1, -1].item()]
        # The golden files' own tolerances: 30 times what an independent build in float32 differs by.
        wanted = [*expected["channels0to4_at_origin"], expected["channel7_last_token"]]
        np.testing.assert_allclose(picked, wanted, atol=1e-3, rtol=0, err_msg=name)
        np.testing.assert_allclose(
            [values.std().item(), values.abs().mean().item()],
            [expected["std"], expected["mean_abs"]],
            rtol=1e-4,
            err_msg=name,
        )
    assert list(quality.shape) == case["map_shape"]
    entries = quality.flatten()
    np.testing.assert_allclose(entries[:4], case["map_first4"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(entries[-2:], case["map_last2"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(quality.std().item(), case["map_std"], rtol=1e-4)
    np.testing.assert_allclose(quality.mean().item(), case["score"], atol=1e-4, rtol=0)
    return quality
