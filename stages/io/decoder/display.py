"""Geometry of a shown picture: turns and mirrors of the display matrix, and pixels that are not square."""

import math
import struct
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.errors import VideoError

# A stretch below this share is what an encoder's scaler left over from rounding to whole pixels: a width of 854 for
# 853.33. Resampling for it would blur every pixel and show nothing.
MIN_STRETCH = 0.01
# By how much a turn may miss a right angle, as the share of a matrix's small entries in its large ones.
MAX_SKEW = 0.01


class Orientation(NamedTuple):
    """One of the eight ways in which a display matrix can lay a picture: first transposed, then mirrored.

    Attributes:
        transposed: Rows become columns.
        left_right: Then mirrored, left to right.
        top_bottom: Then mirrored, top to bottom.
    """

    transposed: bool = False
    left_right: bool = False
    top_bottom: bool = False

    @property
    def mirrored(self) -> bool:
        """Whether text in the picture is read backwards before the matrix is applied."""
        return (self.transposed + self.left_right + self.top_bottom) % 2 == 1

    @property
    def rotation_deg(self) -> int:
        """The clockwise turn, degrees; of a mirrored picture, the turn after mirroring it left to right."""
        if self.transposed:
            return 270 if self.top_bottom != self.mirrored else 90
        return 180 if self.left_right != self.mirrored else 0

    def apply(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture as it is shown.

        Args:
            picture: (H, W, 3) uint8, as it is stored.

        Returns:
            (H, W, 3) uint8, or (W, H, 3) where the orientation transposes.
        """
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        if self.left_right:
            picture = picture[:, ::-1]
        if self.top_bottom:
            picture = picture[::-1]
        return np.ascontiguousarray(picture)


def read_orientation(data: bytes | None) -> Orientation:
    """The orientation in a display matrix.

    ISO/IEC 14496-12, track header: (x, y) is shown at (a x + c y, b x + d y), y pointing down. Only the signs matter
    here: a scale is no part of an orientation, and the corner of the shown picture is its own.

    Args:
        data: The matrix (a, b, u, c, d, v, x, y, w) as nine 32-bit integers of this machine, as FFmpeg keeps it; None
            where the file has none.

    Raises:
        VideoError: The picture is turned by another angle, or the matrix shows none.
    """
    if data is None:
        return Orientation()
    a, b, _, c, d, *_ = struct.unpack("=9i", data)
    straight, crossed = (min(abs(a), abs(d)), max(abs(a), abs(d))), (min(abs(b), abs(c)), max(abs(b), abs(c)))
    if straight[0] > 0 and crossed[1] <= MAX_SKEW * straight[0]:
        return Orientation(transposed=False, left_right=a < 0, top_bottom=d < 0)
    if crossed[0] > 0 and straight[1] <= MAX_SKEW * crossed[0]:
        return Orientation(transposed=True, left_right=c < 0, top_bottom=b < 0)
    angle = math.degrees(math.atan2(b, a))
    raise VideoError(f"the header turns the picture by {angle:.4g} degrees; only quarter turns and mirrors are shown")


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """The size of a picture whose pixels are made square; the shorter side of a pixel is stretched, none is shrunk.

    Args:
        width: Stored pixels.
        height: Stored pixels.
        aspect: Width of a stored pixel over its height; None or 0: not stated, so square.

    Returns:
        Width and height, pixels.
    """
    if not aspect or aspect < 0 or abs(aspect - 1) < MIN_STRETCH:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
