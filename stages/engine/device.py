"""Where networks run, and how: the device, deterministic kernels, a versioned name for what made the values."""

import os
import platform
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from stages.errors import ParamsError
from stages.io.digests import library_builds

# The libraries that change the values of a network's outputs.
LIBRARIES = ("numpy", "torch", "torchvision", "timm")


def pick_device(name: str) -> torch.device:
    """`auto` is a GPU when there is one. Raises ParamsError when `cuda` is asked for and not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ParamsError("engine.device is cuda, but torch finds no GPU; allowed here: auto, cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def surroundings(device: torch.device, **settings: int) -> dict[str, Any]:
    """What decides the last bits of a network's values beside code, params and versions; keys hold it, tables do not.

    Args:
        device: Where the network runs.
        settings: Params of the engine that change sums, such as `threads` and `batch_frames`.

    Returns:
        JSON-like values: the kind of processor or GPU, the builds of the libraries, and the settings.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {"device": name, "builds": library_builds("opencv-python-headless", "torch")} | settings


def make_deterministic(*, threads: int) -> None:
    """Same input, same machine, same values: only deterministic kernels; a kernel without such a form warns once.

    threads: of an operation on a CPU. Sums are split by it, so it changes the last bits of a training.
    """
    torch.set_num_threads(threads)
    # cuBLAS asks for this before its first call when deterministic algorithms are wanted.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling every fresh tensor with NaN finds bugs in kernels; it would cost this pipeline its speed on a CPU.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    warnings.filterwarnings("once", message=".*deterministic.*")


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Where the random numbers of the CPU, and of a GPU, stand."""
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_random_state(state: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Go on where `random_state` was taken; a GPU's numbers only where they were drawn on one."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
