"""What networks on a pretrained backbone share: names in timm, builds by seed, weights by key, pixel statistics."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import timm
import torch
from torch import Tensor

from models.errors import AigcVqaError, listed

# Mean and standard deviation of R, G, B on 0..1 over ImageNet's training images.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
NEAREST_NAMES = 5
# Keys of each kind in a message: those of another network are hundreds.
KEYS_NAMED = 6
# Files older than batch normalisation's counters lack them; nothing that is computed here reads those.
COUNTER = "num_batches_tracked"

Shape = tuple[int, ...]
# What is wrong with keys -> the keys.
Misfits = dict[str, list[str]]


class BackboneError(AigcVqaError, ValueError):
    """A backbone that does not exist, does not give what a network needs, or whose weights do not fit."""


def check_timm_name(name: str, *, others: Sequence[str] = ()) -> None:
    """Check that timm has a backbone.

    Args:
        name: The architecture, with or without a tag: `convnext_tiny`, `convnext_tiny.fb_in1k`.
        others: Names from elsewhere that would do too, for the message.

    Raises:
        BackboneError: timm has no such architecture; the text gives the nearest names.
    """
    known = timm.list_models()
    architecture = name.partition(".")[0]
    if architecture not in known:
        nearest = difflib.get_close_matches(architecture, [*others, *known], n=NEAREST_NAMES, cutoff=0.4)
        raise BackboneError(f"timm has no backbone {name!r}; nearest: {', '.join(nearest) or 'none'}")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random weights that depend on a seed alone, made on the CPU; torch's global state is the same afterwards.

    Args:
        seed: Of torch's CPU generator inside the block.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would reseed the CUDA devices too, for good.
        torch.default_generator.manual_seed(seed)
        yield


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, Shape]:
    """The shapes of a state dict, by key."""
    return {key: tuple(value.shape) for key, value in state.items()}


def misfits(
    given: Mapping[str, Shape], expected: Mapping[str, Shape], *, counters_needed: bool = False, closed: bool = True
) -> Misfits:
    """The keys of a state dict that do not fit a network.

    Args:
        given: Shapes of the state dict.
        expected: Shapes of the network's own.
        counters_needed: Whether batch normalisation's counters may not be missing.
        closed: Whether keys that the network does not have are misfits.

    Returns:
        What is wrong -> the keys with their shapes; empty when all fit.
    """
    needed = [key for key in expected if counters_needed or not key.endswith(COUNTER)]
    found = {
        "missing": [f"{key} {expected[key]}" for key in needed if key not in given],
        "unknown": [f"{key} {shape}" for key, shape in given.items() if closed and key not in expected],
        "of another shape": [
            f"{key} is {given[key]}, expected {shape}"
            for key, shape in expected.items()
            if key in given and given[key] != shape
        ],
    }
    return {what: keys for what, keys in found.items() if keys}


def say_misfits(problems: Misfits) -> str:
    """`3 keys do not fit: missing a (1,), b (2,); unknown c (3,)`, a few keys of each kind."""
    count = sum(len(keys) for keys in problems.values())
    kinds = [f"{what} {listed(keys, shown=KEYS_NAMED)}" for what, keys in problems.items()]
    return f"{count} {'key does' if count == 1 else 'keys do'} not fit: {'; '.join(kinds)}"
