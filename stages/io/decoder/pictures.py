"""From a decoded frame to the picture that a viewer sees: colours, transparency, fields, square pixels, orientation."""

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type as SideData
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from stages.errors import VideoError
from stages.io.decoder.display import Orientation, read_orientation, square_size
from stages.io.decoder.files import check_size
from stages.io.images import Frame

# What lies under transparent pixels, 0-255: white, as on a web page.
GROUND = 255
# Code points of ITU-T H.273, tables 2 and 3. Primaries of today's screens and of older television differ too little for
# players to convert them; wider ones (BT.2020, P3 ...) are, and PQ (16) and HLG (18) are mapped to the range of BT.709.
BT709 = 1
UNSTATED = (0, 2, 3)
NARROW_PRIMARIES = (*UNSTATED, BT709, 4, 5, 6, 7)
HDR_TRANSFERS = (16, 18)
# The filter of every conversion, as FFmpeg's own scaler has it.
FILTER = "BICUBIC"


def has_alpha(frame: VideoFrame) -> bool:
    """Whether pixels of a frame can be transparent; those of a palette can."""
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


def orientation_of(frame: VideoFrame) -> Orientation:
    """How a frame is to be laid.

    Raises:
        VideoError: By another angle than quarter turns.
    """
    matrix = frame.side_data.get(SideData.DISPLAYMATRIX)  # type: ignore[call-overload]
    return read_orientation(None if matrix is None else bytes(matrix))


class Converter:
    """The frames of one video as RGB pictures of one size, that of the first.

    Attributes:
        aspect: Width of a stored pixel over its height; None: square.
        is_transparent: Whether a picture so far had pixels that the ground is seen through.
    """

    def __init__(self, aspect: Fraction | None) -> None:
        self.aspect = aspect
        self.is_transparent = False
        self._size: tuple[int, int] | None = None
        # Kept from frame to frame: a conversion from HDR begins with a table that takes longer than a picture.
        self._colours, self._stretch = VideoReformatter(), VideoReformatter()

    def rgb(self, frame: VideoFrame, *, before: VideoFrame | None, after: VideoFrame | None) -> Frame:
        """The shown picture of a frame.

        Args:
            frame: As it was decoded.
            before: The frame before it, where there is one; the lines of an interlaced frame are filled in with it.
            after: The frame after it, likewise.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            VideoError: The picture cannot be shown as a viewer would see it; with the reason.
        """
        orientation = orientation_of(frame)
        if self._size is None:
            self._size = _turned(square_size(frame.width, frame.height, self.aspect), orientation)
            check_size(*self._size)
        size = _turned(self._size, orientation)
        if frame.interlaced_frame:
            frame = deinterlaced(frame, before=before, after=after)
        try:
            stored = self._over_ground(frame, size) if has_alpha(frame) else self._opaque(frame, size)
        except (av.FFmpegError, OSError):
            raise VideoError(
                f"its colours cannot be converted ({frame.format.name}, matrix {int(frame.colorspace)}, transfer "
                f"{int(frame.color_trc)}, primaries {int(frame.color_primaries)} of ITU-T H.273)"
            ) from None
        return orientation.apply(stored)

    def _opaque(self, frame: VideoFrame, size: tuple[int, int]) -> Frame:
        width, height = size
        return _converted(self._colours, frame, width=width, height=height, format="rgb24", **_to_sdr(frame))

    def _over_ground(self, frame: VideoFrame, size: tuple[int, int]) -> Frame:
        """Composed at the stored size: stretching first would draw the hidden colours into the visible ones."""
        rgba = _converted(self._colours, frame, format="rgba", **_to_sdr(frame)).astype(np.uint16)
        alpha = rgba[..., 3:]
        self.is_transparent |= bool((alpha < 255).any())
        rgb = ((rgba[..., :3] * alpha + GROUND * (255 - alpha) + 127) // 255).astype(np.uint8)
        if size == (frame.width, frame.height):
            return rgb
        composed = VideoFrame.from_ndarray(rgb, format="rgb24")
        return _converted(self._stretch, composed, width=size[0], height=size[1], format="rgb24")


def _converted(reformatter: VideoReformatter, frame: VideoFrame, **target: Any) -> NDArray[np.uint8]:
    # One thread, so that the result cannot depend on their number.
    picture = reformatter.reformat(frame, interpolation=FILTER, threads=1, **target).to_ndarray()
    return np.asarray(picture, np.uint8)


def _turned(size: tuple[int, int], orientation: Orientation) -> tuple[int, int]:
    return (size[1], size[0]) if orientation.transposed else size


def _to_sdr(frame: VideoFrame) -> dict[str, int]:
    """What to tell the scaler of the result's colours; nothing for those that screens show without a conversion.

    The scaler's own tone mapping brings PQ and HLG to BT.709, with its diffuse white at 203 cd/m2 (ITU-R BT.2408).
    """
    primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
    wide, hdr = primaries not in NARROW_PRIMARIES, transfer in HDR_TRANSFERS
    if not wide and not hdr:
        return {}
    target = {"dst_color_trc": BT709 if hdr or transfer in UNSTATED else transfer}
    return target | ({"dst_color_primaries": BT709} if wide else {})


def deinterlaced(frame: VideoFrame, *, before: VideoFrame | None, after: VideoFrame | None) -> VideoFrame:
    """A frame of two fields as one picture, at the time of its first field: FFmpeg's `bwdif`, one frame for each.

    Args:
        frame: Two fields, shown one after the other.
        before: The frame before it, where there is one.
        after: The frame after it, where there is one.

    Raises:
        VideoError: The filter refuses the frame.
    """

    def alike(other: VideoFrame | None) -> bool:
        return other is not None and (other.width, other.height, other.format.name) == shape

    shape = (frame.width, frame.height, frame.format.name)
    window = [each for each in (before, frame, after) if each is frame or alike(each)]
    graph = Graph()
    graph.threads = 1
    try:
        source = graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=frame.format.name,
            time_base="1/1000",
            pixel_aspect="1/1",
            colorspace=str(int(frame.colorspace)),
            range=str(int(frame.color_range)),
        )
        graph.link_nodes(source, graph.add("bwdif", mode="send_frame", deint="interlaced"), graph.add("buffersink"))
        graph.configure()
        for each in window:
            graph.vpush(each)
        graph.vpush(None)
        pictures = [graph.vpull() for _ in range(window.index(frame) + 1)]
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"an interlaced picture of {shape[0]}x{shape[1]}, {shape[2]}, cannot be shown") from error
    return pictures[-1]
