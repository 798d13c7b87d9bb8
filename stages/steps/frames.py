"""The frames of one video, from its file, as the stages prepare and decode take them.

A separate module because decoding workers import it: each of them would load whatever else it imported.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from models.methods.reading import FramePlan
from stages.errors import VideoError
from stages.io.probe import probe
from stages.io.sampling import planned_frames
from stages.io.video import decode_video


def decode_file(payload: tuple[str, float, FramePlan, dict[str, Any]]) -> pa.Table:
    """The frames of a file as the decode stage takes them.

    Args:
        payload: Path; share of the frames stated by the header that may be missing, 0..1; which frames; how they are
            stored, as `decode_video` takes it.

    Returns:
        Rows of the FRAMES schema; the metadata says under `n_frames` how many frames the file has.

    Raises:
        VideoError: The file cannot be decoded; with the reason.
    """
    path, max_missing_fraction, plan, storage = payload
    _check_name(path)
    n_frames = probe(path, max_missing_fraction=max_missing_fraction).n_frames
    table = decode_video(path, n_frames=n_frames, frames=planned_frames(plan, n_frames), **storage)
    return table.replace_schema_metadata({"n_frames": str(n_frames)})


def _check_name(path: str) -> None:
    """Raise VideoError for file names that could make OpenCV end the process."""
    try:
        path.encode()
        Path(path).exists()
    except UnicodeEncodeError:
        raise VideoError("the file's name is not UTF-8; rename it") from None
    except OSError as error:
        raise VideoError(str(error.strerror).lower()) from None
