"""Decoding with OpenCV: in sequence, one thread per file, by decoded index, RGB.

Properties of OpenCV that shape this file (checked on 4.5 to 5.0): seeking by index returns wrong frames on
variable-rate video, so frames are grabbed in sequence; the frame count of the header is an estimate; a damaged file
decodes differently with another thread count; a missing file raises nothing.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from stages.errors import VideoError
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
        VideoError: The file cannot be opened, or a frame cannot be decoded.
    """
    rows: list[dict[str, Any]] = []
    with opened(path) as capture:
        fps = capture.get(cv2.CAP_PROP_FPS)
        for index in range(frames[-1] + 1):
            if not capture.grab():
                raise VideoError(f"frame {index} of {n_frames} cannot be decoded")
            if index != frames[len(rows)]:
                continue
            done, frame = capture.retrieve()
            if not done or frame is None:
                raise VideoError(f"frame {index} of {n_frames} cannot be decoded")
            # The timestamp is the stream's own; some demuxers give none, and the frame rate takes its place.
            time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if not math.isfinite(time_s) or (rows and time_s <= rows[-1]["time_s"]) or time_s < 0:
                time_s = index / fps if math.isfinite(fps) and fps > 0 else float(index)
            rgb = _rgb(frame)
            rows.append(
                {
                    "video_id": video_id,
                    "frame_index": index,
                    "time_s": time_s,
                    "width": rgb.shape[1],
                    "height": rgb.shape[0],
                    "encoding": encoding,
                    "image": encode_image(rgb, encoding=encoding, jpeg_quality=jpeg_quality),
                }
            )
    return pa.Table.from_pylist(rows, schema=FRAMES)


def _rgb(frame: np.ndarray) -> np.ndarray:
    """OpenCV's frame as (H, W, 3) RGB: it gives BGR, and grey or BGRA for some codecs."""
    if frame.ndim == 2 or frame.shape[2] == 1:
        return cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(frame, cv2.COLOR_BGRA2RGB if frame.shape[2] == 4 else cv2.COLOR_BGR2RGB)


@contextmanager
def opened(path: str | Path) -> Iterator[cv2.VideoCapture]:
    """A capture with one thread, rotated as the file asks for.

    Yields:
        The open capture; it is released at the end of the block.

    Raises:
        VideoError: The file cannot be opened, or the decoder fails inside the block; with the reason.
    """
    path = Path(path)
    if not path.exists():
        raise VideoError("no such file")
    if not path.is_file():
        raise VideoError("not a file")
    if path.stat().st_size == 0:
        raise VideoError("the file is empty")
    # FFmpeg prints to stderr for every damaged file; the reason goes into the table instead.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        # An absolute path: FFmpeg reads `a:b.mp4` as a protocol and would see a leading dash otherwise.
        capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        try:
            if not capture.isOpened():
                raise VideoError("cannot be opened as a video (damaged, cut off, or another kind of file)")
            capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
            yield capture
        finally:
            capture.release()
    except cv2.error as error:
        raise VideoError(f"the decoder refused it: {error.err}") from None
