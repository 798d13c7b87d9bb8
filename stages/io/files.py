"""Small files, written whole or not at all: a reader never sees half of one."""

import hashlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Part of the name of a temporary file: who writes it, this machine's process. Folders may be shared with others.
MACHINE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
OWNER = re.compile(r"^\..+\.([0-9a-f]{8})-(\d+)\.[^.]+\.(tmp|old)$")


def temporary_prefix(path: Path) -> str:
    """How names of temporary files beside a path begin."""
    return f".{path.name}.{MACHINE}-{os.getpid()}."


def sweep(temporaries: Iterable[Path]) -> None:
    """Remove those temporary files and folders whose process was killed; those of other machines stay.

    Args:
        temporaries: Files and folders; what no process of ours wrote stays too.
    """
    for path in temporaries:
        owner = OWNER.match(path.name)
        if owner is None or owner[1] != MACHINE or is_alive(int(owner[2])):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    """Whether a process of this machine runs.

    Args:
        process: Its number.
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


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
    handle, name = tempfile.mkstemp(prefix=temporary_prefix(path), suffix=".tmp", dir=path.parent)
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

    An existing folder is replaced only then. When the block raises, the temporary folder is removed; what a killed run
    left of one is removed by the next.

    Args:
        path: The folder to replace; its parent is created.

    Yields:
        The folder to write into.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep([*path.parent.glob(f".{path.name}.*.tmp"), *path.parent.glob(f".{path.name}.*.old")])
    temporary = Path(tempfile.mkdtemp(prefix=temporary_prefix(path), suffix=".tmp", dir=path.parent))
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
