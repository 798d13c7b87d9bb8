"""Parameters of the stage decode."""

from typing import Any, Literal

from pydantic import Field

from models.config import Section


class DecodeParams(Section):
    """Which frames of a video are used, and how they are stored."""

    frames: int = Field(
        ge=1,
        le=1024,
        description="frames a video, evenly spaced over its decoded frames; some methods read all",
    )
    encoding: Literal["png", "webp", "jpeg"] = Field(description="png and webp are lossless, jpeg is not")
    jpeg_quality: int = Field(ge=1, le=100, description="quality of jpeg on OpenCV's scale; the others ignore it")

    @property
    def storage(self) -> dict[str, Any]:
        """How frames are stored, as `stages.io.video.decode_video` takes it."""
        return self.model_dump(exclude={"frames"})
