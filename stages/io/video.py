"""The frames of a video that the pipeline uses, by decoded index, RGB, as a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.errors import VideoError
from stages.io.decoder.reading import opened
from stages.io.images import encode_image
from stages.io.schemas import FRAMES


def decode_video(
    path: str | Path, *, n_frames: int, frames: Sequence[int], encoding: str, jpeg_quality: int, video_id: str = ""
) -> pa.Table:
    """Decode frames of a file.

    Args:
        path: The file.
        n_frames: How many of its frames can be decoded.
        frames: Those that are wanted, by decoded index, ascending; at least one.
        encoding: How the frames are stored: `png`, `webp` or `jpeg`.
        jpeg_quality: 1-100; read for `jpeg` alone.
        video_id: For the table's column of that name.

    Returns:
        One row of the FRAMES schema per frame, in order; images are RGB.

    Raises:
        VideoError: The file cannot be opened, or a frame cannot be decoded or shown.
    """
    rows: list[dict[str, Any]] = []
    with opened(path) as video:
        for picture in video.pictures():
            if picture.index != frames[len(rows)]:
                continue
            rgb = picture.rgb()
            rows.append(
                {
                    "video_id": video_id,
                    "frame_index": picture.index,
                    "time_s": picture.time_s,
                    "width": rgb.shape[1],
                    "height": rgb.shape[0],
                    "encoding": encoding,
                    "image": encode_image(rgb, encoding=encoding, jpeg_quality=jpeg_quality),
                }
            )
            if len(rows) == len(frames):
                break
    if len(rows) < len(frames):
        raise VideoError(f"frame {frames[len(rows)]} of {n_frames} cannot be decoded")
    return pa.Table.from_pylist(rows, schema=FRAMES)
