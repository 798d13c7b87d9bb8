"""Split-conformal intervals of scores: how far from the MOS scores were on videos that trained no weight.

Source: Lei et al., "Distribution-Free Predictive Inference for Regression" (JASA 2018, arXiv 1604.04173), section 5.2,
locally weighted: an error is measured in units of a deviation that the model states for the video itself.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from models.errors import AigcVqaError, ShapeError


class ConformalError(AigcVqaError, ValueError):
    """Errors or deviations from which no interval can be made."""


def conformal_quantile(errors: ArrayLike, deviations: ArrayLike, *, confidence: float) -> float:
    """The factor q with which score ± q · deviation holds the MOS of a new video in at least `confidence` of cases.

    That is exact on average over draws of videos that are exchangeable with these, whatever the model is.

    Args:
        errors: (N,) score - MOS of videos that trained no weight.
        deviations: (N,) above 0, stated by the model for the same videos, in the unit of the errors.
        confidence: Between 0 and 1.

    Returns:
        q >= 0; infinity where N is too small for the confidence: below confidence / (1 - confidence).

    Raises:
        ShapeError: The two are not of one length, or empty.
        ConformalError: An error is not finite, a deviation not above 0, or the confidence out of range.
    """
    error, deviation = np.abs(np.asarray(errors, float)), np.asarray(deviations, float)
    if error.ndim != 1 or error.shape != deviation.shape or not len(error):
        raise ShapeError(f"errors have shape {error.shape}, deviations {deviation.shape}; needed: (N,) both, N >= 1")
    if not np.isfinite(error).all():
        raise ConformalError("an error is NaN or infinite; needed: finite numbers")
    if not (np.isfinite(deviation) & (deviation > 0)).all():
        raise ConformalError("a deviation is not above 0; needed: finite numbers above 0")
    if not 0 < confidence < 1:
        raise ConformalError(f"the confidence is {confidence}; allowed: between 0 and 1")
    # The new video takes one more place among N + 1; a hair of rounding must not ask for one place more.
    place = math.ceil((len(error) + 1) * confidence - 1e-9)
    if place > len(error):
        return math.inf
    return float(np.sort(error / deviation)[place - 1])
