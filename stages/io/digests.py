"""Names of values, files and libraries: what keys of the cache are made of."""

import hashlib
import json
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


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
