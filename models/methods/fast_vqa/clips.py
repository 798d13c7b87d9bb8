"""Which frames of a video make the clips of the FAST family.

Source: facts about VQAssessment/FAST-VQA-and-FasterVQA at v2.0.0 (August 2022) and 9f264e4, and Sissuire/SAMA at
38c02bf, whose clips are centred in their parts and do not start anew past the end.
"""

from collections.abc import Sequence
from typing import Literal

import torch

from models.errors import AigcVqaError
from models.methods.fast_vqa.config import FragmentSampling


class FragmentSamplingError(AigcVqaError, ValueError):
    """A video from which no clip or no fragments can be cut; the text gives its size and what is needed."""


def part_choices(n_frames: int, *, parts: int, span: int) -> int:
    """How many places a clip can start at inside its part of the video, counted as the public code of 2022-12 does.

    Args:
        n_frames: Of the video.
        parts: Equal parts that the video is cut into, a clip in each.
        span: Frames that a clip covers.

    Returns:
        At least 1: a part that is too short has its clip at its start, and one that just fits leaves a place out.
    """
    return max(1, n_frames // parts - span)


def part_starts(n_frames: int, *, shifts: Sequence[int]) -> list[int]:
    """Starts of clips, one in each part.

    Args:
        n_frames: Of the video.
        shifts: For each part, from its first frame to the start of its clip.
    """
    length = n_frames // len(shifts)
    return [part * length + shift for part, shift in enumerate(shifts)]


def spread_starts(n_frames: int, *, clips: int, span: int) -> list[int]:
    """Starts of clips as at test in v2.0.0: spread evenly over the places that a whole clip can start at.

    Args:
        n_frames: Of the video; below `span` all clips start at 0.
        clips: How many.
        span: Frames that a clip covers.
    """
    places = n_frames - span + 1
    return [int((clip + 0.5) * places / clips) if places >= 1 else 0 for clip in range(clips)]


def clip_indices(
    starts: Sequence[int], *, clip_frames: int, interval: int, n_frames: int, past_end: Literal["wrap", "last"]
) -> list[int]:
    """Decoded indices of the frames of clips, one clip after the other.

    Args:
        starts: Of the clips.
        clip_frames: Frames of a clip.
        interval: From one to the next.
        n_frames: Of the video.
        past_end: What stands for frames that there are not: "wrap", the video from its start again; "last", its last
            frame.

    Returns:
        len(starts) * clip_frames indices; short videos have frames twice.

    Raises:
        FragmentSamplingError: The video has no frame.
    """
    if n_frames < 1:
        raise FragmentSamplingError(f"the video has {n_frames} frames; needed: at least 1")
    indices = [start + interval * frame for start in starts for frame in range(clip_frames)]
    return [index % n_frames if past_end == "wrap" else min(index, n_frames - 1) for index in indices]


def frame_indices(n_frames: int, sampling: FragmentSampling, generator: torch.Generator | None) -> list[int]:
    """The frames that FAST-VQA sees of a video.

    Args:
        n_frames: Of the video.
        sampling: Of the method.
        generator: Of the training's random numbers: one clip. None: the clips of the test, always the same.

    Returns:
        clips * clip_frames decoded indices, one clip after the other.

    Raises:
        FragmentSamplingError: The video has no frame.
    """
    span, clips = sampling.span, 1 if generator is not None else sampling.test_clips
    if sampling.starts == "v2.0.0" and generator is None:
        starts = spread_starts(n_frames, clips=clips, span=span)
    else:
        random = torch.Generator().manual_seed(sampling.test_seed) if generator is None else generator
        is_head = sampling.starts == "head"
        choices = part_choices(n_frames, parts=clips, span=span) if is_head else max(1, n_frames - span + 1)
        starts = part_starts(n_frames, shifts=torch.randint(choices, (clips,), generator=random).tolist())
    return clip_indices(
        starts, clip_frames=sampling.clip_frames, interval=sampling.interval, n_frames=n_frames, past_end="wrap"
    )
