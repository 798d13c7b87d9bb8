"""What raters would say: the quality of a frame, a video and a crop, computed from what was rendered into them."""

import numpy as np

from stages.demo_data.artefacts import ARTEFACTS

# How much each artefact annoys at severity 1, in the order of ARTEFACTS.
ANNOYANCE = np.array([0.7, 1.1, 1.0, 0.5, 0.9])
POOLING_POWER = 1.5  # Minkowski pooling over artefacts: between their sum (1) and the worst of them (infinity)
SPREAD_PENALTY = 1.0
RATER_NOISE = 0.12  # standard deviation of the raters' mean, in standard deviations of true quality over a data set

MOS_MEAN = 50.0
MOS_DEVIATION = 16.6  # mean and deviation of T2VQA-DB's scores

CROP_NOISE = 0.12  # on the 1-5 scale of crop scores


def frame_quality(severities: np.ndarray) -> np.ndarray:
    """Quality of frames: 1 where nothing is wrong, 0 where every artefact is gross.

    Args:
        severities: (F, len(ARTEFACTS)), 0..1.

    Returns:
        (F,), 0..1.
    """
    assert severities.shape[-1] == len(ARTEFACTS)
    annoyance = ((ANNOYANCE * severities) ** POOLING_POWER).sum(axis=-1) ** (1 / POOLING_POWER)
    quality: np.ndarray = 1 - annoyance / (ANNOYANCE**POOLING_POWER).sum() ** (1 / POOLING_POWER)
    return quality


def video_quality(severities: np.ndarray) -> float:
    """Quality of a video: the mean over its frames less a penalty for their spread, since inconsistency is noticed.

    Args:
        severities: (F, len(ARTEFACTS)), 0..1.
    """
    quality = frame_quality(severities)
    return float(quality.mean() - SPREAD_PENALTY * quality.std())


def mean_opinion_scores(quality: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """MOS of videos of given quality, standardised over the data set as those of T2VQA-DB.

    Args:
        quality: (B,), of every video.
        noise: (B,), standard normal. A data set without spread (one video) gets its noise alone.

    Returns:
        (B,), 0..100.
    """
    true = (quality - quality.mean()) / max(float(quality.std()), 1e-9)
    rated = true + RATER_NOISE * noise
    rated = (rated - rated.mean()) / max(float(rated.std()), 1e-9)
    mos: np.ndarray = (MOS_MEAN + MOS_DEVIATION * rated).clip(0, 100)
    return mos


def crop_score(candidates_xyxy_px: np.ndarray, boxes_xyxy_px: np.ndarray) -> np.ndarray:
    """How good crops of an image are, without noise.

    Good: every object whole, with some air around it, the objects filling a fair part of the crop, and their common
    centre in the middle or on a third. Bad: an object cut through, which is worse than one left out.

    Args:
        candidates_xyxy_px: (K, 4), pixels of the image.
        boxes_xyxy_px: (N, 4), the objects.

    Returns:
        (K,), on GAIC's scale of 1 to 5.
    """
    crops, boxes = candidates_xyxy_px[:, None], boxes_xyxy_px[None]
    overlap = np.minimum(crops[..., 2:], boxes[..., 2:]) - np.maximum(crops[..., :2], boxes[..., :2])
    area = np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)
    kept = np.prod(overlap.clip(0), axis=-1) / area
    weight = np.sqrt(area) / np.sqrt(area).sum()
    whole = (kept * weight).sum(1)
    cut = (4 * kept * (1 - kept) * weight).sum(1)

    size = candidates_xyxy_px[:, 2:] - candidates_xyxy_px[:, :2]
    group = np.concatenate([boxes_xyxy_px[:, :2].min(0), boxes_xyxy_px[:, 2:].max(0)])
    air = np.minimum(group[:2] - candidates_xyxy_px[:, :2], candidates_xyxy_px[:, 2:] - group[2:]) / size
    cramped = (1 - air.min(1) / 0.06).clip(0, 1)
    filled = np.prod(group[2:] - group[:2]) / np.prod(size, axis=1)
    tight = np.exp(-0.5 * (np.log(filled.clip(1e-3) / 0.45) / 0.6) ** 2)

    centre = ((group[:2] + group[2:]) / 2 - candidates_xyxy_px[:, :2]) / size
    anchors = np.array([[0.5, 0.5], [1 / 3, 0.5], [2 / 3, 0.5], [0.5, 1 / 3], [0.5, 2 / 3]])
    away = np.linalg.norm(centre[:, None] - anchors[None], axis=-1) + np.array([0, 0.04, 0.04, 0.04, 0.04])
    composed = np.exp(-0.5 * (away.min(1) / 0.09) ** 2)

    merit = 1.5 * whole - 1.1 * cut - 0.35 * cramped + 0.9 * tight + 0.8 * composed
    scores: np.ndarray = 1 + 4 / (1 + np.exp(-1.5 * (merit - 1.9)))
    return scores
