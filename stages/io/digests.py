"""Names of values, files and libraries: what the cache's keys are made of."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any


def digest(*parts: Any) -> str:
    """A name for JSON-like values; equal values give equal names, on every machine.

    Args:
        parts: What is named: text, numbers, booleans, None, and lists and dicts of them.

    Returns:
        32 hexadecimal digits.

    Raises:
        ValueError: A number is NaN or infinite.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def library_versions(*names: str) -> dict[str, str]:
    """Installed versions of the distributions that change a stage's values.

    Args:
        names: Distributions as the package index calls them.

    Returns:
        Name -> version, sorted by name.

    Raises:
        importlib.metadata.PackageNotFoundError: A distribution is not installed.
    """
    return {name: version(name) for name in sorted(names)}


def library_builds(*names: str) -> dict[str, str]:
    """What distinguishes two builds of one version, where a library says so: FFmpeg inside OpenCV, BLAS in torch.

    Keys of the cache hold it: another wheel of the same version may decode or add up differently.

    Args:
        names: Distributions; those that do not describe their build are left out.

    Returns:
        Name -> digest of the library's description of its build, sorted by name.
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
    """SHA-256 of every file.

    Hashing releases Python's lock while it works on a block, so threads are enough to keep every core, or the disk,
    busy.

    Args:
        paths: The files.
        workers: Threads.

    Returns:
        64 hexadecimal digits for each file, in the order of `paths`.
    """
    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(file_sha256, paths))


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
