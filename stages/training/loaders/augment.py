"""Changes to training frames that leave the objects what they are."""

import numpy as np
from numpy.typing import NDArray

# How much each channel adds to the brightness that the eye sees (ITU-R BT.601).
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
# What lies around a frame that is looked at from further off: the mean of ImageNet's pixels.
GROUND = (124, 116, 104)


def mirror(
    frame: NDArray[np.uint8], boxes_xyxy_px: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Swap left and right of (H, W, 3) and of its boxes (N, 4)."""
    x0, y0, x1, y1 = boxes_xyxy_px.T
    width = np.float32(frame.shape[1])
    return frame[:, ::-1], np.stack([width - x1, y0, width - x0, y1], axis=1)


def jitter_color(frame: NDArray[np.uint8], strength: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """Scale brightness, contrast and saturation by a factor in 1 - strength .. 1 + strength each.

    frame: (H, W, 3) uint8 RGB; the result too, clipped. strength: 0..1; 0 changes nothing.
    """
    brightness, contrast, saturation = random.uniform(1 - strength, 1 + strength, 3).astype(np.float32)
    pixels = frame.astype(np.float32) * brightness
    luma = pixels @ LUMA
    grey = luma.mean(dtype=np.float64).astype(np.float32)
    pixels = luma[..., None] + (pixels - luma[..., None]) * saturation
    pixels = grey + (pixels - grey) * contrast
    return pixels.round().clip(0, 255).astype(np.uint8)


def zoom(
    frame: NDArray[np.uint8],
    boxes_xyxy_px: NDArray[np.float32],
    labels: NDArray[np.int64],
    strength: float,
    random: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """Look at a part of the frame, or at the frame on a larger grey ground: objects of other sizes.

    frame: (H, W, 3) uint8 RGB; boxes (N, 4), labels (N,). The window's sides are the frame's times a factor of
    1 - strength to 1 / (1 - strength), as often below as above 1. strength: 0 to 1, 1 not included; 0 changes nothing.
    An object whose centre is outside of the window goes, the others are cut at its edge.
    """
    height, width = frame.shape[:2]
    factor = (1 - strength) ** random.uniform(-1, 1)
    window_height, window_width = (max(1, round(side * factor)) for side in (height, width))
    # A window that is larger than the frame has its corner left of and above it.
    top, left = (
        int(random.integers(min(0, free), max(0, free) + 1)) for free in (height - window_height, width - window_width)
    )
    window = np.full((window_height, window_width, 3), GROUND, dtype=np.uint8)
    seen = frame[max(0, top) : top + window_height, max(0, left) : left + window_width]
    down, right = max(0, -top), max(0, -left)
    window[down : down + seen.shape[0], right : right + seen.shape[1]] = seen
    moved = boxes_xyxy_px - np.array([left, top] * 2, dtype=np.float32)
    size = np.array([window_width, window_height], dtype=np.float32)
    centres = (moved[:, :2] + moved[:, 2:]) / 2
    kept = ((centres > 0) & (centres < size)).all(axis=1)
    return window, moved[kept].clip(0, np.tile(size, 2)), labels[kept]
