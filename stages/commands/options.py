"""Options that several commands have, checked before any work starts."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stages.errors import DatasetError


def count(text: str) -> int:
    """For argparse: 0 or more."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: needed is an integer from 0")
    return value


def check_out(out: Path, *, endings: Sequence[str] = ()) -> None:
    """Raise DatasetError for a file that cannot be written: another ending, a folder, or no folder to write into."""
    if endings and out.suffix not in endings:
        raise DatasetError(f"--out {out}: allowed endings are {', '.join(endings[:-1])} and {endings[-1]}")
    if out.is_dir():
        raise DatasetError(f"--out {out}: a folder; the name of a file is needed")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise DatasetError(f"--out {out}: cannot be written ({error.strerror or error})") from None
