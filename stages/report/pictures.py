"""Pictures inside the page: thumbnails as WebP data addresses, film strips with their crops, frame-score curves."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

from stages.io.images import Frame, decode_image
from stages.io.sampling import spread_indices
from stages.io.shards import Shards
from stages.steps.clips import Box, selected_boxes

STRIP_FRAMES_MAX = 12
STRIP_HEIGHT_PX = 168
THUMBNAIL_HEIGHT_PX = 44
CURVE_HEIGHT = 60  # units of the curve's own drawing, a score of 100 at the top


@dataclass(frozen=True)
class StripFrame:
    """One picture of a film strip.

    Attributes:
        address: The picture as a data address.
        width: Of the decoded frame, pixels.
        height: Of the decoded frame, pixels.
        crop_xyxy_px: The selected crop, pixels of the frame; None: there are no crops.
        frame_index: Decoded index in the video.
        time_s: Time in the video, seconds.
        score: 0-100.
        worst: Whether it is the video's worst frame.
    """

    address: str
    width: int
    height: int
    crop_xyxy_px: tuple[float, float, float, float] | None
    frame_index: int
    time_s: float
    score: float
    worst: bool


def data_address(frame: Frame, *, height_px: int, quality: int = 80) -> str:
    """A frame as a WebP data address.

    Args:
        frame: (H, W, 3) uint8 RGB.
        height_px: Greatest height; larger frames are reduced.
        quality: Of WebP, 1-100.
    """
    height, width = frame.shape[:2]
    if height > height_px:
        size = (max(1, round(width * height_px / height)), height_px)
        frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".webp", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, quality])
    assert done, "OpenCV writes WebP"
    return f"data:image/webp;base64,{base64.b64encode(data.tobytes()).decode()}"


def thumbnail(video_id: str, frames: Shards, frame_index: int | None) -> str | None:
    """A small picture of one frame of a video, as a data address.

    Args:
        video_id: The video.
        frames: The table of decoded frames.
        frame_index: Decoded index of the frame; the first one is shown where the video has no such frame.

    Returns:
        None where the video has no frames.
    """
    if video_id not in frames:
        return None
    rows = frames.read(video_id, columns=["frame_index", "image"])
    indices = rows["frame_index"].to_pylist()
    position = indices.index(frame_index) if frame_index in indices else 0
    return data_address(decode_image(rows["image"][position].as_py()), height_px=THUMBNAIL_HEIGHT_PX, quality=70)


def film_strip(video_id: str, scores: pd.DataFrame, frames: Shards, crops: Shards | None) -> list[StripFrame]:
    """At most 12 of a video's scored frames, evenly spaced, the worst among them.

    Args:
        video_id: The video.
        scores: Its rows of the FRAME_SCORES schema.
        frames: The table of decoded frames.
        crops: The table of crops, if there is one.
    """
    if video_id not in frames or scores.empty:
        return []
    images = frames.read(video_id, columns=["frame_index", "image"])
    encoded = dict(zip(images["frame_index"].to_pylist(), images["image"].to_pylist(), strict=True))
    boxes = selected_boxes(crops.read(video_id)) if crops is not None and video_id in crops else {}
    return strip_of(lambda index: decode_image(encoded[index]) if index in encoded else None, scores, boxes)


def strip_of(
    frame_of: Callable[[int], Frame | None], scores: pd.DataFrame, boxes: Mapping[int, Box]
) -> list[StripFrame]:
    """At most 12 of a video's scored frames, evenly spaced, the worst among them.

    Args:
        frame_of: Gives the frame of a decoded index, (H, W, 3) uint8 RGB; None where there is none.
        scores: Its frames' rows: frame_index, time_s, score; at least one.
        boxes: Frame index -> selected crop, xyxy in pixels of the frame.
    """
    scores = scores.sort_values("frame_index")
    worst = int(scores["frame_index"].to_numpy()[scores["score"].to_numpy().argmin()])
    strip = []
    for row in scores.iloc[shown_positions(scores["frame_index"].tolist(), worst)].itertuples():
        frame = frame_of(row.frame_index)
        if frame is None:
            continue
        strip.append(
            StripFrame(
                address=data_address(frame, height_px=STRIP_HEIGHT_PX),
                width=frame.shape[1],
                height=frame.shape[0],
                crop_xyxy_px=boxes.get(row.frame_index),
                frame_index=int(row.frame_index),
                time_s=float(row.time_s),
                score=float(row.score),
                worst=row.frame_index == worst,
            )
        )
    return strip


def shown_positions(indices: Sequence[int], worst: int) -> list[int]:
    """Positions of at most 12 evenly spaced frames; the one nearest to the worst frame is replaced by it.

    Args:
        indices: Decoded index of every frame.
        worst: That of the worst frame.
    """
    if len(indices) <= STRIP_FRAMES_MAX:
        return list(range(len(indices)))
    positions = spread_indices(len(indices), STRIP_FRAMES_MAX)
    wanted = list(indices).index(worst)
    nearest = min(range(len(positions)), key=lambda place: abs(positions[place] - wanted))
    positions[nearest] = wanted
    return positions


def curve_points(strip: Sequence[StripFrame]) -> list[tuple[float, float]]:
    """(x, y) of each frame's score: x in hundredths of the strip's width, under the middle of its picture."""
    return [
        (100 * (place + 0.5) / len(strip), CURVE_HEIGHT * (1 - min(max(frame.score, 0.0), 100.0) / 100))
        for place, frame in enumerate(strip)
    ]
