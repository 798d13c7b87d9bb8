"""Whether a video looks like those that a model was trained on, by plain statistics of its frames.

A score of something unlike the training videos may be any number, and its interval says nothing. The statistics are
those of natural scenes: of luminance and colours after division by the local contrast (Ruderman, "The statistics of
natural images", 1994; Mittal et al., BRISQUE, 10.1109/TIP.2012.2214050), with means and spreads of the colours. They
come before any network: a trained one has learnt to see nothing but quality, and its pooled features told apart a fifth
to two thirds of the real clips that these told apart from the demo's.
"""

from collections.abc import Sequence
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from stages.io.images import Frame

Statistics = NDArray[np.float64]
# The middle of a large frame says as much, and bounds the time that it takes.
SIDE_MAX_PX = 256
WINDOW_PX, WINDOW_SIGMA = 7, 7 / 6
LUMINANCE_SCALES, COLOUR_SCALES = 3, 2
NEIGHBOURS = ((0, 1), (1, 0), (1, 1))
# Share of the identity in the correlation matrix, so that it can be inverted.
SHRINKAGE = 0.01
TINY = 1e-4
# A video further away than this share of the validation part's is called unlike.
UNLIKE = 0.95


def frame_statistics(frame: Frame) -> Statistics:
    """Describe a frame without looking at what it shows.

    Args:
        frame: (H, W, 3) uint8 RGB, of any size.

    Returns:
        (S,) finite numbers; S is the same for all frames.
    """
    top, left = (max(0, side - SIDE_MAX_PX) // 2 for side in frame.shape[:2])
    middle = np.ascontiguousarray(frame[top : top + SIDE_MAX_PX, left : left + SIDE_MAX_PX])
    found: list[float] = []
    grey = cv2.cvtColor(middle, cv2.COLOR_RGB2GRAY).astype(np.float32)
    for _ in range(LUMINANCE_SCALES):
        normalised, contrast = _normalised(grey)
        found += _moments(normalised)
        height, width = normalised.shape
        for down, right in NEIGHBOURS:
            shifted = normalised[down:, right:]
            found += _moments(normalised[: height - down, : width - right] * shifted)
        found += [float(np.log1p(value)) for value in (contrast.mean(), contrast.std(), np.median(contrast))]
        grey = _halved(grey)
    lab = cv2.cvtColor(middle, cv2.COLOR_RGB2LAB).astype(np.float32)
    for channel in (1, 2):
        plane = lab[..., channel]
        for _ in range(COLOUR_SCALES):
            normalised, contrast = _normalised(plane)
            found += _moments(normalised)[:2]
            found += [float(np.log1p(value)) for value in (contrast.mean(), np.median(contrast))]
            plane = _halved(plane)
    planes = lab.reshape(-1, 3)
    means, deviations = planes.mean(axis=0), planes.std(axis=0)
    products = ((planes - means).T @ (planes - means)) / len(planes)
    scales = np.outer(deviations, deviations) + TINY
    found += [*means.tolist(), *deviations.tolist(), *(products / scales)[np.triu_indices(3, 1)].tolist()]
    return np.array(found, np.float64)


def _normalised(plane: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Each value less the local mean, over the local contrast; and that contrast."""
    mean = cv2.GaussianBlur(plane, (WINDOW_PX, WINDOW_PX), WINDOW_SIGMA)
    square = cv2.GaussianBlur(plane * plane, (WINDOW_PX, WINDOW_PX), WINDOW_SIGMA)
    contrast = np.sqrt(np.maximum(square - mean * mean, 0))
    return (plane - mean) / (contrast + 1), contrast


def _moments(values: NDArray[np.float32]) -> list[float]:
    """Spread, peakedness and skewness of values around zero; zeros for an empty plane."""
    if not values.size:
        return [0.0, 0.0, 0.0]
    spread = float(np.log(values.std() + TINY))
    return [spread, float(np.log(np.abs(values).mean() + TINY)) - spread, float(np.mean(np.sign(values) * values**2))]


def _halved(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    size = max(1, plane.shape[1] // 2), max(1, plane.shape[0] // 2)
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)


class Familiarity(BaseModel):
    """What the training videos' frames are like, and how far from them those of other videos are.

    Attributes:
        mean: (S,), of the statistics over the frames of the training part.
        scale: (S,), their standard deviations.
        precision: (S, S), inverse of their shrunk correlation matrix.
        distances: Of the validation videos, sorted.
    """

    model_config = ConfigDict(frozen=True)

    mean: list[float]
    scale: list[float]
    precision: list[list[float]]
    distances: list[float]

    @classmethod
    def fit(cls, train: Statistics, val: Sequence[Statistics]) -> Self:
        """Learn what is familiar.

        Args:
            train: (N, S), frames of the training part.
            val: For each validation video the statistics of its frames, (F, S).
        """
        mean, scale = train.mean(axis=0), train.std(axis=0) + TINY
        standard = (train - mean) / scale
        correlation = standard.T @ standard / len(standard)
        shrunk = (1 - SHRINKAGE) * correlation + SHRINKAGE * np.eye(len(mean))
        precision = np.linalg.inv(shrunk)
        start = cls(mean=mean.tolist(), scale=scale.tolist(), precision=precision.tolist(), distances=[])
        distances = sorted(float(start.distance(frames).mean()) for frames in val)
        return start.model_copy(update={"distances": distances})

    def distance(self, frames: Statistics) -> Statistics:
        """Mahalanobis distances of frames from those of the training part: (F, S) -> (F,)."""
        standard = (np.atleast_2d(frames) - np.array(self.mean)) / np.array(self.scale)
        squares: Statistics = np.einsum("fi,ij,fj->f", standard, np.array(self.precision), standard)
        return np.maximum(squares, 0) ** 0.5

    def percentile(self, distance: float) -> float:
        """Share of the validation videos that are nearer than this, percent.

        Args:
            distance: Mean over a video's frames.
        """
        return 100.0 * float(np.searchsorted(self.distances, distance)) / len(self.distances)
