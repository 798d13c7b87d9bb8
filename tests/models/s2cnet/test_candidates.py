"""Candidate crops: golden anchors, the counts of the release, and what no candidate may break."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from models.errors import ShapeError
from models.s2cnet.candidates import ASPECT_UNITS, grid_anchors, make_candidates
from tests.configs import candidate_config

GOLDEN = json.loads((Path(__file__).parent / "data" / "s2cnet_golden.json").read_text())


def frame_candidates(height, width, config):
    """The candidates of a frame that the network sees at its own size."""
    found = make_candidates((height, width), config, network_size=(height, width))
    np.testing.assert_array_equal(found.frame_xyxy_px, found.network_xyxy_px)
    return found.frame_xyxy_px


def test_golden_anchors():
    found = frame_candidates(256, 320, candidate_config())
    # The golden file rounds to four digits.
    np.testing.assert_allclose(found, np.array(GOLDEN["candidates_xyxy_px"]), atol=6e-5, rtol=0)
    assert found.dtype == np.float32


@pytest.mark.parametrize(("height", "width", "count"), [(256, 256, 90), (64, 64, 90), (256, 448, 72), (448, 256, 72)])
def test_counts_of_the_release(height, width, count):
    assert len(grid_anchors(height, width)) == count


def test_first_anchor_by_hand():
    # Bins of 10 px: the first corner is at 0.5 bins; from (0.5, 0.5) at least 72 cells: 9 x 8 is the first
    # that fits, so the first candidate is 9 columns by 8 rows: x1 = 9.5 bins, y1 = 8.5 bins.
    np.testing.assert_array_equal(grid_anchors(120, 120)[0], [5, 5, 95, 85])


@pytest.mark.parametrize("kind", list(ASPECT_UNITS))
@pytest.mark.parametrize(("height", "width"), [(256, 256), (256, 448), (720, 405), (96, 128)])
def test_fixed_aspect_ratios(kind, height, width):
    config = candidate_config(candidates=kind, min_area_fraction=0.25)
    found = frame_candidates(height, width, config)
    sides = found[:, 2:] - found[:, :2]
    across, down = map(int, kind.split(":"))
    np.testing.assert_allclose(sides[:, 0] / sides[:, 1], across / down, rtol=1e-4)
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2] <= width).all()
    assert (found[:, 3] <= height).all()
    assert (sides.prod(axis=1) >= 0.25 * height * width * (1 - 1e-5)).all()
    assert len(np.unique(found, axis=0)) == len(found) > 1


def test_square_crops_of_a_square_by_hand():
    # At 256 px the unit is 12 px and 21 units fit. Half the area needs 256 / sqrt(2) = 181.02 px, so 16 units
    # (192 px) up to 21: with 21 - s + 1 places an axis, 6^2 + 5^2 + 4^2 + 3^2 + 2^2 + 1 = 91.
    found = frame_candidates(256, 256, candidate_config(candidates="1:1", min_area_fraction=0.5))
    assert len(found) == 91
    np.testing.assert_array_equal(found[0], [0, 0, 192, 192])
    np.testing.assert_array_equal(found[1], [12, 0, 204, 192])
    np.testing.assert_array_equal(found[-1], [0, 0, 252, 252])


def test_a_crop_that_fits_exactly_counts():
    # A 16:9 frame of 448x252 px: at a short side of 252 the unit is 15.75 x 8.859, and 28 units are the frame itself.
    found = frame_candidates(252, 448, candidate_config(candidates="16:9", min_area_fraction=0.99))
    np.testing.assert_array_equal(found, [[0, 0, 448, 252]])


@pytest.mark.parametrize(
    ("kind", "min_area", "size", "step", "places"),
    [
        # On 256x256, a minimum that the largest crop of the ratio alone reaches. 1:1: 21 units of 12 are 252 px, one
        # place. 4:3: 16 units of 16x12 are 256x192, three quarters; 21 - 16 + 1 = 6 rows, 12 px apart. 16:9: 16 units
        # of 16x9 are 256x144, nine sixteenths; 28 - 16 + 1 = 13 rows, 9 px apart. Upright ones: the same, mirrored.
        ("1:1", 0.95, (252, 252), (0, 0), 1),
        ("4:3", 0.75, (256, 192), (0, 12), 6),
        ("3:4", 0.75, (192, 256), (12, 0), 6),
        ("16:9", 0.5625, (256, 144), (0, 9), 13),
        ("9:16", 0.5625, (144, 256), (9, 0), 13),
    ],
)
def test_the_largest_crops_of_every_ratio_by_hand(kind, min_area, size, step, places):
    found = frame_candidates(256, 256, candidate_config(candidates=kind, min_area_fraction=min_area))
    expected = [
        (number * step[0], number * step[1], number * step[0] + size[0], number * step[1] + size[1])
        for number in range(places)
    ]
    np.testing.assert_array_equal(found, expected)


def test_scale_of_the_frame_does_not_change_the_scheme():
    for kind in ("grid", "4:3"):
        small = frame_candidates(96, 160, candidate_config(candidates=kind))
        large = frame_candidates(960, 1600, candidate_config(candidates=kind))
        np.testing.assert_allclose(small * 10, large, rtol=1e-5)


def test_full_frame_on_request_comes_last():
    without = frame_candidates(100, 120, candidate_config())
    found = frame_candidates(100, 120, candidate_config(full_frame=True))
    np.testing.assert_array_equal(found[:-1], without)
    np.testing.assert_array_equal(found[-1], [0, 0, 120, 100])


@pytest.mark.parametrize("kind", ["grid", "1:1"])
def test_a_long_strip_falls_back_to_the_whole_frame(kind):
    # 10:1: a grid anchor has at most 11 columns and needs at least 6.5 rows, so its aspect ratio is above 2;
    # a square covers at most a tenth.
    found = frame_candidates(64, 640, candidate_config(candidates=kind))
    np.testing.assert_array_equal(found, [[0, 0, 640, 64]])
    for width, fallback in ((640, True), (64, False)):
        assert (
            make_candidates((64, width), candidate_config(candidates=kind), network_size=(64, width)).fallback
            is fallback
        )


@pytest.mark.parametrize(
    ("size", "network_size", "count"),
    [
        # 16:9 becomes 7:4 at the network, where 72 anchors are less than twice as wide as high; in the frame it is 60.
        ((720, 1280), (256, 448), 72),
        ((1280, 720), (448, 256), 72),
        ((500, 500), (256, 256), 90),
    ],
)
def test_anchors_are_laid_over_what_the_network_sees(size, network_size, count):
    found = make_candidates(size, candidate_config(full_frame=True), network_size=network_size)
    assert len(found.frame_xyxy_px) == count + 1
    np.testing.assert_array_equal(found.network_xyxy_px[:-1], grid_anchors(*network_size))
    factors = np.array([size[1] / network_size[1], size[0] / network_size[0]] * 2)
    np.testing.assert_allclose(found.frame_xyxy_px, found.network_xyxy_px * factors, rtol=1e-6)
    np.testing.assert_array_equal(found.frame_xyxy_px[-1], [0, 0, size[1], size[0]])
    assert (found.frame_xyxy_px[:, 2:] <= [size[1], size[0]]).all()


def test_fixed_ratios_hold_in_the_frame():
    found = make_candidates((720, 1280), candidate_config(candidates="16:9"), network_size=(256, 448))
    sides = found.frame_xyxy_px[:, 2:] - found.frame_xyxy_px[:, :2]
    np.testing.assert_allclose(sides[:, 0] / sides[:, 1], 16 / 9, rtol=1e-5)
    np.testing.assert_allclose(found.network_xyxy_px[:, 0::2] * 1280 / 448, found.frame_xyxy_px[:, 0::2], rtol=1e-5)
    np.testing.assert_allclose(found.network_xyxy_px[:, 1::2] * 720 / 256, found.frame_xyxy_px[:, 1::2], rtol=1e-5)


@pytest.mark.parametrize("kind", list(ASPECT_UNITS))
def test_every_size_and_place_against_a_slow_search(kind):
    # Whole numbers of units, 1 px at a side of 256, searched one by one in integers: no scaling, no rounding.
    height, width, (unit_x, unit_y) = 256, 448, ASPECT_UNITS[kind]
    expected = [
        (column * unit_x, row * unit_y, (column + n) * unit_x, (row + n) * unit_y)
        for n in range(1, 60)
        for row in range(60)
        for column in range(60)
        if (column + n) * unit_x <= width
        and (row + n) * unit_y <= height
        and 10 * n * n * unit_x * unit_y >= 3 * height * width
    ]
    np.testing.assert_array_equal(frame_candidates(height, width, candidate_config(candidates=kind)), expected)


def test_errors_name_the_value():
    with pytest.raises(ValidationError, match=r"16:9(?s:.)*2:1"):
        candidate_config(candidates="2:1")
    with pytest.raises(ValidationError, match=r"1\.5"):
        candidate_config(min_area_fraction=1.5)
    with pytest.raises(ShapeError, match="0x5"):
        frame_candidates(5, 0, candidate_config())
