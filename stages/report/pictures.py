"""Pictures inside the page: thumbnails as WebP data addresses, film strips with their crops, frame-score curves."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

from stages.io.images import Frame, decode_image
from stages.io.sampling import spread_indices
from stages.io.tables import Shards
from stages.steps.clips import selected_boxes

STRIP_FRAMES_MAX = 12
STRIP_HEIGHT_PX = 168
THUMBNAIL_HEIGHT_PX = 44
CURVE_HEIGHT = 60  # units of the curve's own drawing, a score of 100 at the top


@dataclass(frozen=True)
class StripFrame:
    """One picture of a film strip. crop_xyxy_px: the selected crop, pixels of the frame; None: no crops there."""

    address: str
    width: int
    height: int
    crop_xyxy_px: tuple[float, float, float, float] | None
    frame_index: int
    time_s: float
    score: float
    worst: bool


def data_address(frame: Frame, *, height_px: int, quality: int = 80) -> str:
    """(H, W, 3) uint8 RGB as a WebP data address, no higher than `height_px`."""
    height, width = frame.shape[:2]
    if height > height_px:
        size = (max(1, round(width * height_px / height)), height_px)
        frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".webp", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, quality])
    assert done, "OpenCV writes WebP"
    return f"data:image/webp;base64,{base64.b64encode(data.tobytes()).decode()}"


def thumbnail(video_id: str, frames: Shards, frame_index: int | None) -> str | None:
    """The video's frame of that index, small; its first one when there is none of that index; None without frames."""
    if video_id not in frames:
        return None
    rows = frames.read(video_id, columns=["frame_index", "image"])
    indices = rows["frame_index"].to_pylist()
    position = indices.index(frame_index) if frame_index in indices else 0
    return data_address(decode_image(rows["image"][position].as_py()), height_px=THUMBNAIL_HEIGHT_PX, quality=70)


def film_strip(video_id: str, scores: pd.DataFrame, frames: Shards, crops: Shards | None) -> list[StripFrame]:
    """At most 12 of a video's scored frames, evenly spaced, the worst among them; scores: its rows of FRAME_SCORES."""
    if video_id not in frames or scores.empty:
        return []
    scores = scores.sort_values("frame_index")
    worst = int(scores["frame_index"].to_numpy()[scores["score"].to_numpy().argmin()])
    shown = shown_positions(scores["frame_index"].tolist(), worst)
    images = frames.read(video_id, columns=["frame_index", "image"])
    image_of = dict(zip(images["frame_index"].to_pylist(), images["image"].to_pylist(), strict=True))
    boxes = selected_boxes(crops.read(video_id)) if crops is not None and video_id in crops else {}
    strip = []
    for row in scores.iloc[shown].itertuples():
        if row.frame_index not in image_of:
            continue
        frame = decode_image(image_of[row.frame_index])
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
    """Positions of at most 12 evenly spaced frames; the one nearest to the worst frame gives it its place."""
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
        (100 * (place + 0.5) / len(strip), CURVE_HEIGHT * (1 - min(max(one.score, 0.0), 100.0) / 100))
        for place, one in enumerate(strip)
    ]
