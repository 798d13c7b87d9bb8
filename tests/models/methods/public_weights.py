"""State dicts with the names and shapes of published files, filled by a rule, as golden values were computed with."""

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

Keys = list[tuple[str, tuple[int, ...]]]
COUNTER = "num_batches_tracked"


def norm_keys(name: str, channels: int) -> Keys:
    values = [(f"{name}.{kind}", (channels,)) for kind in ("weight", "bias", "running_mean", "running_var")]
    return [*values, (f"{name}.{COUNTER}", ())]


def resnet50_keys() -> Keys:
    """torchvision's ResNet-50 without its classifier."""
    keys = [("conv1.weight", (64, 3, 7, 7)), *norm_keys("bn1", 64)]
    channels = 64
    for stage, (units, inside) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for unit in range(units):
            name, outside = f"layer{stage}.{unit}", 4 * inside
            shapes = ((inside, channels, 1, 1), (inside, inside, 3, 3), (outside, inside, 1, 1))
            for number, shape in enumerate(shapes, start=1):
                keys += [(f"{name}.conv{number}.weight", shape), *norm_keys(f"{name}.bn{number}", shape[0])]
            if unit == 0:
                keys.append((f"{name}.downsample.0.weight", (outside, channels, 1, 1)))
                keys += norm_keys(f"{name}.downsample.1", outside)
            channels = outside
    return keys


def slowfast_keys() -> Keys:
    """pytorchvideo's SlowFast R50 8x8, with its classifier."""
    keys: Keys = []
    for pathway, (channels, kernel) in enumerate(((64, 1), (8, 5))):
        name = f"blocks.0.multipathway_blocks.{pathway}"
        keys += [(f"{name}.conv.weight", (channels, 3, kernel, 7, 7)), *norm_keys(f"{name}.norm", channels)]
    keys += _fusion_keys(0, 8)
    inputs = {0: 80, 1: 8}
    for block, units in enumerate((3, 4, 6, 3), start=1):
        for pathway, kernel in ((0, 1 if block < 3 else 3), (1, 3)):
            inside = 2 ** (block - 1) * (64, 8)[pathway]
            name = f"blocks.{block}.multipathway_blocks.{pathway}.res_blocks"
            keys += _stage_keys(name, inputs[pathway], inside, kernel=kernel, units=units)
            inputs[pathway] = 4 * inside
        if block < 4:
            keys += _fusion_keys(block, inputs[1])
            inputs[0] += 2 * inputs[1]
    return [*keys, ("blocks.6.proj.weight", (400, 2304)), ("blocks.6.proj.bias", (400,))]


def _stage_keys(name: str, channels: int, inside: int, *, kernel: int, units: int) -> Iterator[tuple]:
    outside = 4 * inside
    for unit in range(units):
        if unit == 0:
            yield f"{name}.0.branch1_conv.weight", (outside, channels, 1, 1, 1)
            yield from norm_keys(f"{name}.0.branch1_norm", outside)
        shapes = {
            "a": (inside, channels if unit == 0 else outside, kernel, 1, 1),
            "b": (inside, inside, 1, 3, 3),
            "c": (outside, inside, 1, 1, 1),
        }
        for letter, shape in shapes.items():
            yield f"{name}.{unit}.branch2.conv_{letter}.weight", shape
            yield from norm_keys(f"{name}.{unit}.branch2.norm_{letter}", shape[0])


def _fusion_keys(block: int, channels: int) -> Keys:
    name = f"blocks.{block}.multipathway_fusion"
    weight = (f"{name}.conv_fast_to_slow.weight", (2 * channels, channels, 7, 1, 1))
    return [weight, *norm_keys(f"{name}.norm", 2 * channels)]


def digest(keys: Keys) -> str:
    """SHA-256 of a list of keys as text: `name (shape) dtype` a line."""
    lines = [f"{name} {shape} {'int64' if name.endswith(COUNTER) else 'float32'}\n" for name, shape in keys]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def filled(keys: Keys, *, base: int) -> dict[str, Tensor]:
    """Values of a list of keys: standard normal numbers of seed base + place, scaled by what the key is."""
    return {name: torch.from_numpy(_values(name, shape, base + place)) for place, (name, shape) in enumerate(keys)}


def _values(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    if name.endswith(COUNTER):
        return np.array(0)
    values: Any
    drawn = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        values = 0.5 + np.abs(drawn)
    elif len(shape) >= 2:
        values = drawn * math.sqrt(2 / math.prod(shape[1:]))
    elif name.endswith("weight"):
        values = 1 + 0.1 * drawn
    else:
        values = 0.1 * drawn
    return np.asarray(values, np.float32)


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers, float32."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))
