"""Frames of any sizes through a network that takes frames of one size, in passes of bounded memory."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from models.detectors.interface import Detections
from models.errors import NonFiniteError, ShapeError


def detect_in_passes(
    frames: Sequence[np.ndarray],
    detect: Callable[[list[np.ndarray]], list[Detections]],
    *,
    scaled_px: Callable[[int, int], int],
    pass_px: int,
) -> list[Detections]:
    """The detections of every frame, in order.

    frames: (H, W, 3) uint8 RGB each. detect: takes frames of one size. scaled_px: pixels that the network sees of a
    frame of a height and width; a pass holds at most pass_px of them, or one frame, which bounds the memory. Only
    frames of one size share a pass: padding to another's would change results.
    Raises ShapeError for other arrays.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for place, frame in enumerate(frames):
        check_frame(frame, place)
        groups.setdefault((frame.shape[0], frame.shape[1]), []).append(place)
    found: dict[int, Detections] = {}
    for size, places in groups.items():
        step = max(1, pass_px // scaled_px(*size))
        for start in range(0, len(places), step):
            part = places[start : start + step]
            found |= zip(part, detect([frames[place] for place in part]), strict=True)
    return [found[place] for place in range(len(frames))]


def check_frame(frame: np.ndarray, place: int) -> None:
    """Raise ShapeError for anything but (H, W, 3) uint8 with at least one pixel."""
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape or frame.dtype != np.uint8:
        raise ShapeError(
            f"frame {place} has shape {frame.shape} and dtype {frame.dtype}; needed: (H, W, 3) with H and W at least "
            "1, uint8, RGB"
        )


def check_finite(values: Mapping[str, Tensor], *, of: str = "features") -> None:
    """Raise NonFiniteError for NaN or infinities: a network that gives them finds nothing, and says nothing.

    values: tensors by name. of: what they are to the detector, for the message.
    """
    # One pass over each tensor, and one wait for the device. A sum of finite numbers can overflow: that is no error.
    if torch.stack([value.sum(dtype=torch.float32) for value in values.values()]).isfinite().all():
        return
    broken = [name for name, value in values.items() if not torch.isfinite(value).all()]
    if broken:
        raise NonFiniteError(
            f"the detector's {of} ({', '.join(broken)}) hold NaN or infinities: its weights are broken"
        )
