"""Changes to training frames that leave the objects what they are."""

import numpy as np
from numpy.typing import NDArray

# How much each channel adds to the brightness that the eye sees (ITU-R BT.601).
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


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
