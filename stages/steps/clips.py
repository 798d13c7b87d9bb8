"""A video as networks see it: its frames with their times, and its selected crops, cut out and resized to one size."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.errors import TableError
from stages.io.images import Frame, Shape, cut, decode_image
from stages.io.sampling import spread_indices
from stages.io.schemas import BOX_COLUMNS

Box = tuple[float, float, float, float]
# What `read_clip` and `selected_boxes` need of the tables.
CLIP_COLUMNS = ["frame_index", "time_s", "image"]
SELECTED_COLUMNS = ["frame_index", *BOX_COLUMNS, "selected"]


class ClipFrame(NamedTuple):
    """One decoded frame.

    Attributes:
        frame_index: Decoded index in the video.
        time_s: Time in the video, seconds.
        frame: (H, W, 3) uint8 RGB.
    """

    frame_index: int
    time_s: float
    frame: Frame


class DecodedClip(Sequence[ClipFrame]):
    """The frames of one video, in order; each is decoded when it is first asked for.

    Args:
        frames: The video's rows of the FRAMES schema.

    Raises:
        TableError: The image that is asked for is damaged.
    """

    def __init__(self, frames: pa.Table) -> None:
        self._indices, self._times = frames["frame_index"].to_pylist(), frames["time_s"].to_pylist()
        self._images = frames["image"]
        self._decoded: dict[int, ClipFrame] = {}

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, position: int) -> ClipFrame: ...

    @overload
    def __getitem__(self, position: slice) -> list[ClipFrame]: ...

    def __getitem__(self, position: int | slice) -> ClipFrame | list[ClipFrame]:
        places = range(len(self))[position]
        if isinstance(places, range):
            return [self[place] for place in places]
        if places not in self._decoded:
            image = decode_image(self._images[places].as_py())
            self._decoded[places] = ClipFrame(self._indices[places], self._times[places], image)
        return self._decoded[places]


def read_clip(frames: pa.Table) -> DecodedClip:
    """The frames of one video, in order.

    Args:
        frames: Its rows of the FRAMES schema.
    """
    return DecodedClip(frames)


def selected_boxes(crops: pa.Table) -> dict[int, Box]:
    """The selected crop of every frame of one video.

    Args:
        crops: Its rows of the CROPS schema.

    Returns:
        Frame index -> box, xyxy in pixels of the frame.
    """
    chosen = crops.filter(crops["selected"])
    boxes = zip(*(chosen[name].to_pylist() for name in BOX_COLUMNS), strict=True)
    return dict(zip(chosen["frame_index"].to_pylist(), boxes, strict=True))


def cut_boxes(clip: Sequence[ClipFrame], boxes: Mapping[int, Box], *, size_px: int, shape: Shape) -> NDArray[np.uint8]:
    """Cut one box out of every frame.

    Args:
        clip: The decoded frames of one video.
        boxes: Frame index -> box, xyxy in pixels of the frame.
        size_px: Side of the result, pixels.
        shape: How a crop fills the square; see `stages.io.images.cut`.

    Returns:
        (F, 3, size_px, size_px) uint8 RGB.

    Raises:
        TableError: A frame has no box.
    """
    missing = [entry.frame_index for entry in clip if entry.frame_index not in boxes]
    if missing:
        raise TableError(f"no selected crop for frames {missing}; frames and crops do not belong together")
    # Each crop is written straight to its place: stacking and transposing would copy all pixels twice more.
    cuts = np.empty((len(clip), 3, size_px, size_px), np.uint8)
    for place, entry in zip(cuts, clip, strict=True):
        place[:] = cut(entry.frame, boxes[entry.frame_index], size_px=size_px, shape=shape).transpose(2, 0, 1)
    return cuts


def frame_slots(n_distinct: int, frames: int) -> list[int]:
    """Which distinct frame fills each place of a clip; short videos repeat frames, evenly.

    Args:
        n_distinct: Number of distinct frames.
        frames: Number of places that a clip has.

    Returns:
        Indices of distinct frames, in order; all of them, once each, where there are enough.
    """
    return spread_indices(n_distinct, frames) if n_distinct < frames else list(range(n_distinct))
