"""Frames and clips as SimpleVQA's networks see them.

Source: sunwei925/SimpleVQA at 017edda, the extraction scripts and loaders of the benchmark. Its single-video demo
smooths frames as it shrinks them (PIL), the benchmark does not (OpenCV): the latter gave the published numbers.
"""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.backbones import IMAGENET_MEAN, IMAGENET_STD
from models.errors import ShapeError
from models.pixels import normalised

MOTION_PX = 224
# Of the videos that SlowFast was trained on, R, G, B on 0..1.
MOTION_MEAN = (0.45, 0.45, 0.45)
MOTION_STD = (0.225, 0.225, 0.225)


def resized_frames(frames: Tensor, *, short_side_px: int) -> Tensor:
    """Frames with a short side of that length, the aspect ratio kept; bilinear, not smoothed where they shrink.

    OpenCV, byte for byte: other bilinear resizing rounds where it cuts off, and is a tenth of a level brighter.

    Args:
        frames: (F, 3, H, W) uint8, RGB.
        short_side_px: Of the result; 520 as published.

    Returns:
        (F, 3, H', W') uint8; the long side is cut down to whole pixels.

    Raises:
        ShapeError: The frames have another shape or type.
    """
    _check_frames(frames)
    height, width = frames.shape[-2:]
    short, long = sorted((height, width))
    # At least the short side: for squares the product may end a hair below it.
    long_px = max(short_side_px, int(short_side_px / short * long))
    size = (short_side_px, long_px) if height > width else (long_px, short_side_px)
    images = np.ascontiguousarray(frames.permute(0, 2, 3, 1).cpu().numpy())
    resized = [cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) for image in images]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).to(frames.device)


def cut_squares(frames: Tensor, *, size_px: int, random: np.random.Generator | None) -> Tensor:
    """A square of every frame: each at a place of its own in training, the centre in test.

    Args:
        frames: (F, 3, H, W), any type.
        size_px: Side of the squares; 448 as published.
        random: Draws the places; None: the centre, half a pixel to the even one.

    Returns:
        (F, 3, size_px, size_px).

    Raises:
        ShapeError: The frames have another shape, or are smaller than the squares.
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or not len(frames) or min(frames.shape[-2:]) < size_px:
        raise ShapeError(
            f"frames have shape {tuple(frames.shape)}; needed: (F, 3, H, W), F at least 1, H and W at least {size_px}"
        )
    free = [side - size_px for side in frames.shape[-2:]]
    if random is None:
        places = [[round(space / 2) for space in free]] * len(frames)
    else:
        places = random.integers(0, [space + 1 for space in free], size=(len(frames), 2)).tolist()
    cuts = [frame[:, y : y + size_px, x : x + size_px] for frame, (y, x) in zip(frames, places, strict=True)]
    return torch.stack(cuts)


def normalised_frames(frames: Tensor) -> Tensor:
    """What the quality network sees: (..., 3, H, W) uint8 RGB -> float32, by ImageNet's mean and deviation.

    Raises:
        ShapeError: The frames have another shape or type.
    """
    return normalised(frames, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def motion_pixels(frames: Tensor) -> Tensor:
    """Frames as SlowFast sees them: squares whatever their aspect ratio was, smoothed as they shrink, normalised.

    Args:
        frames: (F, 3, H, W) uint8, RGB: each frame of a video once, in whatever clips it is.

    Returns:
        (F, 3, 224, 224) float32.

    Raises:
        ShapeError: The frames have another shape or type.
    """
    return normalised(motion_squares(frames), mean=MOTION_MEAN, std=MOTION_STD)


def motion_squares(frames: Tensor) -> Tensor:
    """`motion_pixels` as bytes, before normalisation: (F, 3, H, W) uint8 -> (F, 3, 224, 224) uint8.

    Within one level of PIL's bilinear resizing, which the release uses.

    Raises:
        ShapeError: The frames have another shape or type.
    """
    _check_frames(frames)
    return functional.interpolate(frames, size=(MOTION_PX, MOTION_PX), mode="bilinear", antialias=True)


def _check_frames(frames: Tensor) -> None:
    if frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape or frames.dtype != torch.uint8:
        raise ShapeError(
            f"frames have shape {tuple(frames.shape)} and dtype {frames.dtype}; needed: (F, 3, H, W), F at least 1, "
            "torch.uint8"
        )
