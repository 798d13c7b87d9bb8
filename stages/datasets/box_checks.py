"""Precomputed boxes, checked against their videos: rows that cannot be right, and frames without boxes."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.errors import listed
from stages.datasets.box_table import BoxTable
from stages.datasets.boxes import EDGE_TOLERANCE_PX, MAX_PROBLEMS, described_frames, is_of_texts, show_box
from stages.errors import TableError

MAX_NAMES = 12


class Video(NamedTuple):
    """What the boxes of a video are checked against.

    Attributes:
        sizes: (height, width) in pixels of its decoded frames, by their index.
        looked_at: The frames whose boxes are looked up.
    """

    sizes: Mapping[int, tuple[int, int]]
    looked_at: Sequence[int]


def fit_to_videos(table: BoxTable, videos: Mapping[str, Video], n_frames: Mapping[str, int | None]) -> BoxTable:
    """Check boxes against their videos, and clip them to their frames, which rounding may let them exceed.

    Boxes of frames that were not decoded are checked against the video's largest decoded frame.

    Args:
        table: The boxes.
        videos: The decoded videos, by id.
        n_frames: Number of frames of every video of the manifest; None where the video cannot be read.

    Returns:
        The table with its boxes clipped.

    Raises:
        TableError: Boxes belong to other videos or to frames that their video does not have, reach more than
            EDGE_TOLERANCE_PX outside their frame, or lie outside it; the message names the rows.
    """
    _check_ids(table, n_frames)
    ends, sizes = _ends(table, n_frames), _sizes(table, videos)
    boxes, index = table.boxes_xyxy_px.numpy(), table.frame_index.numpy()
    beyond = index >= ends
    reaches: Any = (boxes[:, 2:] > sizes + np.float32(EDGE_TOLERANCE_PX)).any(axis=1)
    outside = (boxes[:, :2] >= sizes).any(axis=1)

    def problem(place: int) -> str:
        if beyond[place]:
            return f"frame {index[place]}, but the video has frames 0 to {ends[place] - 1:.0f}"
        how = f"reaches more than {EDGE_TOLERANCE_PX:g} px outside of" if reaches[place] else "lies outside of"
        width, height = sizes[place]
        return f"the box {show_box(boxes[place])} {how} frame {index[place]} ({width:.0f}x{height:.0f} px)"

    wrong = np.flatnonzero(beyond | reaches | outside)
    if len(wrong):
        first = wrong[np.argsort(table.rows.numpy()[wrong])][:MAX_PROBLEMS].tolist()
        shown = [f"{table.name_row(place)}: {problem(place)}" for place in first]
        _stop(f"{len(wrong)} boxes do not fit their videos", shown, len(wrong))
    return dataclasses.replace(table, boxes_xyxy_px=torch.from_numpy(np.minimum(boxes, np.tile(sizes, 2))))


def coverage(table: BoxTable, videos: Mapping[str, Video]) -> str:
    """Lines that say which videos and frames have boxes.

    An empty text file says that its frame has no objects, and counts as a frame that has boxes.

    Args:
        table: The boxes.
        videos: The decoded videos, by id.

    Raises:
        TableError: No box is at a frame that is looked at.
    """
    described, n_met = described_frames(table), _count_met(table, videos)
    if n_met == 0:
        raise TableError(_no_frame_in_common(table, videos))
    lacking = {
        video_id: [index for index in video.looked_at if index not in described.get(video_id, ())]
        for video_id, video in videos.items()
    }
    n_frames = sum(len(video.looked_at) for video in videos.values())
    without = [video_id for video_id, missing in lacking.items() if len(missing) == len(videos[video_id].looked_at)]
    partly = {video_id: missing for video_id, missing in lacking.items() if missing and video_id not in {*without}}
    lines = [
        f"there are precomputed boxes for {len(videos) - len(without)} of {len(videos)} videos and "
        f"{n_frames - sum(map(len, lacking.values()))} of {n_frames} frames that are looked at"
    ]
    if without:
        lines.append(f"none for {_names(without)}")
    if partly and is_of_texts(table):
        frames = [f"{video_id} (frames {_names(missing)})" for video_id, missing in partly.items()]
        lines.append(f"no text file for {_names(frames)}")
    elif partly:
        lines.append(f"none for {sum(map(len, partly.values()))} frames of videos that have some: {_names(partly)}")
    if n_met < len(table.scores):
        lines.append(f"{len(table.scores) - n_met} of {len(table.scores)} boxes are at frames that are not looked at")
    return "\n  ".join(lines)


def _check_ids(table: BoxTable, known: Collection[str]) -> None:
    """Raise TableError that names the first row of every video that is not `known`."""
    foreign = [video_id for video_id in described_frames(table) if video_id not in known]
    if foreign:
        parts = {video_id: table.part_of(video_id) for video_id in foreign[:MAX_PROBLEMS]}
        shown = [
            f"{table.name_row(part.start) if part.stop else 'empty text files'}: {video_id!r}"
            for video_id, part in parts.items()
        ]
        _stop(f"boxes of {len(foreign)} videos that the manifest does not have", shown, len(foreign))


def _ends(table: BoxTable, n_frames: Mapping[str, int | None]) -> NDArray[np.float64]:
    """(N,) how many frames the video of every row has; infinite where that is not known."""
    counts = [n_frames[video_id] for video_id in table.videos]
    known = np.array([np.inf if count is None else count for count in counts])
    return np.repeat(known, np.diff(table.starts.numpy()))


def _sizes(table: BoxTable, videos: Mapping[str, Video]) -> NDArray[np.float32]:
    """(N, 2) width and height of the frame of every row; infinite for videos that were not decoded."""
    frame_sizes = np.full((len(table.scores), 2), np.inf, dtype=np.float32)
    for video_id, video in videos.items():
        part = table.part_of(video_id)
        indices, place = np.unique(table.frame_index[part].numpy(), return_inverse=True)
        largest = tuple(max(sides) for sides in zip(*video.sizes.values(), strict=True))
        sizes = [video.sizes.get(index, largest) for index in indices.tolist()]
        frame_sizes[part] = np.array(sizes, dtype=np.float32).reshape(-1, 2)[place, ::-1]
    return frame_sizes


def _count_met(table: BoxTable, videos: Mapping[str, Video]) -> int:
    """Boxes at frames that are looked at."""
    index = table.frame_index.numpy()
    return sum(
        int(np.isin(index[table.part_of(video_id)], video.looked_at).sum()) for video_id, video in videos.items()
    )


def _no_frame_in_common(table: BoxTable, videos: Mapping[str, Video]) -> str:
    text = f"none of {len(table.scores)} boxes is at a frame that is looked at"
    example = next((video_id for video_id in table.videos if video_id in videos), None)
    if example is None:
        return f"{text}: all are of videos that could not be decoded"
    indices = torch.unique(table.frame_index[table.part_of(example)]).tolist()
    return (
        f"{text}; {example} has boxes at frames {_names(indices)}, looked at are {_names(videos[example].looked_at)} "
        "(frame_index counts the decoded frames of the video from 0)"
    )


def _names(values: Collection[Any]) -> str:
    """`a, b, c`: the first dozen values, and how many more there are."""
    return listed([str(value) for value in values], shown=MAX_NAMES)


def _stop(title: str, shown: Iterable[str], count: int) -> None:
    lines = listed([*shown], shown=MAX_PROBLEMS, separator="\n  ", total=count)
    raise TableError(f"{title}\n  {lines}")
