"""What a method reads of a video, as plain data: stages that only hand frames on ask this and need no torch."""

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from models.config import Section


class Need(StrEnum):
    """What a method reads of a video."""

    FRAMES = "frames"
    CROPS = "crops"


class AllFrames(Section):
    """Every frame that decodes."""

    kind: Literal["all"] = "all"

    def __str__(self) -> str:
        return "all frames"


class SpreadFrames(Section):
    """Evenly spaced frames."""

    kind: Literal["spread"] = "spread"
    count: int = Field(ge=1, le=1024, description="frames a video; a shorter one gives each of its frames once")

    def __str__(self) -> str:
        return f"{self.count} frames"


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
