"""What is wrong, or merely unusual, in a video file: its header against what decodes, its clock, colours and repeats.

Frames are read as the pipeline reads them, in one pass, with the packets' own timestamps.
"""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from stages.errors import VideoError
from stages.evaluation.near_copies import evenly_spaced, frame_hash
from stages.io.decoder.files import OpenFile
from stages.io.decoder.pictures import orientation_of
from stages.io.decoder.reading import VideoReader, opened

# With a coarse clock, equal intervals differ by one step of it: that is no variable rate. Matroska's step is 1 ms and
# GIF's 10 ms; the tolerance is more than one step and less than two.
RATE_TOLERANCE = 0.1
CLOCK_STEP_S = 0.002
GIF_CLOCK_STEP_S = 0.015
# Mean absolute difference of two frames, in levels of 0-255, below which nobody sees a change: recoding a copy of a
# frame changes it that little.
NEAR_LEVELS = 0.5

UNSPECIFIED = "unspecified"
# Code points of ITU-T H.273 (tables 2 to 4), used by containers and FFmpeg alike; others are shown by their number.
PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    9: "bt2020",
    11: "smpte431",
    12: "smpte432",
}
TRANSFERS = {
    1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear", 13: "srgb",
    14: "bt2020-10", 15: "bt2020-12", 16: "pq", 18: "hlg",
}  # fmt: skip
MATRICES = {
    0: "rgb", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c",
}  # fmt: skip
RANGES = {1: "limited", 2: "full"}  # FFmpeg's numbers


def inspect_file(path: str | Path) -> dict[str, Any]:
    """Describe a video file.

    A damaged file is described as far as it can be read: columns that could not be read are missing.

    Args:
        path: The file; it must exist.

    Returns:
        The columns of the AUDIT schema that the file itself gives, `status` and `reason` included.
    """
    columns: dict[str, Any] = {"size_bytes": Path(path).stat().st_size, "status": "ok", "reason": None}
    try:
        with opened(path) as video:
            columns |= _stated(video.file)
            columns |= _shown(video)
            step_s = GIF_CLOCK_STEP_S if columns["codec"] == "gif" else CLOCK_STEP_S
            unit = video.file.stream.time_base or Fraction(1)
            columns |= {"n_packets": video.n_packets} | _clock([time * unit for time in video.times], step_s)
    except VideoError as error:
        columns |= {"status": "failed", "reason": str(error)}
    return columns


def _stated(file: OpenFile) -> dict[str, Any]:
    """What the container states about its picture."""
    context = file.stream.codec_context
    return {
        "codec": context.name,
        "pixel_format": context.pix_fmt,
        "fps": float(file.stream.average_rate) if file.stream.average_rate else 0.0,
        "n_frames_header": file.n_frames_header,
        "pixel_aspect": float(file.aspect) if file.aspect else 1.0,
        **_tags(context),
    }


def _tags(source: VideoCodecContext | VideoFrame) -> dict[str, str]:
    return {
        "colour_range": RANGES.get(int(source.color_range), UNSPECIFIED),
        "colour_matrix": _name(MATRICES, int(source.colorspace)),
        "colour_primaries": _name(PRIMARIES, int(source.color_primaries)),
        "colour_transfer": _name(TRANSFERS, int(source.color_trc)),
    }


def _shown(video: VideoReader) -> dict[str, Any]:
    """Counts over all frames that decode, and how the first of them is laid and coloured."""
    n_frames = n_interlaced = n_changes = n_identical = n_near = freeze = longest = 0
    size = last = None
    is_transparent = False
    hashes: list[int] = []
    columns: dict[str, Any] = {}
    for picture in video.pictures():
        frame, rgb = picture.frame, picture.rgb()
        is_transparent = picture.converter.is_transparent
        if last is None:
            orientation = orientation_of(frame)
            columns = {
                "width": rgb.shape[1],
                "height": rgb.shape[0],
                "rotation_deg": orientation.rotation_deg,
                "mirrored": orientation.mirrored,
                **_tags(frame),
            }
        else:
            difference = cv2.absdiff(rgb, last)
            identical = not difference.any()
            n_identical += identical
            n_near += bool(difference.mean() < NEAR_LEVELS)
            n_changes += (frame.width, frame.height) != size
            freeze = freeze if identical else 0
        n_frames += 1
        n_interlaced += frame.interlaced_frame
        freeze += 1
        longest = max(longest, freeze)
        hashes.append(frame_hash(rgb))
        size, last = (frame.width, frame.height), rgb
    if last is None:
        raise VideoError("no frame can be decoded")
    return columns | {
        "n_frames": n_frames,
        "n_interlaced": n_interlaced,
        "is_transparent": is_transparent,
        "frame_hashes": evenly_spaced(hashes),
        "n_size_changes": n_changes,
        "n_identical": n_identical,
        "n_nearly_identical": n_near,
        "longest_freeze_frames": longest,
        "identical_share": n_identical / (n_frames - 1) if n_frames > 1 else 0.0,
    }


def _clock(times_s: list[Fraction], step_s: float) -> dict[str, Any]:
    """The intervals between frames in display order; empty with fewer than two timestamps.

    Args:
        times_s: Timestamps, seconds.
        step_s: By how much intervals of a constant rate may differ, seconds.
    """
    times = sorted(times_s)
    intervals = [float(later - earlier) for earlier, later in pairwise(times)]
    if not intervals:
        return {}
    usual = float(np.median(intervals))
    return {
        "duration_s": float(times[-1] - times[0]) + usual,
        "interval_min_s": min(intervals),
        "interval_max_s": max(intervals),
        "variable_rate": max(intervals) - min(intervals) > max(RATE_TOLERANCE * usual, step_s),
    }


def _name(names: dict[int, str], code: int) -> str:
    return names.get(code, UNSPECIFIED if code in (0, 2, 3) else str(code))
