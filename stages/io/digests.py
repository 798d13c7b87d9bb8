"""Names of values, files and libraries: what keys of the cache are made of."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any


def digest(*parts: Any) -> str:
    """32 hexadecimal digits that name JSON-like values; equal values give equal names, on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def library_versions(*names: str) -> dict[str, str]:
    """Installed versions of the distributions that change a stage's values."""
    return {name: version(name) for name in sorted(names)}


def library_builds(*names: str) -> dict[str, str]:
    """What tells two builds of one version apart, where libraries tell it: FFmpeg inside of OpenCV, BLAS in torch.

    Keys of the cache hold it: another wheel of the same version may decode or add up otherwise.
    """
    return {name: digest(_BUILDS[name]()) for name in sorted(names) if name in _BUILDS}


def _build_of_opencv() -> str:
    import cv2

    return cv2.getBuildInformation()


def _build_of_av() -> list[tuple[str, tuple[int, ...]]]:
    import av

    return sorted(av.library_versions.items())


def _build_of_torch() -> str:
    import torch

    return f"{torch.version.git_version} {torch.__config__.show()}"


_BUILDS: dict[str, Callable[[], Any]] = {
    "av": _build_of_av,
    "opencv-python-headless": _build_of_opencv,
    "torch": _build_of_torch,
}


def hash_files(paths: Sequence[Path], *, workers: int) -> list[str]:
    """SHA-256 of every file, in order.

    Hashing leaves Python for as long as a block takes, so threads are enough to keep every core, or the disk, busy.
    """
    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(file_sha256, paths))


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
