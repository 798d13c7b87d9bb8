"""What is wrong, or merely unusual, in a video file: its header against what decodes, its clock, colours and repeats.

Frames are decoded as the pipeline decodes them (OpenCV). What OpenCV does not report comes from PyAV, which reads the
file's structure: the packets' own timestamps, the colour tags, the sizes of key frames.
"""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from stages.errors import VideoError
from stages.io.video import opened

# With a coarse clock, equal intervals differ by one step of it: that is no variable rate. Matroska's step is 1 ms and
# GIF's 10 ms; the tolerance is more than one step and less than two.
RATE_TOLERANCE = 0.1
CLOCK_STEP_S = 0.002
GIF_CLOCK_STEP_S = 0.015
# Mean absolute difference of two frames, in levels of 0-255, below which nobody sees a change: recoding a copy of a
# frame changes it that little.
NEAR_LEVELS = 0.5

# Codecs whose frames have the size that the container states; all their frames are key frames, and would be decoded.
FIXED_SIZE = {"ffv1", "ffvhuff", "gif", "huffyuv", "rawvideo", "utvideo"}

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
        columns |= _decoded(path)
    except VideoError as error:
        columns |= {"status": "failed", "reason": str(error)}
    return columns | _container(path)


def _decoded(path: str | Path) -> dict[str, Any]:
    """Counts over all frames that decode. OpenCV scales later frames to the size of the first."""
    n_frames = n_identical = n_near = freeze = longest = 0
    first = last = None
    with opened(path) as capture:
        header = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        rotation = capture.get(cv2.CAP_PROP_ORIENTATION_META)
        while capture.grab():
            done, frame = capture.retrieve()
            if not done or frame is None:
                continue
            n_frames += 1
            freeze += 1
            if first is None or last is None:
                first = frame
            else:
                difference = cv2.absdiff(frame, last)
                identical = not difference.any()
                n_identical += identical
                n_near += bool(difference.mean() < NEAR_LEVELS)
                freeze = freeze if identical else 1
            longest = max(longest, freeze)
            last = frame
    if first is None:
        raise VideoError("no frame can be decoded")
    return {
        "n_frames_header": int(header) if np.isfinite(header) and 0 < header < 2**31 else 0,
        "n_frames": n_frames,
        "width": first.shape[1],
        "height": first.shape[0],
        "rotation_deg": int(rotation) % 360 if np.isfinite(rotation) else 0,
        "n_identical": n_identical,
        "n_nearly_identical": n_near,
        "longest_freeze_frames": longest,
        "identical_share": n_identical / (n_frames - 1) if n_frames > 1 else 0.0,
    }


def _container(path: str | Path) -> dict[str, Any]:
    """What the container states about its first video stream; empty when it cannot be read."""
    try:
        with av.open(str(Path(path).resolve()), metadata_errors="replace") as container:
            if not container.streams.video:
                return {}
            stream = container.streams.video[0]
            context = stream.codec_context
            tags = {
                "codec": context.name,
                "pixel_format": context.pix_fmt,
                "fps": float(stream.average_rate) if stream.average_rate else 0.0,
                "colour_range": RANGES.get(context.color_range, UNSPECIFIED),
                "colour_matrix": _name(MATRICES, context.colorspace),
                "colour_primaries": _name(PRIMARIES, context.color_primaries),
                "colour_transfer": _name(TRANSFERS, context.color_trc),
            }
            step_s = GIF_CLOCK_STEP_S if context.name == "gif" else CLOCK_STEP_S
            # The size can change at key frames only: the others need not be decoded to see it.
            context.skip_frame = "NONKEY"
            times, sizes, n_packets = [], [], 0
            try:
                for packet in container.demux(stream):
                    if packet.size:
                        n_packets += 1
                        time = packet.pts if packet.pts is not None else packet.dts
                        times += [] if time is None else [time * (packet.time_base or Fraction(1))]
                    if context.name not in FIXED_SIZE:
                        sizes += [(frame.width, frame.height) for frame in packet.decode()]
            except av.FFmpegError:
                pass  # cut off: what was read up to here counts
            n_size_changes = sum(earlier != later for earlier, later in pairwise(sizes))
            return tags | {"n_packets": n_packets, "n_size_changes": n_size_changes} | _clock(times, step_s)
    except (av.FFmpegError, OSError):
        return {}


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
