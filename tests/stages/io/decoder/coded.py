"""Video files of known pixels, written with PyAV: any codec, format, tag, field order, clock and display matrix."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from stages.io.decoder.reading import opened
from stages.io.images import Frame

# (primaries, transfer, matrix) of ITU-T H.273 and FFmpeg's range: 1 limited, 2 full.
Tags = tuple[int, int, int, int]
CLOCK = Fraction(1, 1000)


def planar(planes: Sequence[NDArray[Any]], pixel_format: str) -> av.VideoFrame:
    """A frame from its planes, as they are stored: (H, W) arrays of the format's own depth."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pixel_format)
    for plane, values in zip(frame.planes, planes, strict=True):
        buffer: Any = plane
        rows = np.frombuffer(buffer, np.uint8).reshape(-1, plane.line_size)[: values.shape[0]]
        data = np.ascontiguousarray(values).view(np.uint8).reshape(values.shape[0], -1)
        rows[:, : data.shape[1]] = data
    return frame


def rgb_frame(rgb: Frame, pixel_format: str) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pixel_format)


def write_coded(
    path: Path,
    frames: Sequence[av.VideoFrame | Frame] | Frame,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    container: str | None = None,
    times_ms: Sequence[int] | None = None,
    rotation_deg: int = 0,
    left_right: bool = False,
    tags: Tags | None = None,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    rate: int = 10,
    clock: Fraction = CLOCK,
) -> Path:
    """Write a file; a frame every 100 ms, or the times that are given.

    rate and clock: what the encoder is told; MPEG-2 knows a few rates only, and no other clock.

    frames: RGB arrays, or frames in `pixel_format` already. rotation_deg: counter-clockwise, of the display matrix;
    then left_right mirrors. Matroska keeps colour tags of every codec, MP4 those of H.264.
    """
    with av.open(str(path), "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=rate, options=options or {})
        coded = [each if isinstance(each, av.VideoFrame) else rgb_frame(each, pixel_format) for each in frames]
        stream.width, stream.height, stream.pix_fmt = coded[0].width, coded[0].height, pixel_format
        context = stream.codec_context
        context.time_base = clock
        if tags:
            context.color_primaries, context.color_trc, context.colorspace, context.color_range = tags
        if aspect:
            context.sample_aspect_ratio = aspect
        if rotation_deg or left_right:
            stream.set_display_rotation(rotation_deg, hflip=left_right)
        for number, frame in enumerate(coded):
            if tags:
                frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range = tags
            frame.pts, frame.time_base = (times_ms or range(0, 100 * len(coded), 100))[number], CLOCK
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def shown(path: Path) -> NDArray[np.uint8]:
    """(F, H, W, 3) RGB: every picture of a file, as the pipeline sees it."""
    with opened(path) as video:
        return np.stack([picture.rgb() for picture in video.pictures()])


def filtered(path: Path, *filters: tuple[str, dict[str, str]], pixel_format: str = "rgb24") -> NDArray[np.uint8]:
    """(F, H, W, 3): every frame of a file through FFmpeg's own filters, in one graph from the first to the last."""
    graph = av.filter.Graph()
    pictures = []
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = list(file.decode(stream))
        nodes = [
            graph.add_buffer(template=stream),
            *(graph.add(name, **options) for name, options in filters),
            graph.add("format", pix_fmts=pixel_format),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        for frame in frames:
            graph.vpush(frame)
        graph.vpush(None)
        pictures = [graph.vpull().to_ndarray() for _ in frames]
    return np.stack(pictures)
