"""What a method reads of a video, as plain data: stages that only hand frames on ask this and need no torch."""

import math
from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from models.config import Section


class Need(StrEnum):
    """What a method reads of a video."""

    FRAMES = "frames"
    CROPS = "crops"


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


class AllFrames(Section):
    """Every frame that decodes."""

    kind: Literal["all"] = "all"

    def __str__(self) -> str:
        return "all frames"

    def indices(self, n_frames: int) -> list[int]:
        """The frames of a video, by decoded index.

        Args:
            n_frames: How many of its frames can be decoded, at least 1.

        Returns:
            Ascending, each once.
        """
        return list(range(n_frames))


class SpreadFrames(Section):
    """Evenly spaced frames."""

    kind: Literal["spread"] = "spread"
    count: int = Field(ge=1, le=1024, description="frames a video; a shorter one gives each of its frames once")

    def __str__(self) -> str:
        return f"{self.count} frames"

    def indices(self, n_frames: int) -> list[int]:
        """See `AllFrames.indices`."""
        return sorted(set(spread_indices(n_frames, self.count)))


# Which decoded frames of a video a method reads; JSON-like, so that weights say it.
FramePlan = AllFrames | SpreadFrames


class MethodParams(Section):
    """The section of a method.

    Attributes:
        needs: What the method reads of a video.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FRAMES})

    @classmethod
    def plan(cls, *, count: int) -> FramePlan:
        """Which decoded frames of a video the method reads; no param of its own changes that.

        Args:
            count: `decode.frames`, for methods that read evenly spaced frames.
        """
        return SpreadFrames(count=count)
