"""What a video file holds, found by reading it to its end."""

from dataclasses import dataclass
from pathlib import Path

from stages.errors import VideoError
from stages.io.decoder.reading import opened

MIN_FRAMES = 2


@dataclass(frozen=True)
class Probe:
    """What a file holds when it is read to its end.

    Attributes:
        n_frames_header: Frames that the container counts; it may be wrong; 0: it has no count.
        n_frames: Frames that decode.
        fps: Frames per second by the header; 0 where it is not known.
        width: Pixels of the shown picture: square ones, after rotation.
        height: Pixels of the shown picture.
    """

    n_frames_header: int
    n_frames: int
    fps: float
    width: int
    height: int


def probe(path: str | Path, *, max_missing_fraction: float) -> Probe:
    """Read a file to its end and count the frames that decode.

    A header's count is no measure of damage, because it is an estimate in many formats and counts hidden frames in
    others: what is missing are packets that the decoder refuses, or that the file's own index names and that are not
    there.

    Args:
        path: The file.
        max_missing_fraction: Share of the coded frames that may fail to decode, 0..1.

    Raises:
        VideoError: With the reason: missing, empty, no video, larger than allowed, a picture that cannot be shown,
            fewer than two frames, or more frames missing than allowed (truncated or damaged).
    """
    count = height = width = 0
    with opened(path) as video:
        for picture in video.pictures():
            # What cannot be shown is found here, not by the stage that needs the picture.
            if count == 0:
                height, width = picture.rgb().shape[:2]
            count += 1
        n_coded, n_failed, file = video.n_coded, video.n_failed, video.file
    if count == 0:
        raise VideoError("no frame can be decoded")
    if n_failed > max_missing_fraction * n_coded:
        raise VideoError(f"truncated or damaged: of {n_coded} coded frames {n_failed} are missing or cannot be decoded")
    if count < MIN_FRAMES:
        raise VideoError(f"{count} frame decodes; a video needs at least {MIN_FRAMES}")
    return Probe(file.n_frames_header, count, file.fps, width=width, height=height)
