"""Encoding single frames, cutting crops, sharpness."""

import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.errors import TableError
from stages.io.images import BAR_COLOR, cut, decode_image, encode_image, sharpness
from tests.conftest import noise_clip

NOISE: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (33, 47, 3), dtype=np.uint8)


@pytest.mark.parametrize("encoding", ["png", "webp"])
def test_lossless_encodings_give_every_level_back(encoding: str) -> None:
    data = encode_image(NOISE, encoding=encoding, jpeg_quality=1)
    np.testing.assert_array_equal(decode_image(data), NOISE)
    assert data == encode_image(NOISE, encoding=encoding, jpeg_quality=1)


def test_jpeg_keeps_the_channel_order_and_obeys_its_quality() -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    assert np.abs(decode_image(encode_image(red, encoding="jpeg", jpeg_quality=95)).astype(int) - red).max() <= 3
    small, large = (encode_image(NOISE, encoding="jpeg", jpeg_quality=quality) for quality in (10, 95))
    assert len(small) < len(large) / 2


@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 20, b"no image at all", encode_image(NOISE, encoding="png", jpeg_quality=95)[:60]]
)
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(TableError, match=f"{len(data)} bytes are no image"):
        decode_image(data)


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((0, 0, 47, 33), slice(0, 33), slice(0, 47)),
        ((2.9, 3.1, 9.1, 8.9), slice(3, 9), slice(2, 10)),  # minima floored, maxima ceiled
        ((-5, -7, 4, 4), slice(0, 4), slice(0, 4)),
        ((40, 30, 90, 90), slice(30, 33), slice(40, 47)),
        ((5, 5, 5, 5), slice(5, 6), slice(5, 6)),  # at least one pixel
        ((100, 100, 120, 120), slice(32, 33), slice(46, 47)),
    ],
)
def test_a_cut_holds_the_pixels_of_its_box(box: tuple[float, float, float, float], rows: slice, columns: slice) -> None:
    """Marked pixels show what was cut: the mean of an enlarged or shrunk constant patch is the constant."""
    frame = np.zeros_like(NOISE)
    frame[rows, columns] = (10, 120, 250)
    patch = cut(frame, box, size_px=8)
    np.testing.assert_array_equal(patch, np.full((8, 8, 3), (10, 120, 250), np.uint8))


def test_a_cut_of_the_wanted_size_is_a_copy_of_the_pixels() -> None:
    np.testing.assert_array_equal(cut(NOISE, (4, 2, 20, 18), size_px=16), NOISE[2:18, 4:20])


def test_shrinking_averages_areas() -> None:
    """Halving: each new pixel is the mean of four, rounded."""
    patch = cut(NOISE, (0, 0, 32, 32), size_px=16)
    means = NOISE[:32, :32].reshape(16, 2, 16, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(patch - means).max() <= 0.5


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    """A grey frame with one bright pixel v: the 3x3 Laplacian is -4v there, v at its four neighbours, else 0.

    n = 49 values, mean 0, so the variance is (16 + 4) v^2 / 49.
    """
    frame = np.zeros((7, 7, 3), np.uint8)
    frame[3, 3] = 70
    assert sharpness(frame) == pytest.approx(20 * 70**2 / 49)
    assert sharpness(np.full((5, 5, 3), 90, np.uint8)) == 0
    assert sharpness(NOISE) > sharpness(noise_clip(0)[0])


def test_a_box_that_shrinks_along_one_axis_only_does_not_alias() -> None:
    # Columns of 2 px, black and white in turn: averaged over the width they are grey, however much the height grows.
    stripes = np.zeros((8, 400, 3), np.uint8)
    stripes[:, (np.arange(400) // 2) % 2 == 1] = 255
    patch = cut(stripes, (0, 0, 400, 8), size_px=50)
    assert patch.shape == (50, 50, 3)
    # A cell of 8 columns holds two black pairs and two white ones.
    assert np.abs(patch.astype(int) - 127.5).max() <= 1


def test_letterbox_keeps_the_shape_between_bars() -> None:
    frame = np.zeros((20, 40, 3), np.uint8)
    frame[5:15, 10:30] = 200
    patch = cut(frame, (10, 5, 30, 15), size_px=40, shape="letterbox")
    # 20 x 10 becomes 40 x 20, with 10 rows of the bar's colour above and below.
    assert (patch[10:30] == 200).all()
    assert (patch[:10] == BAR_COLOR).all()
    assert (patch[30:] == BAR_COLOR).all()


def test_square_takes_the_middle_of_the_box() -> None:
    frame = np.arange(20 * 40, dtype=np.uint32).reshape(20, 40, 1).repeat(3, axis=2).astype(np.uint8)
    # The box is 24 x 16: its middle square starts (24 - 16) / 2 = 4 columns in.
    np.testing.assert_array_equal(cut(frame, (8, 2, 32, 18), size_px=16, shape="square"), frame[2:18, 12:28])
    # Upright: 8 x 12, 2 rows down.
    np.testing.assert_array_equal(cut(frame, (8, 2, 16, 14), size_px=8, shape="square"), frame[4:12, 8:16])


def png_header(width: int, height: int) -> bytes:
    """A PNG's signature, its IHDR and an IDAT without pixels, so that reading on would find no image."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 8) + b"IDAT" + bytes(12)


@pytest.mark.parametrize(("width", "height"), [(8193, 8192), (30000, 30000)])
def test_an_image_of_too_many_pixels_is_refused_by_its_header(width: int, height: int) -> None:
    """8192 x 8192 are the 2^26 pixels that are read."""
    with pytest.raises(TableError, match=rf"{width * height} pixels.*at most 67108864"):
        decode_image(png_header(width, height))
