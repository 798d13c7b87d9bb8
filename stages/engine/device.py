"""Where networks run, and how: the device, deterministic kernels, and a name for what decides their last bits."""

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
    """The device that a name stands for.

    Args:
        name: `auto` (a GPU when there is one), `cuda` or `cpu`.

    Raises:
        ParamsError: `cuda` is asked for, but torch finds no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ParamsError("engine.device is cuda, but torch finds no GPU; allowed here: auto, cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def surroundings(device: torch.device, **settings: int) -> dict[str, Any]:
    """What decides the last bits of a network's values besides code, params and versions.

    Keys of the cache hold it; tables do not.

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
    """Make equal input give equal values on one machine: only deterministic kernels are used.

    A kernel without a deterministic form warns once.

    Args:
        threads: Threads of an operation on a CPU. Sums are split among them, so their number changes the last bits of a
            training.
    """
    torch.set_num_threads(threads)
    # cuBLAS needs this before its first call when deterministic algorithms are wanted.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling every new tensor with NaN finds bugs in kernels, but makes this pipeline slow on a CPU.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    warnings.filterwarnings("once", message=".*deterministic.*")


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """States of the random number generators of the CPU and, for a GPU, of `device`."""
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_random_state(state: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Continue the random numbers where `random_state` was taken.

    Args:
        state: What `random_state` returned; the GPU's is ignored on a CPU.
        device: Where the network runs now.
    """
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
