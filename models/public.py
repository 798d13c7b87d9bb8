"""State dicts that others published, put into networks of ours with every key accounted for."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from models.backbones import Shape, misfits, say_misfits, shapes_of
from models.errors import AigcVqaError

# What DataParallel and DistributedDataParallel write before every name.
WRAPPER_PREFIX = "module."


class PublicStateError(AigcVqaError, ValueError):
    """A state dict that is not of the network it was given for; the text counts and names the keys."""


def load_public(
    network: nn.Module,
    state_dict: Mapping[str, Any],
    *,
    of: str,
    public_name: Callable[[str], str],
    unused: Mapping[str, Shape],
) -> None:
    """Put a published state dict into a network.

    Every key must have its place and every place its key, in the same shape. `module.` is taken off where all keys
    have it. Batch normalisation's counters may be missing: files older than them lack them, and evaluation does not
    read them. The network is as it was when this raises.

    Args:
        network: What is filled.
        state_dict: Public name -> tensor.
        of: Whose weights are expected, for the message.
        public_name: A parameter's or buffer's name in the network -> its public name.
        unused: Public name -> shape of tensors that the published files hold and that no output depends on. They may
            be missing; where they are there, their shape is checked.

    Raises:
        PublicStateError: Keys are missing, unknown, of another shape, no tensors, or hold a NaN or an infinity.
    """
    given = _unwrapped(state_dict)
    tensors = {key: value for key, value in given.items() if isinstance(value, Tensor)}
    own = network.state_dict()
    places = {public_name(place): place for place in own}
    expected = {key: tuple(own[place].shape) for key, place in places.items()}
    expected |= {key: shape for key, shape in unused.items() if key in given}
    # What is no tensor is named as such, and is not missing too.
    found = {key: shape for key, shape in expected.items() if key in given} | shapes_of(tensors)
    others = {
        "no tensor": [f"{key} ({type(value).__name__})" for key, value in given.items() if key not in tensors],
        "not finite": [key for key, value in tensors.items() if not value.isfinite().all()],
    }
    problems = misfits(found, expected) | {what: keys for what, keys in others.items() if keys}
    if problems:
        raise PublicStateError(f"not the weights of {of}; {say_misfits(problems)}")
    network.load_state_dict(own | {places[key]: value for key, value in tensors.items() if key in places})


def _unwrapped(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    is_wrapped = all(key.startswith(WRAPPER_PREFIX) for key in state_dict)
    return {key.removeprefix(WRAPPER_PREFIX) if is_wrapped else key: value for key, value in state_dict.items()}
