"""Candidate crops of a frame: the grid anchors of GAIC, or all crops of one aspect ratio on a stride grid.

Grid anchors: Zeng et al., Grid Anchor based Image Cropping (2019), with the constants of suyukun666/S2CNet at 6c92712.
Everything is numpy float32 and depends on the size of the frame alone.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import ShapeError
from models.s2cnet.config import CandidateConfig

Boxes = NDArray[np.float32]

BINS = 12
CORNER_BINS = 4
# Just under a half: an anchor of exactly half the 144 cells counts.
GRID_MIN_AREA = 0.4999
GRID_ASPECT_MIN, GRID_ASPECT_MAX = 0.5, 2.0

# Smallest step of an aspect ratio, (width, height) in pixels at a short side of 256; sizes and positions are multiples.
ASPECT_UNITS = {"1:1": (12, 12), "4:3": (16, 12), "3:4": (12, 16), "16:9": (16, 9), "9:16": (9, 16)}
ASPECT_SHORT_SIDE_PX = 256


GRID = CandidateConfig(candidates="grid", min_area_fraction=0.3, full_frame=False)


class Candidates(NamedTuple):
    """The candidates of all frames of one size, in one order.

    Attributes:
        frame_xyxy_px: (K, 4) float32, K >= 1, pixels of the frame.
        network_xyxy_px: (K, 4) float32, the same boxes in pixels of the network's input.
        fallback: Whether the scheme has none for the frame's shape (a long strip), so that the whole frame takes their
            place.
    """

    frame_xyxy_px: Boxes
    network_xyxy_px: Boxes
    fallback: bool


def make_candidates(size: tuple[int, int], config: CandidateConfig, *, network_size: tuple[int, int]) -> Candidates:
    """The candidates of a frame.

    Grid anchors are laid over the network's input, whose aspect ratio differs a little from the frame's, as in the
    release: 1280x720 px become 448x256 and have 72. Crops of a fixed aspect ratio have it in the frame. Nothing is
    rounded to whole pixels.

    Args:
        size: (height, width) of the frame.
        config: Which crops are scored.
        network_size: (height, width) of the network's input.

    Raises:
        ShapeError: A side is below 1.
    """
    for height, width in (size, network_size):
        if height < 1 or width < 1:
            raise ShapeError(f"a frame of {width}x{height} pixels; needed: at least 1x1")
    has_ratio = config.candidates != "grid"
    if has_ratio:
        boxes = aspect_candidates(*size, ASPECT_UNITS[config.candidates], min_area=config.min_area_fraction)
    else:
        boxes = grid_anchors(*network_size)
    fallback = len(boxes) == 0
    if config.full_frame or fallback:
        boxes = np.concatenate([boxes, full_frame(*(size if has_ratio else network_size))])
    factor = np.array([network_size[1] / size[1], network_size[0] / size[0]] * 2)
    limits = [np.array([width, height] * 2, dtype=np.float32) for height, width in (size, network_size)]
    pair = (boxes, boxes * factor) if has_ratio else (boxes / factor, boxes)
    # Scaling may round a border past the edge.
    inside = [np.minimum(each.astype(np.float32), limit) for each, limit in zip(pair, limits, strict=True)]
    return Candidates(inside[0], inside[1], fallback)


def full_frame(height: int, width: int) -> Boxes:
    """The whole frame as (1, 4) float32."""
    return np.array([[0, 0, width, height]], dtype=np.float32)


def grid_anchors(height: int, width: int) -> Boxes:
    """The anchors of GAIC.

    There are 12 bins per axis; a corner lies in the middle of a bin, the upper left in bins 0-3, the lower right in
    bins 8-11 of each axis. Anchors are kept whose area is above 0.4999 of the 144 cells and whose aspect ratio w / h
    lies strictly between 0.5 and 2.

    Args:
        height: Of the frame, pixels.
        width: Of the frame, pixels.

    Returns:
        (K, 4) float32; K is 90 on a square frame and may be 0 on a long strip.
    """
    near, far = range(CORNER_BINS), range(BINS - CORNER_BINS, BINS)
    corners = np.array([(x0, y0, x1, y1) for y0 in near for x0 in near for y1 in far for x1 in far], dtype=np.float64)
    columns, rows = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    aspect = columns * width / (rows * height)
    keep = (columns * rows > GRID_MIN_AREA * BINS**2) & (aspect > GRID_ASPECT_MIN) & (aspect < GRID_ASPECT_MAX)
    bin_px = np.array([width, height, width, height]) / BINS
    return ((corners[keep] + 0.5) * bin_px).astype(np.float32)


def aspect_candidates(height: int, width: int, unit_px: tuple[int, int], *, min_area: float) -> Boxes:
    """Crops of one aspect ratio, in sizes and at positions that are whole multiples of a step.

    The steps are the release's, the lists are not: the release leaves out the last size and position that fit, takes at
    most 29 steps, has its own minimum for every aspect ratio, and its boxes end a pixel earlier.

    Args:
        height: Of the frame, pixels.
        width: Of the frame, pixels.
        unit_px: (width, height) of the step at a short side of 256 px; it is scaled to the frame.
        min_area: Least area of a crop as a share of the frame, 0..1.

    Returns:
        (K, 4) float32, small ones first, those of one size row by row from the upper left; K may be 0.
    """
    scale = min(height, width) / ASPECT_SHORT_SIDE_PX
    step_x, step_y = unit_px[0] * scale, unit_px[1] * scale
    # The epsilon keeps rounding from dropping a crop that fits exactly.
    fits_x, fits_y = (int(side / step + 1e-9) for side, step in ((width, step_x), (height, step_y)))
    boxes = []
    for size in range(1, min(fits_x, fits_y) + 1):
        crop_width, crop_height = size * step_x, size * step_y
        if crop_width * crop_height < min_area * height * width:
            continue
        for row in range(fits_y - size + 1):
            for column in range(fits_x - size + 1):
                x0, y0 = column * step_x, row * step_y
                boxes.append((x0, y0, min(x0 + crop_width, width), min(y0 + crop_height, height)))
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)
