"""What benchmarks of whole stages share: frames in shards, and a folder to run a stage in."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from stages.io.images import encode_image
from stages.io.schemas import FRAMES
from stages.io.shards import write_shards

# Pixels of a frame for each of the noise that it is drawn from: such frames compress as those of video do.
SMOOTHNESS = 8


def video_ids(videos: int) -> dict[str, str]:
    """Ids, and a key for each."""
    return {f"{number:04d}": str(number) for number in range(videos)}


def write_frames(folder: Path, *, videos: int, frames_a_video: int, height: int, width: int) -> None:
    """Shards of PNG frames that compress as video frames do, by a fixed seed."""
    random = np.random.default_rng(0)

    def rows(_key: str, video_id: str) -> pa.Table:
        shape = (frames_a_video, height // SMOOTHNESS, width // SMOOTHNESS, 3)
        small = random.integers(0, 256, shape, dtype=np.uint8)
        frames = [np.asarray(cv2.resize(each, (width, height)), np.uint8) for each in small]
        columns = [
            {"video_id": video_id, "frame_index": index, "time_s": index / 8, "width": width, "height": height,
             "encoding": "png", "image": encode_image(frame, encoding="png", jpeg_quality=95)}
            for index, frame in enumerate(frames)
        ]  # fmt: skip
        return pa.Table.from_pylist(columns, schema=FRAMES)

    write_shards(folder, video_ids(videos), rows, schema=FRAMES, n_shards=4, made_by={}, failed={})


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder, so that the item cache lies there, without the stage's closing lines and progress bar."""
    with (
        contextlib.chdir(folder),
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
