"""Boxes that were found elsewhere, looked up by video and frame instead of found by a network."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from models.detectors.class_wise import first_of_each, suppress_by_class
from models.detectors.config import DetectionRules
from models.detectors.interface import Detections, DetectorError


@dataclass(frozen=True)
class BoxTable:
    """Boxes of many frames.

    config: which of them stay, as a detector would keep them; with labels "best" boxes are one box when their four
    coordinates are the same.

    videos: ids, each once. starts: (V + 1,) int64, where each one's boxes start. The others have a row a box, those of
    a video by rising frame, those of a frame best first: frame_index (N,) int64; boxes_xyxy_px (N, 4) float32;
    scores (N,) float32; labels (N,) int64 from 1; rows (N,) int64, the user's numbers, from 1.
    places: the user's files, as (first row, name), rows rising.
    """

    config: DetectionRules
    videos: tuple[str, ...]
    places: tuple[tuple[int, str], ...]
    starts: Tensor
    frame_index: Tensor
    boxes_xyxy_px: Tensor
    scores: Tensor
    labels: Tensor
    rows: Tensor

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """There is no network behind the boxes: raises DetectorError."""
        raise DetectorError(
            f"the boxes of {len(self.videos)} videos were brought along (detector.backend: table), so no objects can "
            f"be found in {len(frames)} other frames; that takes a detector: detector.backend torchvision or detectron2"
        )

    def part_of(self, video_id: str) -> slice:
        """Where a video's boxes lie; an empty slice for a video without boxes."""
        place = self._places_of_videos.get(video_id)
        return slice(0, 0) if place is None else slice(*self.starts[place : place + 2].tolist())

    def look_up(self, video_id: str, frame_index: int) -> Detections:
        """The boxes of one frame, best first; equal scores keep the order of the rows."""
        part = self.part_of(video_id)
        wanted = torch.tensor([frame_index, frame_index + 1])
        first, end = (torch.searchsorted(self.frame_index[part], wanted) + part.start).tolist()
        own = slice(first, end)
        kept = torch.nonzero(self.scores[own] >= self.config.min_score).squeeze(1) + first
        stays = suppress_by_class(self.boxes_xyxy_px[kept], self.labels[kept], self.config.nms_iou)
        kept = kept[stays]
        if self.config.labels == "best":
            _, same = self.boxes_xyxy_px[kept].unique(dim=0, return_inverse=True)
            kept = kept[first_of_each(same)]
        kept = kept[: self.config.max_detections]
        return Detections(self.boxes_xyxy_px[kept], self.scores[kept], self.labels[kept])

    def name_row(self, place: int) -> str:
        """`boxes.parquet, row 17`: where the user finds the box at a place of the columns."""
        row = int(self.rows[place])
        first, name = self.places[bisect_left(self.places, (row + 1,)) - 1]
        return f"{name}, row {row - first + 1}"

    @cached_property
    def _places_of_videos(self) -> dict[str, int]:
        return {video_id: place for place, video_id in enumerate(self.videos)}
