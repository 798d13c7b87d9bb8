"""A video as networks see it: its frames with their times, its selected crops cut out and brought to one size."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.errors import TableError
from stages.io.images import Frame, cut, decode_image
from stages.io.sampling import spread_indices
from stages.io.schemas import BOX_COLUMNS

Box = tuple[float, float, float, float]
# What `read_clip` and `selected_boxes` need of the tables.
CLIP_COLUMNS = ["frame_index", "time_s", "image"]
SELECTED_COLUMNS = ["frame_index", *BOX_COLUMNS, "selected"]


class ClipFrame(NamedTuple):
    """One decoded frame: its index and time in the video, and (H, W, 3) uint8 RGB."""

    frame_index: int
    time_s: float
    frame: Frame


def read_clip(frames: pa.Table) -> list[ClipFrame]:
    """The frames of one video from its rows of the FRAMES schema, in order."""
    return [
        ClipFrame(index, time_s, decode_image(image))
        for index, time_s, image in zip(
            frames["frame_index"].to_pylist(), frames["time_s"].to_pylist(), frames["image"].to_pylist(), strict=True
        )
    ]


def selected_boxes(crops: pa.Table) -> dict[int, Box]:
    """Frame index -> the selected crop's box (xyxy, pixels of the frame), from one video's rows of the CROPS schema."""
    chosen = crops.filter(crops["selected"])
    boxes = zip(*(chosen[name].to_pylist() for name in BOX_COLUMNS), strict=True)
    return dict(zip(chosen["frame_index"].to_pylist(), boxes, strict=True))


def cut_clip(clip: Sequence[ClipFrame], crops: pa.Table, *, size_px: int) -> NDArray[np.uint8]:
    """The selected crop of every frame, (F, 3, size_px, size_px) uint8 RGB; raise TableError when a frame has none."""
    return cut_boxes(clip, selected_boxes(crops), size_px=size_px)


def cut_boxes(clip: Sequence[ClipFrame], boxes: Mapping[int, Box], *, size_px: int) -> NDArray[np.uint8]:
    """`cut_clip` with the boxes (xyxy, pixels) by frame index."""
    missing = [entry.frame_index for entry in clip if entry.frame_index not in boxes]
    if missing:
        raise TableError(f"no selected crop for frames {missing}; frames and crops do not belong together")
    # Each is laid into its place at once: stacking and turning would go over all pixels twice more.
    cuts = np.empty((len(clip), 3, size_px, size_px), np.uint8)
    for place, entry in zip(cuts, clip, strict=True):
        place[:] = cut(entry.frame, boxes[entry.frame_index], size_px=size_px).transpose(2, 0, 1)
    return cuts


def frame_slots(n_distinct: int, frames: int) -> list[int]:
    """Which distinct frame fills each of the `frames` places of a clip; short videos repeat, evenly."""
    return spread_indices(n_distinct, frames) if n_distinct < frames else list(range(n_distinct))
