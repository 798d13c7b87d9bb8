"""What every detector gives, whatever is behind it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from models.errors import AigcVqaError


class DetectorError(AigcVqaError, ValueError):
    """A detector that cannot be built as configured."""


class Detections(NamedTuple):
    """The objects of one frame, best first; on the CPU.

    boxes_xyxy_px: (N, 4) float32, pixels of the frame that was given, inside it.
    scores: (N,) float32, 0..1, descending. labels: (N,) int64, from 1 (0 is the background).
    """

    boxes_xyxy_px: Tensor
    scores: Tensor
    labels: Tensor


def no_detections() -> Detections:
    """What a frame without objects gives."""
    return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


class Detector(Protocol):
    """Finds objects in frames."""

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """The objects of every frame, in order.

        frames: (H, W, 3) uint8 RGB each; sizes may differ. What a frame gives depends on that frame alone, up to
        rounding: kernels add in another order in a batch of another size, which moves boxes and scores in their last
        bits (float32: about 1e-4 px and 1e-6 at most). Order and labels are the same unless two scores, or an overlap
        and its threshold, are that close. Equal batches give equal bits.
        Raises ShapeError for anything else, such as grey frames or frames with an alpha channel, and NonFiniteError
        when the network gives NaN or infinities.
        """
        ...
