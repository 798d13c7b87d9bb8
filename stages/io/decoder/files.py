"""Opening a video file: which formats are read, how large a video may be, and which of its streams is the picture.

FFmpeg would follow playlists to other files and to the network, and expand patterns in names; none of that is a video
file whose bytes were hashed, so formats come from a list.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.codec.codec import UnknownCodecError
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from stages.errors import VideoError
from stages.io.images import MAX_PIXELS

# FFmpeg's names of the formats that hold one video in one file; JPEG pictures one behind another are a video too. Not
# among them: playlists (concat, dash, hls, sdp ...), numbered pictures (image2), and devices.
FORMATS = (
    "apng", "asf", "avi", "dv", "flv", "gif", "h264", "hevc", "ivf", "jpeg_pipe", "m4v", "matroska", "mjpeg", "mov",
    "mpeg", "mpegts", "mpegvideo", "mxf", "nut", "obu", "ogg", "png_pipe", "rm", "yuv4mpegpipe",
)  # fmt: skip
MAX_FRAMES = 1_000_000
MAX_DURATION_S = 86_400
# Transparency of VP8 and VP9 lies beside the picture, where only these decoders look for it.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Matroska: the identifier of the element that holds everything behind the file's header.
SEGMENT = b"\x18\x53\x80\x67"
MATROSKA_HEAD = 4096


@dataclass(frozen=True)
class OpenFile:
    """An open video file.

    Attributes:
        container: The file.
        stream: Its picture.
        decoder: Decodes the stream's packets, with one thread.
        aspect: Width of a stored pixel over its height; None: not stated.
        n_frames_header: Frames that the container counts; 0 where it has no count.
        n_promised: Packets that the file's own index names, a number that holds where the file is whole; 0: no index.
        missing_share: Share of the file's bytes that its header announces and that are not there, 0..1.
        duration: By the header, in units of the stream's clock; 0 where it is not known.
        fps: Frames per second by the header; 0 where it is not known.
    """

    container: InputContainer
    stream: VideoStream
    decoder: VideoCodecContext
    aspect: Fraction | None
    n_frames_header: int
    n_promised: int
    missing_share: float
    duration: float
    fps: float


@contextmanager
def open_file(path: str | Path) -> Iterator[OpenFile]:
    """Open a video file, and check how large it says it is before anything is decoded.

    Args:
        path: The file.

    Yields:
        The open file; it is closed at the end of the block.

    Raises:
        VideoError: There is no such file, it is no video in one of FORMATS, or it is larger than allowed.
    """
    path = Path(path)
    if not path.exists():
        raise VideoError("no such file")
    if not path.is_file():
        raise VideoError("not a file")
    if path.stat().st_size == 0:
        raise VideoError("the file is empty")
    # From an open file: FFmpeg reads `a:b.mp4` as a protocol, and `%02d` in a name as a pattern.
    with path.open("rb") as file, _container(path, file) as container:
        yield _described(path, container)


def _container(path: Path, file: object) -> InputContainer:
    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
    # The second dictionary reaches the decoders that look into the first packets: no larger picture is made there.
    try:
        return av.open(
            file,
            "r",
            options={"max_pixels": str(MAX_PIXELS)},
            container_options=options,
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError):
        raise VideoError(_refusal(path)) from None


def _refusal(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(16)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP is not read here, animated or not; convert it to APNG, GIF or a video"
    return "cannot be opened as a video (damaged, cut off, or another kind of file)"


def _described(path: Path, container: InputContainer) -> OpenFile:
    stream = _picture_stream(container)
    _check_alpha_stream(container, stream)
    name = container.format.name.split(",")
    n_packets = len(stream.index_entries) if "mov" in name else stream.frames if "avi" in name else 0
    duration_s = (container.duration or 0) / av.time_base
    rate = stream.guessed_rate or stream.average_rate
    file = OpenFile(
        container=container,
        stream=stream,
        decoder=_decoder(stream),
        aspect=stream.sample_aspect_ratio,
        n_frames_header=max(0, stream.frames),
        n_promised=n_packets,
        missing_share=_missing_share(path) if "matroska" in name else 0.0,
        duration=duration_s / float(stream.time_base or 1),
        fps=float(rate) if rate and rate > 0 else 0.0,
    )
    check_size(stream.width, stream.height)
    check_count(max(file.n_frames_header, file.n_promised))
    if duration_s > MAX_DURATION_S:
        raise VideoError(f"the header says {duration_s:.0f} s; at most {MAX_DURATION_S} s are read")
    return file


def check_size(width: int, height: int) -> None:
    """Check that a picture is not larger than is read.

    Args:
        width: Pixels.
        height: Pixels.

    Raises:
        VideoError: It is.
    """
    if width * height > MAX_PIXELS:
        raise VideoError(f"a picture of {width}x{height} has {width * height} pixels; at most {MAX_PIXELS} are read")


def check_count(n_frames: int) -> None:
    """Check that a video has not more frames than are read.

    Args:
        n_frames: Stated or counted frames.

    Raises:
        VideoError: It has.
    """
    if n_frames > MAX_FRAMES:
        raise VideoError(f"{n_frames} frames; at most {MAX_FRAMES} are read")


def _picture_stream(container: InputContainer) -> VideoStream:
    """The first stream with moving pictures; covers, and the still that an AVIF file begins with, are none."""
    streams = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic
    ]
    if not streams:
        raise VideoError("holds no video that can be decoded (damaged, cut off, no picture, or an unknown codec)")
    return next((stream for stream in streams if stream.frames != 1), streams[0])


def _check_alpha_stream(container: InputContainer, stream: VideoStream) -> None:
    """Refuse an animation whose transparency is a second stream: AVIF's, grey and beside a picture in colours."""
    if container.metadata.get("major_brand") not in ("avis", "avif"):
        return
    grey = [other for other in container.streams.video if other.frames > 1 and (other.pix_fmt or "").startswith("gray")]
    if any(other is not stream for other in grey):
        raise VideoError("AVIF with transparency is not read here; convert it to APNG, or to WebM with transparency")


def _decoder(stream: VideoStream) -> VideoCodecContext:
    decoder = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and decoder.name in ALPHA_DECODERS:
        name = ALPHA_DECODERS[decoder.name]
        try:
            transparent = av.CodecContext.create(name, "r")
        except UnknownCodecError:
            raise VideoError(f"transparent {stream.codec_context.name} needs the decoder {name}, not there") from None
        assert isinstance(transparent, VideoCodecContext)
        decoder = transparent
    # One thread: a damaged file decodes differently with another number of them.
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(MAX_PIXELS)}
    return decoder


def _missing_share(path: Path) -> float:
    """Which share of a Matroska file is not there, by the length of its segment; 0 where a live recorder left none."""
    with path.open("rb") as file:
        head = file.read(MATROSKA_HEAD)
    start = head.find(SEGMENT)
    if start < 0 or start + len(SEGMENT) >= len(head):
        return 0.0
    # A number of n bytes has n - 1 zero bits in front and then a one; all other bits set mean that it is not known.
    start += len(SEGMENT)
    n_bytes = 9 - head[start].bit_length()
    value = int.from_bytes(head[start : start + n_bytes], "big") & ((1 << 7 * n_bytes) - 1)
    if n_bytes > 8 or value == (1 << 7 * n_bytes) - 1:
        return 0.0
    end = start + n_bytes + value
    return max(0.0, 1 - path.stat().st_size / end)
