"""Weights: safetensors with their configuration as JSON metadata; foreign checkpoints, read without running code."""

import argparse
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from models.backbones import misfits, say_misfits, shapes_of
from stages.errors import WeightsError
from stages.io.checkpoints import read_pickle
from stages.io.digests import file_sha256
from stages.io.files import write_bytes
from stages.io.json import parse_object

CONFIG_KEY = "aigc_vqa"
# In the configuration: of the tensors and of all else that it holds.
SHA256_KEY = "content_sha256"
PICKLES = (".pkl", ".pickle")
# The options of torchvision's training scripts: an object whose attributes hold what a checkpoint may hold anyway.
HARMLESS: list[Any] = [argparse.Namespace]


def save_weights(path: str | Path, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write tensors and their configuration, whole or not at all; equal input writes equal bytes.

    Args:
        path: The safetensors file; its folder is created.
        state: Tensors by name, on any device.
        config: JSON-like values, written into the metadata.

    Raises:
        ValueError: A number of the configuration is NaN or infinite.
    """
    tensors = {name: state[name].detach().cpu().contiguous() for name in sorted(state)}
    text = json.dumps(config, sort_keys=True, allow_nan=False)
    bare = memoryview(save(tensors))
    sha256 = hashlib.sha256(bare[_header_bytes(bare[:8]) :])
    sha256.update(text.encode())
    # One key: safetensors writes several in an order of chance.
    whole = _written({**config, SHA256_KEY: sha256.hexdigest()})
    write_bytes(path, save(tensors, metadata={CONFIG_KEY: whole}))


def load_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that `save_weights` wrote.

    Returns:
        The tensors by name, on the CPU, and the configuration.

    Raises:
        WeightsError: The file is missing, damaged (its bytes are not those that were written) or another program's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no plain mapping)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such weights; `dvc repro` writes them") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from None
    if CONFIG_KEY not in metadata:
        raise WeightsError(f"{path}: safetensors of another program (no {CONFIG_KEY!r} in the metadata)")
    config = parse_object(metadata[CONFIG_KEY].encode(), f"{path}: metadata", error_type=WeightsError)
    if config.pop(SHA256_KEY, None) != _content_sha256(path, _written(config)):
        raise WeightsError(
            f"{path}: damaged, or changed by hand: its bytes are not those that were written; `dvc repro` "
            "writes it anew"
        )
    return state, config


def _written(config: Mapping[str, Any]) -> str:
    return json.dumps(config, sort_keys=True)


def is_own_weights(path: str | Path) -> bool:
    """Whether `save_weights` wrote the file; False for other programs' files and for anything but weights."""
    try:
        with safe_open(path, framework="pt") as file:
            return CONFIG_KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from None


def _read_torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise errors of any kind, failed assertions among them
        raise WeightsError(_refusal(path, error)) from None


def _refusal(path: Path, error: Exception) -> str:
    """The message of an unreadable file, without torch's advice on how to run the file's code all the same."""
    match = re.search(r"GLOBAL ([\w.]+)", str(error))
    why = f"it holds {match[1]}" if match else "it is no file of torch.save, or not a whole one"
    return (
        f"{path}: not a checkpoint that can be read without running its code: {why}; allowed: tensors, numbers "
        "and text in dicts, lists and tuples, argparse.Namespace; numpy arrays in a file that ends in "
        f"{' or '.join(PICKLES)}"
    )


def _is_named_tensor(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict that another program wrote, without running its code.

    Args:
        path: Read according to its suffix: `.safetensors`; `.pkl` and `.pickle`, numpy arrays (detectron2's model zoo);
            anything else as a file of torch.save.

    Returns:
        The tensors by name, on the CPU.

    Raises:
        WeightsError: The file is missing or damaged, or holds something that is not allowed, which the message names.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending in PICKLES:
        return read_pickle(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    state = _read_safetensors(path) if ending == ".safetensors" else _read_torch(path)
    # Training scripts wrap the tensors; these are the two usual wrappers.
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(map(_is_named_tensor, state.items())):
        raise WeightsError(f"{path}: not a state dict (a mapping from names to tensors)")
    return dict(state)


def check_sha256(path: str | Path, wanted: str | None) -> str:
    """Compare a file with the SHA-256 that it should have.

    Args:
        path: The file.
        wanted: 64 hexadecimal digits; None: any.

    Returns:
        The file's SHA-256.

    Raises:
        WeightsError: The file is missing, or its SHA-256 is another.
    """
    try:
        actual = file_sha256(path)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    if wanted is not None and actual != wanted.lower():
        raise WeightsError(f"{path}: its SHA-256 is {actual}, expected {wanted}: another file, or a damaged one")
    return actual


def tensors_sha256(path: str | Path) -> str:
    """SHA-256 of the tensors of a safetensors file: files that differ in their metadata alone have the same."""
    return _content_sha256(path, "")


def _header_bytes(start: bytes | memoryview) -> int:
    """Where the tensors begin: behind eight bytes that give the length of the header, and the header."""
    return 8 + int.from_bytes(start, "little")


def _content_sha256(path: str | Path, text: str) -> str:
    """SHA-256 of the tensors of a safetensors file, and of what `text` adds."""
    with Path(path).open("rb") as file:
        file.seek(_header_bytes(file.read(8)))
        found = hashlib.file_digest(file, "sha256")
    found.update(text.encode())
    return found.hexdigest()


def load_state(module: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Load every tensor of a state dict into a network.

    Args:
        module: The network.
        state: Tensors by name.
        source: What messages call the state dict.

    Raises:
        WeightsError: The state dict is another network's; the message counts and names the keys that do not fit.
    """
    if problems := misfits(shapes_of(state), shapes_of(module.state_dict()), counters_needed=True):
        raise WeightsError(f"{source}: weights of another network; {say_misfits(problems)}")
    module.load_state_dict(state)
