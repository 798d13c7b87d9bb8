"""Changes to training images that leave the objects what they are, on torchvision.transforms.v2.

The parameters of a change come from a generator of the image's own, and v2's functions apply them: v2's classes draw
from torch's global generator, which reader threads share, so an epoch would not repeat itself.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat

# What lies around a frame that is looked at from further off: the mean of ImageNet's pixels.
GROUND = (124, 116, 104)
PIXEL_MAX = 255


def mirror(
    frame: NDArray[np.uint8], boxes_xyxy_px: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Swap left and right of an image and of its boxes.

    Args:
        frame: (H, W, 3) uint8.
        boxes_xyxy_px: (N, 4) float32, pixels of the frame.

    Returns:
        Both, changed.
    """
    return frame[:, ::-1], mirror_boxes(torch.from_numpy(boxes_xyxy_px), frame.shape[1]).numpy()


def mirror_boxes(boxes_xyxy_px: Tensor, width: int) -> Tensor:
    """Swap left and right of boxes (N, 4) of an image of that width in pixels."""
    boxes = BoundingBoxes(boxes_xyxy_px, format=BoundingBoxFormat.XYXY, canvas_size=(1, width))
    mirrored: Tensor = functional.horizontal_flip(boxes).as_subclass(Tensor)
    return mirrored


def mirror_clips(clips: Tensor, flips: Tensor) -> Tensor:
    """Swap left and right of some clips of a batch.

    Args:
        clips: (B, F, 3, H, W), any type.
        flips: (B,) bool, true for the clips to mirror.

    Returns:
        The clips in the same order, copied.
    """
    # Whole clips are mirrored and copied; choosing byte by byte takes ten times as long.
    pairs = zip(clips, flips.tolist(), strict=True)
    return torch.stack([functional.horizontal_flip(clip) if flip else clip for clip, flip in pairs])


def jitter_color(pixels: Tensor, strength: float, random: np.random.Generator) -> Tensor:
    """Scale brightness, contrast and saturation, in this order, each by a factor drawn at random.

    Args:
        pixels: (H, W, 3) RGB, uint8 or float32 in 0..255.
        strength: 0 to 1; the factors lie in 1 - strength .. 1 + strength, so 0 changes nothing.
        random: Where the factors come from.

    Returns:
        (H, W, 3) float32 in 0..255.
    """
    brightness, contrast, saturation = random.uniform(1 - strength, 1 + strength, 3).tolist()
    # As fractions: on bytes v2 cuts off after each of the three.
    image = functional.adjust_brightness(pixels.permute(2, 0, 1) / PIXEL_MAX, brightness)
    changed: Tensor = functional.adjust_saturation(functional.adjust_contrast(image, contrast), saturation)
    return (changed * PIXEL_MAX).permute(1, 2, 0)


def zoom(
    frame: NDArray[np.uint8],
    boxes_xyxy_px: NDArray[np.float32],
    labels: NDArray[np.int64],
    strength: float,
    random: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """Look at a part of the frame, or at the frame on a larger grey ground: objects of other sizes.

    The window's sides are the frame's times a factor of 1 - strength to 1 / (1 - strength), as often below as above 1.
    An object whose centre is outside of the window goes, the others are cut at its edge. v2 zooms in and out by two
    classes with rules of their own for boxes, which drop objects that still show half.

    Args:
        frame: (H, W, 3) uint8 RGB.
        boxes_xyxy_px: (N, 4) float32.
        labels: (N,) int64.
        strength: 0 to 1, 1 not included; 0 changes nothing.
        random: Where factor and place come from.

    Returns:
        The window, and the boxes and labels of the objects in it.
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
