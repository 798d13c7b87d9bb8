"""The frames of one video: from its file, as the stages prepare and decode take them.

A module of its own because decoding workers import it: whatever else it imported, each of them would load too.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.errors import VideoError
from stages.io import video


def decode_file(payload: tuple[str, float, dict[str, Any]]) -> pa.Table:
    """The frames of a file as the decode stage takes them; the table's metadata says how many frames the file has.

    payload: path, share of the header's frames that may be missing, parameters of the decode stage. Raises VideoError.
    """
    path, max_missing_fraction, settings = payload
    _check_name(path)
    n_frames = video.probe(path, max_missing_fraction=max_missing_fraction).n_frames
    table = video.decode_video(path, n_frames=n_frames, **settings)
    return table.replace_schema_metadata({"n_frames": str(n_frames)})


def _check_name(path: str) -> None:
    """Raise VideoError for names that OpenCV, which ends the process over some, must not see."""
    try:
        path.encode()
        Path(path).exists()
    except UnicodeEncodeError:
        raise VideoError("the file's name is not UTF-8; rename it") from None
    except OSError as error:
        raise VideoError(str(error.strerror).lower()) from None
