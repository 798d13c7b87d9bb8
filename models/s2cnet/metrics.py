"""How well a cropper ranks the candidates of an image: SRCC and AccK, averaged over images.

AccK: Zeng et al., Grid Anchor based Image Cropping (2019), as suyukun666/S2CNet at 6c92712 computes it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.errors import AigcVqaError, NonFiniteError, ShapeError
from models.metrics import srocc

PREDICTED = 4


class NoImagesError(AigcVqaError, ValueError):
    """Metrics of no images."""


def image_srcc(scores: ArrayLike, mos: ArrayLike) -> float:
    """Spearman's correlation of one image's candidates.

    It is not defined for fewer than 3 candidates, or where all scores or all MOS are equal: a network that ranks
    nothing then earns nothing.

    Args:
        scores: (K,), finite.
        mos: (K,), finite.

    Returns:
        -1..1; 0 where it is not defined.

    Raises:
        ShapeError: The shapes differ, or are not (K,).
        NonFiniteError: A number is NaN or infinite.
    """
    predicted, true = _pair(scores, mos)
    if len(predicted) < 3 or np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return 0.0
    return srocc(predicted, true)


def image_acc(scores: ArrayLike, mos: ArrayLike, *, best: int) -> float:
    """Mean over k = 1..4 of the share of the k best-predicted candidates that are truly best.

    Truly best are those with at least the MOS of the `best`-th, so ties of MOS count. Equal scores keep the order of
    the candidates. An image with fewer candidates has as many predicted and best ones as it has candidates.

    Args:
        scores: (K,), finite.
        mos: (K,), finite.
        best: How many candidates count as best.

    Returns:
        0..1.

    Raises:
        ShapeError: The shapes differ, or are not (K,).
        NonFiniteError: A number is NaN or infinite.
    """
    predicted, true = _pair(scores, mos)
    threshold = np.sort(true)[::-1][min(best, len(true)) - 1]
    order = np.argsort(-predicted, kind="stable")[:PREDICTED]
    good = true[order] >= threshold
    return float(np.mean(np.cumsum(good) / np.arange(1, len(good) + 1)))


def evaluate_crops(scores: Sequence[ArrayLike], mos: Sequence[ArrayLike]) -> dict[str, float]:
    """Means over images of the metrics above.

    Args:
        scores: For each image (K,), finite.
        mos: For each image (K,), finite.

    Returns:
        srcc (-1..1), acc5 and acc10 (0..1), and n_images.

    Raises:
        NoImagesError: There are no images.
        ShapeError: Shapes or numbers of images differ.
        NonFiniteError: A number is NaN or infinite.
    """
    if len(scores) != len(mos):
        raise ShapeError(f"scores of {len(scores)} images and MOS of {len(mos)}; needed: equal")
    if len(scores) == 0:
        raise NoImagesError("no images to evaluate the cropper on")
    pairs = list(zip(scores, mos, strict=True))
    return {
        "srcc": float(np.mean([image_srcc(*pair) for pair in pairs])),
        "acc5": float(np.mean([image_acc(*pair, best=5) for pair in pairs])),
        "acc10": float(np.mean([image_acc(*pair, best=10) for pair in pairs])),
        "n_images": len(pairs),
    }


def _pair(scores: ArrayLike, mos: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    predicted, true = np.asarray(scores, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    if predicted.ndim != 1 or predicted.shape != true.shape or len(predicted) == 0:
        raise ShapeError(f"scores have shape {predicted.shape} and MOS {true.shape}; needed: both (K,), K >= 1")
    for name, values in (("scores", predicted), ("MOS", true)):
        if not np.isfinite(values).all():
            raise NonFiniteError(f"{name} of an image hold a NaN or an infinity; needed: finite numbers")
    return predicted, true
