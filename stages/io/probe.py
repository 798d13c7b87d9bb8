"""What a video file holds, found by reading it to its end."""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2

from stages.errors import VideoError
from stages.io.video import opened

MIN_FRAMES = 2


@dataclass(frozen=True)
class Probe:
    """What a file holds when it is read to its end.

    Attributes:
        n_frames_header: Frames that the header states; it may be wrong; 0: none stated.
        n_frames: Frames that decode.
        fps: Frames per second by the header; 0 where it is not known.
        width: Pixels, after rotation.
        height: Pixels, after rotation.
    """

    n_frames_header: int
    n_frames: int
    fps: float
    width: int
    height: int


def probe(path: str | Path, *, max_missing_fraction: float) -> Probe:
    """Read a file to its end and count the frames that decode.

    Args:
        path: The file.
        max_missing_fraction: Share of the frames stated by the header that may fail to decode, 0..1.

    Raises:
        VideoError: With the reason: missing, empty, no video, fewer than two frames, or more frames missing than
            allowed (truncated or damaged).
    """
    with opened(path) as capture:
        header = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        fps = capture.get(cv2.CAP_PROP_FPS)
        if not capture.grab():
            raise VideoError("no frame can be decoded")
        done, first = capture.retrieve()
        if not done or first is None:
            raise VideoError("the first frame cannot be decoded")
        count = 1
        while capture.grab():
            count += 1
    if count < MIN_FRAMES:
        raise VideoError(f"{count} frame decodes; a video needs at least {MIN_FRAMES}")
    n_header = int(header) if math.isfinite(header) and 0 < header < 2**31 else 0
    if n_header - count > max_missing_fraction * n_header:
        raise VideoError(f"truncated or damaged: the header says {n_header} frames, {count} decode")
    fps = fps if math.isfinite(fps) and fps > 0 else 0.0
    return Probe(n_header, count, fps, width=first.shape[1], height=first.shape[0])
