"""Candidate crops of a frame: the grid anchors of GAIC, or all crops of one aspect ratio on a stride grid.

Grid anchors: Zeng et al., Grid Anchor based Image Cropping (2019), with the constants of suyukun666/S2CNet at
6c92712. Everything is in pixels of the frame, numpy float32, and depends on the size of the frame alone.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.errors import AigcVqaError, ShapeError

Boxes = NDArray[np.float32]
Kind = Literal["grid", "1:1", "4:3", "3:4", "16:9", "9:16"]

BINS = 12
CORNER_BINS = 4
# Just under a half: an anchor of exactly half the 144 cells counts.
GRID_MIN_AREA = 0.4999
GRID_ASPECT_MIN, GRID_ASPECT_MAX = 0.5, 2.0

# Smallest step of an aspect ratio, (width, height) in pixels at a short side of 256; sizes and places are multiples.
ASPECT_UNITS = {"1:1": (12, 12), "4:3": (16, 12), "3:4": (12, 16), "16:9": (16, 9), "9:16": (9, 16)}
ASPECT_SHORT_SIDE_PX = 256


class CandidateError(AigcVqaError, ValueError):
    """A candidate scheme that does not exist, or a fraction out of range."""


@dataclass(frozen=True)
class CandidateConfig:
    """Which crops of a frame are scored.

    kind: "grid" (anchors of GAIC, 90 on a square frame), or an aspect ratio, width:height.
    min_area_fraction: least area of a crop of fixed aspect ratio, as a share of the frame, 0..1; the grid has its own.
    full_frame: whether the whole frame is a candidate too; it then comes last.
    """

    kind: Kind = "grid"
    min_area_fraction: float = 0.3
    full_frame: bool = False

    def __post_init__(self) -> None:
        if self.kind != "grid" and self.kind not in ASPECT_UNITS:
            raise CandidateError(f"candidates of kind {self.kind!r}; allowed: grid, {', '.join(ASPECT_UNITS)}")
        if not 0 <= self.min_area_fraction <= 1:
            raise CandidateError(f"min_area_fraction is {self.min_area_fraction}; allowed: 0 to 1")


def make_candidates(height: int, width: int, config: CandidateConfig) -> Boxes:
    """Candidates of a frame of height x width pixels: (K, 4) float32 xyxy, K >= 1, always in the same order.

    A frame for which the scheme has none (a long strip) gets the whole frame: `is_fallback`. Raises ShapeError.
    """
    boxes = _scheme(height, width, config)
    if config.full_frame or len(boxes) == 0:
        boxes = np.concatenate([boxes, full_frame(height, width)])
    return boxes


def is_fallback(height: int, width: int, config: CandidateConfig) -> bool:
    """Whether a frame of that size gets the whole frame because the scheme has no candidate for it."""
    return len(_scheme(height, width, config)) == 0


def _scheme(height: int, width: int, config: CandidateConfig) -> Boxes:
    if height < 1 or width < 1:
        raise ShapeError(f"a frame of {width}x{height} pixels; needed: at least 1x1")
    if config.kind == "grid":
        return grid_anchors(height, width)
    return aspect_candidates(height, width, ASPECT_UNITS[config.kind], min_area=config.min_area_fraction)


def full_frame(height: int, width: int) -> Boxes:
    """The whole frame as (1, 4) float32."""
    return np.array([[0, 0, width, height]], dtype=np.float32)


def grid_anchors(height: int, width: int) -> Boxes:
    """Anchors of GAIC: (K, 4) float32; K is 90 on a square frame and may be 0 on a long strip.

    12 bins an axis; a corner lies in the middle of a bin, the upper left in bins 0-3, the lower right in bins 8-11 of
    each axis. Kept: area > 0.4999 of the 144 cells, aspect ratio w / h strictly between 0.5 and 2.
    """
    near, far = range(CORNER_BINS), range(BINS - CORNER_BINS, BINS)
    corners = np.array([(x0, y0, x1, y1) for y0 in near for x0 in near for y1 in far for x1 in far], dtype=np.float64)
    columns, rows = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    aspect = columns * width / (rows * height)
    keep = (columns * rows > GRID_MIN_AREA * BINS**2) & (aspect > GRID_ASPECT_MIN) & (aspect < GRID_ASPECT_MAX)
    bin_px = np.array([width, height, width, height]) / BINS
    return ((corners[keep] + 0.5) * bin_px).astype(np.float32)


def aspect_candidates(height: int, width: int, unit_px: tuple[int, int], *, min_area: float) -> Boxes:
    """Crops of one aspect ratio: (K, 4) float32, small ones first, each size from the upper left row by row.

    unit_px: (width, height) of the step at a short side of 256 px; it is scaled to the frame. Sizes are whole
    multiples that fit and cover at least `min_area` of the frame, places are whole multiples too. The release
    takes the same units, but sizes from 10 units on and minima of 0.2 or 0.3 by aspect ratio; here one
    minimum serves all.
    """
    scale = min(height, width) / ASPECT_SHORT_SIDE_PX
    step_x, step_y = unit_px[0] * scale, unit_px[1] * scale
    # The epsilon keeps a crop that fits exactly from falling out by rounding.
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
