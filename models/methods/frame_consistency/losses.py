"""Losses of the quality network: MAE, BCE and the Frame Consistency Loss.

Source: "Advancing Video Quality Assessment for AIGC", arXiv 2409.14888, equations 1-6.

Every frame gets 100 logits x_i, one for each quality level s_i = i, i = 0..99, with p_i = sigmoid(x_i). A video has one
mean opinion score (MOS) on 0-100. All sums run in float32 (float64 for float64 logits), inside autocast too: in
bfloat16 a frame score near 0.5 moves in steps of 0.4 MOS points.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.errors import AigcVqaError, NonFiniteError, ShapeError

BINS = 100
MOS_MAX = 100.0
# The density peaks at 1 / (sigma sqrt(2 pi)): below this sigma at more than 1, no target for a cross-entropy.
SIGMA_MIN = 1.0 / math.sqrt(2.0 * math.pi)


class LossInputError(AigcVqaError, ValueError):
    """A target, a sigma or an option for which the losses are not defined."""


class VideoTerms(NamedTuple):
    """The two terms of every video of a batch, before any product or mean over the batch.

    Attributes:
        mae: (B,) float, 0..1, |mean frame score - mos / 100| (equation 1).
        bce: (B,) float, >= 0, nats, mean over frames and bins (equation 4).
    """

    mae: Tensor
    bce: Tensor


def frame_scores(logits: Tensor) -> Tensor:
    """Quality of every frame: the mean level under its normalised bin probabilities (equations 2 and 3).

    Args:
        logits: (B, F, 100), any float dtype, any finite value.

    Returns:
        (B, F), float32 (float64 for float64 logits), in [0, 0.99]; times 100 it is on the scale of the MOS.

    Raises:
        ShapeError: The logits have another shape.
        LossInputError: The logits are no floating-point numbers.
    """
    _check_logits(logits)
    with torch.autocast(logits.device.type, enabled=False):
        return _frame_scores(_full_precision(logits))


def frame_deviations(logits: Tensor) -> Tensor:
    """Spread of every frame's bins: the standard deviation of the level under their normalised probabilities.

    Args:
        logits: (B, F, 100), any float dtype, any finite value.

    Returns:
        (B, F), float32 (float64 for float64 logits), on 0..0.5; times 100 it is in MOS points.

    Raises:
        ShapeError: The logits have another shape.
        LossInputError: The logits are no floating-point numbers.
    """
    _check_logits(logits)
    with torch.autocast(logits.device.type, enabled=False):
        logits = _full_precision(logits)
        weights = functional.softmax(functional.logsigmoid(logits), dim=-1)
        distances = _levels(logits) / MOS_MAX - _frame_scores(logits)[..., None]
        return (weights * distances.square()).sum(dim=-1).sqrt()


def video_terms(logits: Tensor, mos: Tensor, sigma: float) -> VideoTerms:
    """MAE and BCE of every video: what training logs, and shows when a loss is not finite.

    Args:
        logits: (B, F, 100) float.
        mos: (B,), 0-100.
        sigma: Standard deviation of the target density, in MOS points.

    Raises:
        ShapeError: Shapes do not fit together.
        NonFiniteError: A MOS or sigma is NaN or infinite.
        LossInputError: A MOS is outside 0..100, or sigma is too small.
    """
    _check_logits(logits)
    _check_mos(logits, mos)
    _check_sigma(sigma)
    with torch.autocast(logits.device.type, enabled=False):
        logits = _full_precision(logits)
        return VideoTerms(mae=_video_mae(logits, mos), bce=_video_bce(logits, mos, sigma))


def mae_loss(logits: Tensor, mos: Tensor) -> Tensor:
    """Absolute error of the video score, batch mean: mean over B of |mean over F of score - mos / 100| (equation 1).

    Args:
        logits: (B, F, 100) float.
        mos: (B,), 0-100.

    Returns:
        A scalar, 0..1.

    Raises:
        ShapeError: Shapes do not fit together.
        NonFiniteError: A MOS is NaN or infinite.
        LossInputError: A MOS is outside 0..100.
    """
    _check_logits(logits)
    _check_mos(logits, mos)
    with torch.autocast(logits.device.type, enabled=False):
        return _video_mae(_full_precision(logits), mos).mean()


def bce_loss(logits: Tensor, mos: Tensor, sigma: float) -> Tensor:
    """Binary cross-entropy of every frame's bins against a normal density around the MOS, mean over all.

    Equation 4, with the target density of equation 5.

    Args:
        logits: (B, F, 100) float.
        mos: (B,), 0-100.
        sigma: In MOS points, at least 1 / sqrt(2 pi) = 0.399, so that the target stays within [0, 1] (the paper takes
            the standard deviation "across the dataset"; that of the training part alone is ours, so that no test
            label decides anything).

    Returns:
        A scalar >= 0, in nats.

    Raises:
        ShapeError: Shapes do not fit together.
        NonFiniteError: A MOS or sigma is NaN or infinite.
        LossInputError: A MOS is outside 0..100, or sigma is too small.
    """
    _check_logits(logits)
    _check_mos(logits, mos)
    _check_sigma(sigma)
    with torch.autocast(logits.device.type, enabled=False):
        return _video_bce(_full_precision(logits), mos, sigma).mean()


def frame_consistency_loss(
    logits: Tensor, mos: Tensor, sigma: float, *, reduction: Literal["video", "batch"] = "video"
) -> Tensor:
    """Frame Consistency Loss (FCL): MAE x BCE (equation 6).

    A video whose mean score meets its MOS exactly has loss 0, however its frames differ.

    Args:
        logits: (B, F, 100) float.
        mos: (B,), 0-100.
        sigma: In MOS points; see `bce_loss`.
        reduction: "video" multiplies the terms of each video and takes the mean of the products. Both terms are defined
            for one video, and a video's gradient then does not depend on what else is in the batch, so gradient
            accumulation over equal parts gives the gradient of the whole. "batch" multiplies the two batch means, as
            code that reduces each loss first does; there one poorly fitted video raises the weight of all others.

    Returns:
        A scalar >= 0.

    Raises:
        ShapeError: Shapes do not fit together.
        NonFiniteError: A MOS or sigma is NaN or infinite.
        LossInputError: A MOS is outside 0..100, sigma is too small, or there is no such reduction.
    """
    if reduction not in ("video", "batch"):
        raise LossInputError(f"reduction is {reduction!r}; allowed: 'video', 'batch'")
    mae, bce = video_terms(logits, mos, sigma)
    if reduction == "video":
        return (mae * bce).mean()
    return mae.mean() * bce.mean()


def _full_precision(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _levels(logits: Tensor) -> Tensor:
    """The quality levels s_i = i (equation 2): (100,), dtype and device of the logits."""
    return torch.arange(BINS, dtype=logits.dtype, device=logits.device)


def _frame_scores(logits: Tensor) -> Tensor:
    # Equation 3: sum p s / (100 sum p). The sigmoids of logits near -100 underflow in float32 and would give 0 / 0;
    # p_i / sum p = softmax(log p)_i subtracts the largest exponent first.
    weights = functional.softmax(functional.logsigmoid(logits), dim=-1)
    return weights @ _levels(logits) / MOS_MAX


def _video_mae(logits: Tensor, mos: Tensor) -> Tensor:
    return (_frame_scores(logits).mean(dim=1) - mos.to(logits.dtype) / MOS_MAX).abs()


def _target_density(logits: Tensor, mos: Tensor, sigma: float) -> Tensor:
    """The target d_i = exp(-(s_i - mos)^2 / (2 sigma^2)) / (sigma sqrt(2 pi)), (B, 100); equation 5.

    It is not normalised over the bins.
    """
    distance = (_levels(logits) - mos.to(logits.dtype)[:, None]) / sigma
    return torch.exp(-0.5 * distance.square()) / (sigma * math.sqrt(2.0 * math.pi))


def _video_bce(logits: Tensor, mos: Tensor, sigma: float) -> Tensor:
    target = _target_density(logits, mos, sigma)[:, None, :].expand_as(logits)
    return functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(1, 2))


def _check_logits(logits: Tensor) -> None:
    shape = tuple(logits.shape)
    if logits.ndim != 3 or shape[2] != BINS or 0 in shape:
        raise ShapeError(f"logits have shape {shape}; needed: (B, F, {BINS}) with B and F at least 1")
    if not logits.is_floating_point():
        raise LossInputError(f"logits have dtype {logits.dtype}; needed: a floating-point dtype")


def _check_mos(logits: Tensor, mos: Tensor) -> None:
    if tuple(mos.shape) != (logits.shape[0],):
        # (B, 1) would broadcast against (B,) to a (B, B) table of differences without any error.
        raise ShapeError(
            f"mos has shape {tuple(mos.shape)} and logits {tuple(logits.shape)}; needed: mos of shape "
            f"({logits.shape[0]},), one score per video"
        )
    allowed = (mos >= 0) & (mos <= MOS_MAX)
    if bool(allowed.all()):
        return
    row = int((~allowed).nonzero()[0])
    value = float(mos[row])
    if not math.isfinite(value):
        raise NonFiniteError(f"mos of row {row} of the batch is {value}; needed: a finite number from 0 to 100")
    raise LossInputError(f"mos of row {row} of the batch is {value:g}; allowed: 0 to 100")


def _check_sigma(sigma: float) -> None:
    if not math.isfinite(sigma):
        raise NonFiniteError(f"sigma is {sigma}; needed: a finite number of MOS points")
    if sigma < SIGMA_MIN:
        raise LossInputError(
            f"sigma is {sigma:g} MOS points; allowed: at least {SIGMA_MIN:.4f} = 1 / sqrt(2 pi). Below that "
            "the target density exceeds 1, where binary cross-entropy is not defined"
        )
