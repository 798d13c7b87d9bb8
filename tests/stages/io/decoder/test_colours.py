"""Colours and pixel formats, held against the formulas of the ITU's recommendations for known stored values."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.errors import VideoError
from stages.io.probe import probe
from tests.stages.io.decoder.coded import Tags, planar, shown, write_coded

# Weights of red and blue in the luma: BT.601, BT.709 and BT.2020, by the matrix's number in ITU-T H.273.
WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593), 2: (0.299, 0.114)}
# 8-bit Y, Cb, Cr: grey, skin, sky, grass, and a strong red.
COLOURS = np.array([(128, 128, 128), (150, 110, 150), (140, 160, 110), (100, 105, 115), (90, 110, 190)])


def rgb_of(ycbcr: NDArray[np.int_], *, matrix: int, full: bool) -> NDArray[np.float64]:
    """ITU-R BT.601 and BT.709, 8 bits: R = Y + 2 (1 - Kr) Cr, B = Y + 2 (1 - Kb) Cb, and Y is the weighted sum."""
    red, blue = WEIGHTS[matrix]
    y, cb, cr = (ycbcr.astype(float) - (0 if full else 16, 128, 128)).T / (
        (255, 255, 255) if full else (219, 224, 224)
    )[0]
    if not full:
        cb, cr = cb * 219 / 224, cr * 219 / 224
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(255 * np.stack([r, g, b], axis=1), 0, 255)


def fields(values: NDArray[np.int_], *, shift: int = 0, columns: int = 16, rows: int = 16) -> NDArray[np.generic]:
    """Upright stripes, one value each; `shift`: bits beyond 8."""
    row = np.repeat(values << shift, columns).astype(np.uint16 if shift else np.uint8)
    return np.repeat(row[None], rows, axis=0)


def stripes(pictures: NDArray[np.uint8], number: int) -> NDArray[np.float64]:
    """(number, 3): the middle of each stripe of the second picture."""
    width = pictures.shape[2] // number
    return pictures[1][8, width // 2 :: width].astype(float)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 6, 9, 2])
def test_matrices_and_ranges(tmp_path: Path, matrix: int, full: bool) -> None:
    """Lossless 4:4:4; the scaler's integers may be two levels off the formula. BT.709's matrix for BT.601's, or the
    other range, is 10 levels and more off. A file without a tag is BT.601's, as every FFmpeg has it."""
    frame = planar([fields(values) for values in COLOURS.T], "yuv444p")
    tags: Tags = (2, 2, matrix, 2 if full else 1)
    path = write_coded(tmp_path / "a.mkv", [frame] * 3, codec="ffv1", pixel_format="yuv444p", tags=tags)
    found = stripes(shown(path), len(COLOURS))
    assert np.abs(found - rgb_of(COLOURS, matrix=matrix, full=full)).max() <= 2


