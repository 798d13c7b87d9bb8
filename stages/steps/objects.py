"""The objects of one video: which frames are looked at, what a detector finds there, and the rows of the table."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.detectors.interface import Detections, Detector
from models.detectors.top_boxes import top_boxes
from stages.io.images import Frame
from stages.io.schemas import BOX_COLUMNS, PROPOSALS
from stages.params.schema import ProposeParams


class Look(NamedTuple):
    """One look for objects.

    Attributes:
        place: Position of its frame among those of the video, from 0.
        size: (height, width) in pixels.
        frame_indices: Decoded indices of all frames that take these boxes, its own first.
        frame: (H, W, 3) uint8 RGB; None where boxes are looked up instead of detected.
    """

    place: int
    size: tuple[int, int]
    frame_indices: list[int]
    frame: Frame | None = None


def key_frames(sizes: Sequence[tuple[int, int]], every: int) -> list[int]:
    """For each frame of a video the position of the frame whose boxes it takes: its own, or an earlier one.

    Args:
        sizes: (height, width) of every frame, in order. Boxes are in pixels, so a frame of another size than the
            previous one is always looked at.
        every: 1 looks at every frame, k at every k-th, starting with the first.

    Returns:
        One position per frame, from 0.
    """
    sources: list[int] = []
    for place, size in enumerate(sizes):
        is_key = not sources or size != sizes[place - 1] or place - sources[-1] == every
        sources.append(place if is_key else sources[-1])
    return sources


def plan_looks(frame_indices: Sequence[int], sizes: Sequence[tuple[int, int]], *, every: int) -> list[Look]:
    """The looks that one video takes, in the order of its frames.

    Args:
        frame_indices: Decoded index of every frame.
        sizes: (height, width) of every frame, pixels.
        every: See `key_frames`.
    """
    takers: dict[int, list[int]] = {}
    for place, source in enumerate(key_frames(sizes, every)):
        takers.setdefault(source, []).append(frame_indices[place])
    return [Look(place, sizes[place], taken) for place, taken in takers.items()]


def find_objects(detector: Detector, looks: Sequence[Look], params: ProposeParams) -> list[Detections]:
    """The best boxes of every look that has a frame, in order.

    Args:
        detector: Finds the boxes.
        looks: Looks at frames; those of one size may come from several videos.
        params: Which boxes are kept.
    """
    detections = detector.detect([look.frame for look in looks if look.frame is not None])
    return [top_boxes(each, **params.rules()) for each in detections]


def proposals_table(video_id: str, looks: Sequence[Look], detections: Sequence[Detections]) -> pa.Table:
    """One video's rows of the PROPOSALS schema: frames in order, boxes by rank; a frame without objects has no row.

    Args:
        video_id: Id of the video.
        looks: All its looks.
        detections: What was found in each.
    """
    frames = [(index, each) for look, each in zip(looks, detections, strict=True) for index in look.frame_indices]
    counts = [len(each.scores) for _, each in frames]
    boxes = np.concatenate([each.boxes_xyxy_px.numpy() for _, each in frames])
    columns = {
        "video_id": [video_id] * sum(counts),
        "frame_index": np.repeat([index for index, _ in frames], counts),
        "rank": np.concatenate([np.arange(count) for count in counts]),
        **{name: boxes[:, column] for column, name in enumerate(BOX_COLUMNS)},
        "score": np.concatenate([each.scores.numpy() for _, each in frames]),
        "label": np.concatenate([each.labels.numpy() for _, each in frames]),
    }
    return pa.Table.from_pydict({name: pa.array(columns[name], PROPOSALS.field(name).type) for name in PROPOSALS.names})


def objects_by_frame(proposals: pa.Table, frame_indices: Sequence[int]) -> list[NDArray[np.float32]]:
    """The boxes of every frame, best first.

    Args:
        proposals: One video's rows of the PROPOSALS schema.
        frame_indices: Decoded index of every frame that is wanted.

    Returns:
        (N, 4) float32 xyxy in pixels for each frame; N is 0 for a frame without objects.
    """
    boxes = np.stack([proposals[name].to_numpy() for name in BOX_COLUMNS], axis=1)
    frame_of, rank = proposals["frame_index"].to_numpy(), proposals["rank"].to_numpy()
    result = []
    for index in frame_indices:
        here = np.flatnonzero(frame_of == index)
        result.append(boxes[here[np.argsort(rank[here], kind="stable")]].astype(np.float32))
    return result
