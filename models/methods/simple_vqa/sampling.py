"""Which frames SimpleVQA looks at: one a second, and beside it the clip of motion that starts there.

Source: sunwei925/SimpleVQA at 017edda, the extraction scripts of the benchmark (its single-video demo differs). Indices
are those of decoded frames, from 0.
"""

import itertools
from typing import NamedTuple, TypeVar

from models.errors import AigcVqaError

Entry = TypeVar("Entry")
# Consecutive frames of a clip, as SlowFast 8x8 takes them.
CLIP_FRAMES = 32


class SimpleVqaInputError(AigcVqaError, ValueError):
    """A video, or an option, that SimpleVQA is not defined for."""


class SegmentPlan(NamedTuple):
    """What the network sees of a video, S segments.

    Attributes:
        frames: S indices of frames.
        clips: S clips of CLIP_FRAMES indices each.
    """

    frames: list[int]
    clips: list[list[int]]


def frames_per_second(fps: float) -> int:
    """The whole number of frames that counts as a second.

    Args:
        fps: As the file says.

    Raises:
        SimpleVqaInputError: It rounds to 0, or is not finite.
    """
    if not 0.5 < fps < float("inf"):
        raise SimpleVqaInputError(f"the video has {fps} frames per second; needed: more than 0.5, and finite")
    return round(fps)


def key_frames(n_frames: int, *, fps: float, minimum: int) -> list[int]:
    """One frame a second, the last one repeated up to the minimum.

    Args:
        n_frames: Decoded frames of the video.
        fps: Frames per second, as the file says.
        minimum: Of indices; longer videos give more.

    Raises:
        SimpleVqaInputError: There are no frames, the minimum is below 1, or the fps round to 0.
    """
    _check_counts(n_frames, minimum)
    return _filled(list(range(0, n_frames, frames_per_second(fps))), minimum)


def motion_clips(n_frames: int, *, fps: float, minimum: int, n_promised: int | None = None) -> list[list[int]]:
    """The clip of every whole second, the last one repeated up to the minimum.

    A clip is longer than a second at less than 32 frames per second; past the end of the video its last frame repeats.
    The started second at the end has no clip, but a key frame: 241 frames at 30 per second have 9 key frames and 8
    clips, which are paired from the start.

    Args:
        n_frames: Decoded frames of the video.
        fps: Frames per second, as the file says.
        minimum: Of clips; longer videos give more.
        n_promised: Frames that the file's header promises, where the release counts those; the last decoded one takes
            the place of those that are missing. None: as many as are decoded.

    Returns:
        Clips of CLIP_FRAMES indices each.

    Raises:
        SimpleVqaInputError: As `key_frames`; or the video is shorter than a second and has no clip, where the release
            stops too.
    """
    _check_counts(n_frames, minimum)
    second = frames_per_second(fps)
    promised = n_frames if n_promised is None else n_promised
    starts = [number * second for number in range(promised // second)]
    if not starts:
        raise SimpleVqaInputError(
            f"the video has {promised} frames at {fps:g} per second; needed for a clip of motion: one second, "
            f"{second} frames"
        )
    clips = [[min(start + step, n_frames - 1) for step in range(CLIP_FRAMES)] for start in starts]
    return _filled(clips, minimum)


def segment_plan(n_frames: int, *, fps: float, segments: int, with_motion: bool) -> SegmentPlan:
    """What the network sees of a video: the first segments of both lists, paired by place as in the release.

    Args:
        n_frames: Decoded frames of the video.
        fps: Frames per second, as the file says.
        segments: S; 8 as published, 20 for YouTube-UGC. Of longer videos the rest is not looked at.
        with_motion: Whether clips are wanted; without, videos below a second will do, and there are none.

    Raises:
        SimpleVqaInputError: As `key_frames` and, with motion, `motion_clips`.
    """
    frames = key_frames(n_frames, fps=fps, minimum=segments)[:segments]
    clips = motion_clips(n_frames, fps=fps, minimum=segments)[:segments] if with_motion else []
    return SegmentPlan(frames, clips)


def _check_counts(n_frames: int, minimum: int) -> None:
    if n_frames < 1 or minimum < 1:
        raise SimpleVqaInputError(f"n_frames is {n_frames} and minimum is {minimum}; needed: both at least 1")


def _filled(entries: list[Entry], minimum: int) -> list[Entry]:
    return [*entries, *itertools.repeat(entries[-1], max(0, minimum - len(entries)))]
