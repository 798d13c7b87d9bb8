"""Patches of frames as they are, or of resized frames of which only their pixels are computed; pixel statistics."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.backbones import IMAGENET_MEAN, IMAGENET_STD
from models.methods.fast_vqa.clips import FragmentSamplingError

PIXEL_MAX = 255.0
# (H, W, 3) uint8, RGB.
Picture = NDArray[np.uint8]


class PatchPlaces(NamedTuple):
    """Upper left corners of the patches of a grid, pixels.

    Attributes:
        rows: (grid, grid) int64.
        columns: (grid, grid) int64.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


class Resizing(NamedTuple):
    """Pixels of the frame for one pixel of the resized frame, by axis.

    Attributes:
        vertical: Height before over height after.
        horizontal: Width before over width after.
    """

    vertical: float
    horizontal: float


def cell_corners(size_px: int, *, grid: int, patch_px: int) -> NDArray[np.int64]:
    """Where the cells of a grid start on an axis, early enough for a patch: (grid,) int64.

    Args:
        size_px: Of the frame.
        grid: Cells of the axis.
        patch_px: Side of a patch.
    """
    return np.minimum(np.arange(grid) * (size_px // grid), size_px - patch_px)


def placed(height: int, width: int, offsets: PatchPlaces, *, patch_px: int) -> PatchPlaces:
    """Patches by their offsets inside the cells.

    Args:
        height: Of the frame, pixels.
        width: Of the frame, pixels.
        offsets: From the corner of its cell to that of each patch.
        patch_px: Side of a patch.
    """
    grid = len(offsets.rows)
    rows = cell_corners(height, grid=grid, patch_px=patch_px)
    columns = cell_corners(width, grid=grid, patch_px=patch_px)
    return PatchPlaces(rows[:, None] + offsets.rows, columns[None] + offsets.columns)


def copy_patches(frame: Picture, places: PatchPlaces, *, patch_px: int, out: Picture) -> None:
    """Puts patches of a frame side by side, as they are.

    Args:
        frame: (H, W, 3) uint8.
        places: Of the patches; all inside the frame.
        patch_px: Side of a patch.
        out: (grid * patch_px, grid * patch_px, 3) uint8, written to; a view of any strides.
    """
    grid = len(places.rows)
    for row in range(grid):
        for column in range(grid):
            top, left = places.rows[row, column], places.columns[row, column]
            to = out[row * patch_px : (row + 1) * patch_px, column * patch_px : (column + 1) * patch_px]
            to[:] = frame[top : top + patch_px, left : left + patch_px]


class ResizedPatches:
    """Patches of a resized frame: bilinear, half-pixel centres, no antialiasing, as torch computes it in float32.

    Only the pixels of the patches are computed. What depends on places alone is shared by the frames.

    height, width: of the frame before. places: of the patches in the resized frame. resizing: of the axes.
    """

    def __init__(self, height: int, width: int, places: PatchPlaces, *, resizing: Resizing, patch_px: int) -> None:
        grid, inside = len(places.rows), np.arange(patch_px)
        side = grid * patch_px
        rows = np.broadcast_to(places.rows[:, None, :, None] + inside[:, None, None], (grid, patch_px) * 2)
        columns = np.broadcast_to(places.columns[:, None, :, None] + inside, (grid, patch_px) * 2)
        top, bottom, down = _neighbours(rows.reshape(side, side), height, resizing.vertical)
        left, right, across = _neighbours(columns.reshape(side, side), width, resizing.horizontal)
        self.corners = [row * width + column for row in (top, bottom) for column in (left, right)]
        # As wide as the pixels are: NumPy is many times slower where it has to spread the last axis.
        self.down: NDArray[np.float32] = np.repeat(down[..., None], 3, axis=-1)
        self.across: NDArray[np.float32] = np.repeat(across[..., None], 3, axis=-1)
        self.up, self.back = np.float32(1) - self.down, np.float32(1) - self.across

    def of(self, frame: Picture) -> NDArray[np.float32]:
        """(H, W, 3) uint8 -> (side, side, 3) float32, 0..255."""
        pixels = frame.reshape(-1, 3)
        corners = [pixels.take(corner, axis=0) for corner in self.corners]
        above = corners[0] * self.back + corners[1] * self.across
        below = corners[2] * self.back + corners[3] * self.across
        blended: NDArray[np.float32] = above * self.up + below * self.down
        return blended


def frame_size(frames: Sequence[Picture]) -> tuple[int, int]:
    """Height and width that all frames have.

    Raises:
        FragmentSamplingError: There are none, or they are not (H, W, 3) uint8 of one size.
    """
    shapes = {frame.shape for frame in frames}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 3 or shape[2] != 3 or 0 in shape:
        found = ", ".join(map(str, sorted({frame.shape for frame in frames}))) or "none"
        raise FragmentSamplingError(f"frames have the shapes {found}; needed: (H, W, 3), the same for all")
    if dtypes := {str(frame.dtype) for frame in frames if frame.dtype != np.uint8}:
        raise FragmentSamplingError(f"frames are {', '.join(sorted(dtypes))}; needed: uint8")
    return shape[0], shape[1]


def normalised(fragments: Tensor) -> Tensor:
    """Pixels as the networks of the FAST family expect them.

    Args:
        fragments: (..., 3, T, H, W), uint8 or float, RGB, 0..255.

    Returns:
        The same shape, float32: minus ImageNet's mean, over its deviation.
    """
    mean, deviation = (
        torch.tensor([PIXEL_MAX * value for value in values], device=fragments.device).view(3, 1, 1, 1)
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return (fragments.float() - mean) / deviation


def _neighbours(
    places: NDArray[np.int64], size: int, step: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The two pixels of the frame that a pixel of the resized one lies between, and the share of the second."""
    source = np.maximum(np.float32(step) * (places.astype(np.float32) + np.float32(0.5)) - np.float32(0.5), 0)
    first = np.minimum(source.astype(np.int64), size - 1)
    return first, np.minimum(first + 1, size - 1), source - first.astype(np.float32)
