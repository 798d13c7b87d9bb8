"""Turned, mirrored and stretched pictures, held against FFmpeg's own filters and places known by hand."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stages.errors import VideoError
from stages.io.decoder.display import Orientation, read_orientation, square_size
from stages.io.decoder.pictures import Converter
from stages.io.probe import probe
from tests.conftest import noise_clip
from tests.stages.io.decoder.coded import filtered, shown, write_coded

TURNS: dict[int, list[tuple[str, dict[str, str]]]] = {
    0: [], 90: [("transpose", {"dir": "cclock"})], 180: [("hflip", {}), ("vflip", {})],
         270: [("transpose", {"dir": "clock"})]}  # fmt: skip


def matrix(a: int, b: int, c: int, d: int) -> bytes:
    """16.16 fixed point, the last entry 2.30, as ISO/IEC 14496-12 has it."""
    return struct.pack("=9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)


@pytest.mark.parametrize("left_right", [False, True])
@pytest.mark.parametrize("rotation_deg", TURNS)
def test_the_eight_orientations(tmp_path: Path, rotation_deg: int, left_right: bool) -> None:
    """PNG in MOV is lossless, so that every pixel has to be in its place. The file asks for a counter-clockwise turn
    and a mirror after it; so do the filters."""
    path = tmp_path / "a.mov"
    write_coded(
        path, noise_clip(0, n_frames=3), codec="png", pixel_format="rgb24", rotation_deg=rotation_deg,
        left_right=left_right,
    )  # fmt: skip
    expected = filtered(path, *TURNS[rotation_deg], *([("hflip", {})] if left_right else []))
    pictures = shown(path)
    np.testing.assert_array_equal(pictures, expected)
    found = probe(path, max_missing_fraction=0)
    assert (found.height, found.width) == pictures.shape[1:3]


@pytest.mark.parametrize(
    ("entries", "orientation", "mirrored", "rotation_deg"),
    # (x, y) is shown at (a x + c y, b x + d y), y pointing down: (0, 1, -1, 0) sends a step to the right to a step
    # down, which is a quarter turn clockwise. A mirrored one is mirrored left to right first, then turned.
    [
        ((1, 0, 0, 1), Orientation(False, False, False), False, 0),
        ((0, 1, -1, 0), Orientation(True, True, False), False, 90),
        ((-1, 0, 0, -1), Orientation(False, True, True), False, 180),
        ((0, -1, 1, 0), Orientation(True, False, True), False, 270),
        ((-1, 0, 0, 1), Orientation(False, True, False), True, 0),
        ((1, 0, 0, -1), Orientation(False, False, True), True, 180),
        # A step to the left, which the mirror makes of one to the right, goes down: (-1, 0) -> (0, -1) by b = -1.
        ((0, -1, -1, 0), Orientation(True, True, True), True, 90),
        ((0, 1, 1, 0), Orientation(True, False, False), True, 270),
    ],
)
def test_matrices(entries: tuple[int, ...], orientation: Orientation, mirrored: bool, rotation_deg: int) -> None:
    a, b, c, d = (entry << 16 for entry in entries)
    found = read_orientation(matrix(a, b, c, d))
    assert found == orientation
    assert (found.mirrored, found.rotation_deg) == (mirrored, rotation_deg)


def test_no_matrix_and_other_angles() -> None:
    assert read_orientation(None) == Orientation()
    # A quarter turn as sine and cosine in floating point leaves a rest of a few units.
    assert read_orientation(matrix(3, 65536, -65536, 3)).rotation_deg == 90
    half = round(0.5**0.5 * 65536)  # cosine and sine of 45 degrees
    with pytest.raises(VideoError, match="turns the picture by 45 degrees; only quarter turns and mirrors"):
        read_orientation(matrix(half, half, -half, half))
    with pytest.raises(VideoError, match="only quarter turns"):
        read_orientation(matrix(0, 0, 0, 0))


def test_a_turn_by_45_degrees_is_refused(tmp_path: Path) -> None:
    write_coded(tmp_path / "a.mov", noise_clip(0), codec="png", pixel_format="rgb24", rotation_deg=45)
    with pytest.raises(VideoError, match="the header turns the picture by"):
        probe(tmp_path / "a.mov", max_missing_fraction=1)


@pytest.mark.parametrize(
    ("size", "aspect", "expected"),
    [
        ((720, 576), Fraction(64, 45), (1024, 576)),  # 720 x 64 / 45
        ((80, 120), Fraction(2), (160, 120)),
        ((160, 60), Fraction(1, 2), (160, 120)),  # the short side grows: nothing of the width is thrown away
        ((854, 480), Fraction(1280, 1281), (854, 480)),  # a rest of rounding
        ((64, 48), None, (64, 48)),
        ((64, 48), Fraction(0), (64, 48)),
    ],
)
def test_square_size(size: tuple[int, int], aspect: Fraction | None, expected: tuple[int, int]) -> None:
    assert square_size(*size, aspect) == expected


@pytest.mark.parametrize(("aspect", "rotation_deg", "size"), [(Fraction(2), 0, (96, 32)), (Fraction(1, 2), 0, (48, 64)),
                                                              (Fraction(2), 90, (32, 96))])  # fmt: skip
def test_pixels_are_made_square(tmp_path: Path, aspect: Fraction, rotation_deg: int, size: tuple[int, int]) -> None:
    """The stored pixels are stretched, then turned, by FFmpeg's bicubic scaler."""
    path = tmp_path / "a.mov"
    write_coded(
        path, noise_clip(0, n_frames=2), codec="png", pixel_format="rgb24", aspect=aspect, rotation_deg=rotation_deg
    )
    wide, high = (96, 32) if aspect > 1 else (48, 64)
    scale = ("scale", {"w": str(wide), "h": str(high), "flags": "bicubic"})
    pictures = shown(path)
    assert pictures.shape[1:3] == size[::-1]
    np.testing.assert_array_equal(pictures, filtered(path, scale, *TURNS[rotation_deg]))


def test_an_edge_stays_where_it_is_when_pixels_are_stretched(tmp_path: Path) -> None:
    frames = np.zeros((2, 16, 24, 3), np.uint8)
    frames[:, :, 8:] = 255  # white from a third of the width on
    picture = shown(write_coded(tmp_path / "a.mov", frames, codec="png", pixel_format="rgb24", aspect=Fraction(3)))[0]
    assert picture.shape == (16, 72, 3)
    # Three pixels on either side of column 24 are the filter's.
    assert picture[:, :21].max() == 0
    assert picture[:, 27:].min() == 255


def test_an_absurd_aspect_is_refused() -> None:
    """48 x 60,000 pixels wide and 32 high: 92 million pixels."""
    frame = av.VideoFrame.from_ndarray(noise_clip(0)[0], format="rgb24")
    with pytest.raises(VideoError, match="a picture of 2880000x32 has 92160000 pixels; at most 67108864 are read"):
        Converter(Fraction(60000)).rgb(frame, before=None, after=None)
