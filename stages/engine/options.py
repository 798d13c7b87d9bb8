"""Options that several commands have, checked before any work starts."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.types import NonNegativeInt, PositiveInt

from stages.errors import DatasetError

Count = Annotated[NonNegativeInt, Parameter(metavar="N")]
PositiveCount = Annotated[PositiveInt, Parameter(metavar="N")]
File = Annotated[Path, Parameter(metavar="FILE")]
Folder = Annotated[Path, Parameter(metavar="DIR")]
Device = Annotated[Literal["auto", "cpu", "cuda"], Parameter(metavar="DEVICE", show_choices=True)]
Preset = Annotated[str | None, Parameter(metavar="NAME")]


def check_out(out: Path, *, endings: Sequence[str] = ()) -> None:
    """Check that a file can be written before any work is done for it.

    Args:
        out: The file.
        endings: The endings that its name may have; empty: any.

    Raises:
        DatasetError: Another ending, a folder, or no folder to write into.
    """
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
