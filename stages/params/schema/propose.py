"""Parameters of the stage propose."""

from typing import Any

from pydantic import Field, model_validator

from models.config import COUNT_MAX, Section


class ProposeParams(Section):
    """Which objects of a frame the cropper is told of."""

    every: int = Field(
        ge=1, le=COUNT_MAX, description="objects are looked for in every k-th frame, whose boxes the next ones take"
    )
    top_n: int = Field(ge=1, le=100, description="objects a frame, best first")
    score_threshold: float = Field(ge=0, le=1, description="confidence below which an object is dropped")
    nms_iou: float = Field(
        ge=0, le=1, description="overlap (IoU) above which the worse of two objects goes, any class; 1: none goes"
    )
    min_boxes: int = Field(ge=0, le=100, description="objects a frame that stay whatever their confidence, best first")
    max_boxes: int = Field(ge=1, le=100, description="objects a frame at most, before top_n")

    @model_validator(mode="after")
    def _ordered(self) -> "ProposeParams":
        if self.min_boxes > self.max_boxes:
            raise ValueError(f"min_boxes = {self.min_boxes} must not be above max_boxes = {self.max_boxes}")
        return self

    def rules(self) -> dict[str, Any]:
        """The arguments of `top_boxes`: all but `every`, which is about frames and not about a frame's boxes."""
        return self.model_dump(exclude={"every"})
