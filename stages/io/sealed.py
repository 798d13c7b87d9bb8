"""Sealed files: bytes with a digest over them and their key, so that a file proves to be whole and the one asked for.

A file ends with the digest (BLAKE2b of 32 bytes over the key and all bytes before it) and with SEAL. Disks flip bits,
crashes cut files and leave blocks of zeros, and people copy caches: each is told from what was written.
"""

import hashlib
import os
from pathlib import Path

from stages.errors import DamagedFileError
from stages.io.files import replacing

SEAL = b"aigcseal"
DIGEST_BYTES = 32
TAIL_BYTES = DIGEST_BYTES + len(SEAL)


def _digest(key: str, data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES, key=hashlib.sha256(key.encode()).digest()).digest()


def write_sealed(path: Path, key: str, data: bytes | memoryview) -> None:
    """Write a file, whole or not at all.

    Args:
        path: The file; its folder is created.
        key: What the file will be asked for by.
        data: What it holds.

    Raises:
        OSError: The disk is full, or the folder cannot be written to; the file is the one before.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.write(_digest(key, data) + SEAL)


def has_seal(path: Path) -> bool:
    """Whether a file is there and ends as a whole one does, which costs no reading of the rest.

    Args:
        path: The file.
    """
    try:
        with path.open("rb") as file:
            file.seek(-TAIL_BYTES, os.SEEK_END)
            return file.read().endswith(SEAL)
    except OSError:
        return False


def read_sealed(path: Path, key: str) -> memoryview:
    """Read what `write_sealed` wrote.

    Args:
        path: The file.
        key: As it was written.

    Returns:
        The bytes.

    Raises:
        DamagedFileError: The file is another than was written under this key.
        FileNotFoundError: There is no such file.
    """
    whole = memoryview(path.read_bytes())
    data, tail = whole[:-TAIL_BYTES], bytes(whole[-TAIL_BYTES:])
    if len(whole) < TAIL_BYTES or tail != _digest(key, data) + SEAL:
        raise DamagedFileError(f"{path}: damaged, or not the file of its name")
    return data