@pytest.mark.parametrize(
    ("pixel_format", "shift", "across", "down"),
    [("yuv420p", 0, 2, 2), ("yuv422p", 0, 2, 1), ("yuv444p", 0, 1, 1), ("yuv410p", 0, 4, 4), ("yuv420p10le", 2, 2, 2),
     ("yuv422p10le", 2, 2, 1), ("yuv444p12le", 4, 1, 1), ("yuv420p16le", 8, 2, 2)],
)  # fmt: skip
def test_depths_and_chroma(tmp_path: Path, pixel_format: str, shift: int, across: int, down: int) -> None:
    """The scaler's fast integers are up to three levels off, and darker; chroma of a wrong place or depth is 20 off."""
    luma, *chroma = COLOURS.T
    planes = [fields(luma, shift=shift)]
    planes += [fields(values, shift=shift, columns=16 // across, rows=16 // down) for values in chroma]
    frame = planar(planes, pixel_format)
    path = write_coded(tmp_path / "a.mkv", [frame] * 3, codec="ffv1", pixel_format=pixel_format, tags=(1, 1, 1, 1))
    found = stripes(shown(path), len(COLOURS))
    assert np.abs(found - rgb_of(COLOURS, matrix=1, full=False)).max() <= 3


@pytest.mark.parametrize(("pixel_format", "shift"), [("gray", 0), ("gray10le", 2), ("gray16le", 8)])
def test_grey_is_of_full_range(tmp_path: Path, pixel_format: str, shift: int) -> None:
    levels = np.array([0, 16, 100, 235, 255])
    frame = planar([fields(levels, shift=shift)], pixel_format)
    path = write_coded(tmp_path / "a.mkv", [frame] * 3, codec="ffv1", pixel_format=pixel_format)
    assert np.abs(stripes(shown(path), 5) - levels[:, None]).max() <= 1


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.mkv", "ffv1", "bgr0"),
        ("a.mov", "png", "rgb24"),
        ("a.avi", "rawvideo", "bgr24"),
        ("a.mkv", "libx264rgb", "rgb24"),
    ],
)
def test_rgb_is_kept_as_it_is(tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    options = {"qp": "0"} if codec == "libx264rgb" else {}
    path = write_coded(tmp_path / name, frames, codec=codec, pixel_format=pixel_format, options=options)
    np.testing.assert_array_equal(shown(path), frames)


NITS = np.array([0, 5, 20, 50, 100, 150, 203, 400])


def pq(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084: the signal, 0..1, of a luminance."""
    power = (nits / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def hlg(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """ITU-R BT.2100 on a screen of 1000 cd/m2, whose system gamma is 1.2: grey of that luminance."""
    scene = (nits / 1000) ** (1 / 1.2)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


@pytest.mark.parametrize(("transfer", "signal"), [(16, pq), (18, hlg)])
def test_hdr_is_mapped_with_white_at_203(tmp_path: Path, transfer: int, signal) -> None:
    """ITU-R BT.2408 has diffuse white at 203 cd/m2; BT.1886's screen shows a level as its 2.4th power, so grey of L is
    at 255 (L / 203) ** (1 / 2.4), and what is brighter is white. Without mapping, PQ's 100 cd/m2 is at 130."""
    values = np.round(64 + 876 * signal(NITS.astype(float))).astype(int)
    chroma = fields(np.full(len(NITS), 512), columns=8, rows=8).astype(np.uint16)
    chroma[:] = 512
    luma = np.repeat(np.repeat(values, 16)[None], 16, axis=0).astype(np.uint16)
    frame = planar([luma, chroma, chroma], "yuv420p10le")
    path = write_coded(
        tmp_path / "a.mkv", [frame] * 2, codec="ffv1", pixel_format="yuv420p10le", tags=(9, transfer, 9, 1)
    )
    expected = 255 * np.minimum(1, NITS / 203) ** (1 / 2.4)
    assert np.abs(stripes(shown(path), len(NITS)) - expected[:, None]).max() <= 2


def test_wide_primaries_come_to_those_of_a_screen(tmp_path: Path) -> None:
    """BT.2020's primaries in linear light by ITU-R BT.2087, table 2; the transfer stays the file's own (BT.1886). The
    scaler draws saturated colours in a little: up to 5 levels for skin and sky, which are 28 and 60 off unconverted."""
    frame = planar([fields(values) for values in COLOURS.T], "yuv444p")
    path = write_coded(tmp_path / "a.mkv", [frame] * 2, codec="ffv1", pixel_format="yuv444p", tags=(9, 1, 9, 1))
    to_709 = np.array([(1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)])
    unconverted = rgb_of(COLOURS, matrix=9, full=False)
    expected = 255 * np.clip((unconverted / 255) ** 2.4 @ to_709.T, 0, 1) ** (1 / 2.4)
    found = stripes(shown(path), len(COLOURS))
    assert np.abs(found - expected)[:3].max() <= 5
    assert (np.abs(found - unconverted)[1:3].max(axis=1) > 25).all()


@pytest.mark.parametrize("matrix", [8, 10])
def test_a_matrix_that_cannot_be_converted_is_refused(tmp_path: Path, matrix: int) -> None:
    """YCgCo, and BT.2020 of constant luminance: a picture by another matrix would have other colours."""
    frame = planar([fields(values) for values in COLOURS.T], "yuv444p")
    path = write_coded(tmp_path / "a.mkv", [frame] * 3, codec="ffv1", pixel_format="yuv444p", tags=(1, 1, matrix, 1))
    with pytest.raises(VideoError, match=f"its colours cannot be converted .yuv444p, matrix {matrix}, transfer 1"):
        probe(path, max_missing_fraction=1)
