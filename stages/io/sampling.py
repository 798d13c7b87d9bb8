"""Which frames of a video are used, by decoded index."""

import math

from models.methods.reading import AllFrames, FramePlan


def spread_indices(n: int, count: int) -> list[int]:
    """Evenly spaced indices from 0 to n - 1, both included.

    Args:
        n: How many indices there are to choose from, at least 1.
        count: How many are wanted, at least 1.

    Returns:
        `count` indices in ascending order; with repeats where n < count, the middle one where count is 1.
    """
    if count == 1:
        return [(n - 1) // 2]
    return [math.floor(step * (n - 1) / (count - 1) + 0.5) for step in range(count)]


def planned_frames(plan: FramePlan, n_frames: int) -> list[int]:
    """The frames that a plan takes of a video.

    Args:
        plan: Of a method.
        n_frames: How many frames of the video can be decoded, at least 1.

    Returns:
        Decoded indices, ascending, each once.
    """
    if isinstance(plan, AllFrames):
        return list(range(n_frames))
    return sorted(set(spread_indices(n_frames, plan.count)))
