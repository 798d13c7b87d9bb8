"""Reading a video file in sequence: its frames, and how many of its packets give none.

Never by seeking: an index finds other frames than those that a player shows, in variable-rate files and in files that
were cut without recoding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.packet import Packet
from av.video.frame import VideoFrame

from stages.io.decoder.files import OpenFile, check_count, check_size, open_file
from stages.io.decoder.pictures import Converter
from stages.io.images import Frame


@dataclass(frozen=True, eq=False)
class Picture:
    """One frame of a video.

    Attributes:
        index: Decoded index, from 0.
        time_s: Since the first picture, seconds.
        frame: As it was decoded.
        before: The frame before it; None for the first.
        after: The frame after it; None for the last.
        converter: The video's.
    """

    index: int
    time_s: float
    frame: VideoFrame
    before: VideoFrame | None
    after: VideoFrame | None
    converter: Converter

    def rgb(self) -> Frame:
        """The picture that a viewer sees.

        Returns:
            (H, W, 3) uint8 RGB, of the size of the video's first picture.

        Raises:
            VideoError: It cannot be shown; with the reason.
        """
        return self.converter.rgb(self.frame, before=self.before, after=self.after)


class VideoReader:
    """An open video, to be read once.

    Attributes:
        file: What is stated about it.
        n_packets: Packets read so far, those that an edit list hides left out.
        n_hidden: Packets that an edit list hides: a cut without recoding leaves them in the file.
        n_refused: Packets that the decoder refused.
        times: Of the packets that were read, where they have one, in units of the stream.
    """

    def __init__(self, file: OpenFile) -> None:
        self.file = file
        self.n_packets = self.n_hidden = self.n_refused = 0
        self.times: list[int] = []
        self._is_cut = False

    @property
    def n_coded(self) -> int:
        """After reading to the end: how many coded frames to be shown a whole file would have."""
        if self.file.n_promised:
            return max(self.n_packets, self.file.n_promised - self.n_hidden)
        read_share = 1 - self.file.missing_share
        if self._is_cut and self.file.duration and len(self.times) > 1:
            # The header's time is believed where the file ends inside a packet, and nowhere else.
            span = (max(self.times) - min(self.times)) * len(self.times) / (len(self.times) - 1)
            read_share = min(read_share, span / self.file.duration)
        return max(self.n_packets, round(self.n_packets / read_share) if read_share > 0 else 0)

    @property
    def n_failed(self) -> int:
        """After reading to the end: how many of `n_coded` are not there, or were refused by the decoder."""
        return self.n_coded - self.n_packets + self.n_refused

    def pictures(self) -> Iterator[Picture]:
        """Every picture in the order of showing.

        Raises:
            VideoError: There are more frames, or larger ones, than are read.
        """
        converter = Converter(self.file.aspect)
        # The stream's clock, not the frame's: frames that the decoder gives at its end have none.
        unit_s = self.file.stream.time_base or Fraction(0)
        before = current = None
        first_s = time_s = 0.0
        index = -1
        for after in _then_none(self._frames()):
            if current is not None:
                stated = None if current.pts is None or not unit_s else float(current.pts * unit_s)
                if index == 0:
                    first_s = stated or 0.0
                later = None if stated is None else stated - first_s
                # Some files state no times, or the same time twice: the frame rate takes their place.
                if later is None or later < 0 or (index and later <= time_s):
                    later = index / self.file.fps if self.file.fps else float(index)
                time_s = later
                yield Picture(index, time_s, current, before, after, converter)
            before, current, index = current, after, index + 1

    def _frames(self) -> Iterator[VideoFrame]:
        n_frames = 0
        for packet in self._packets():
            try:
                frames = self.file.decoder.decode(packet)
            except av.FFmpegError:
                self.n_refused += packet is not None
                continue
            for frame in frames:
                n_frames += 1
                check_count(n_frames)
                check_size(frame.width, frame.height)
                yield frame

    def _packets(self) -> Iterator["Packet[Any] | None"]:
        """Packets with data, and None at the end, which makes the decoder give what it holds back."""
        demuxed = self.file.container.demux(self.file.stream)
        while True:
            try:
                packet = next(demuxed, None)
            except av.FFmpegError:
                packet = None  # what the file has behind a damaged place cannot be found
            if packet is None:
                break
            # An empty packet would end the decoder's work.
            if packet.size == 0:
                continue
            self._is_cut = packet.is_corrupt
            if packet.is_discard:
                self.n_hidden += 1
            else:
                self.n_packets += 1
                time = packet.pts if packet.pts is not None else packet.dts
                self.times += [] if time is None else [time]
            yield packet
        yield None


def _then_none(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame | None]:
    yield from frames
    yield None


@contextmanager
def opened(path: str | Path) -> Iterator[VideoReader]:
    """A video file, open for reading in sequence.

    Args:
        path: The file.

    Yields:
        The reader; the file is closed at the end of the block.

    Raises:
        VideoError: It cannot be opened as a video; with the reason.
    """
    with open_file(path) as file:
        yield VideoReader(file)
