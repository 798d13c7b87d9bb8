"""Small files, written whole or not at all: a reader never sees half of one."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` when the block ends without an error.

    When the block raises (a full disk included), the temporary file is removed and `path` is as it was.

    Args:
        path: The file to replace; its folder is created.

    Yields:
        The path to write to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # Only their owner can read files made by mkstemp; outputs get the permissions that the umask allows.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`, and rename it to `path` when the block ends without an error.

    An existing folder is replaced only then. When the block raises, the temporary folder is removed.

    Args:
        path: The folder to replace; its parent is created.

    Yields:
        The folder to write into.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    outgoing = temporary.with_suffix(".old")
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        # The old folder is renamed too: a run that is killed while it deletes files leaves no half-deleted folder.
        if path.is_dir():
            path.rename(outgoing)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(outgoing, ignore_errors=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file of bytes whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a file of UTF-8 text whole or not at all, newlines as they are."""
    write_bytes(path, text.encode())
