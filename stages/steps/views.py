"""A video as a method sees it: its decoded frames, and its selected crops where the method needs them."""

from collections.abc import Mapping, Sequence
from typing import overload

from models.methods.interface import Method, VideoView
from models.methods.reading import Need
from stages.errors import TableError
from stages.io.images import Frame, Shape
from stages.steps.clips import Box, ClipFrame, cut_boxes, frame_slots


class Pictures(Sequence[Frame]):
    """The pictures of a clip alone; those that nobody asks for are not decoded.

    Args:
        clip: The decoded frames.
    """

    def __init__(self, clip: Sequence[ClipFrame]) -> None:
        self._clip = clip

    def __len__(self) -> int:
        return len(self._clip)

    @overload
    def __getitem__(self, position: int) -> Frame: ...

    @overload
    def __getitem__(self, position: slice) -> list[Frame]: ...

    def __getitem__(self, position: int | slice) -> Frame | list[Frame]:
        if isinstance(position, slice):
            return [entry.frame for entry in self._clip[position]]
        return self._clip[position].frame


def video_view(
    method: Method,
    clip: Sequence[ClipFrame],
    boxes: Mapping[int, Box] | None,
    *,
    shape: Shape | None,
    places: int | None = None,
) -> VideoView:
    """Cut out what a method sees of one video.

    Args:
        method: Says whether it needs crops, and of which size.
        clip: The decoded frames.
        boxes: Frame index -> selected crop, xyxy in pixels of the frame; None: there are none.
        shape: How a crop fills the square; see `stages.io.images.cut`. None: there are no crops.
        places: Number of crops, where a short video repeats frames; None: one a frame.

    Raises:
        TableError: The method needs crops, and a frame has none.
    """
    frames = Pictures(clip)
    if Need.CROPS not in method.needs:
        return VideoView(frames)
    if boxes is None or shape is None:
        raise TableError("the method needs crops; there are none")
    crops = cut_boxes(clip, boxes, size_px=method.input_px, shape=shape)
    if places is not None and len(clip) != places:
        crops = crops[frame_slots(len(clip), places)]
    return VideoView(frames, crops)


def counted_segments(method: Method, n_segments: int, *, places: int) -> list[int]:
    """Which segment fills each place of the mean that is a video's score.

    Args:
        method: Where it takes a crop a frame, short videos repeat frames, as in training.
        n_segments: Of the video.
        places: Frames of a clip.

    Returns:
        Indices of segments.
    """
    return frame_slots(n_segments, places) if Need.CROPS in method.needs else list(range(n_segments))
