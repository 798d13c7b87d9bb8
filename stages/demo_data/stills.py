"""Still images with object boxes (for the detector) and with scored crops (for the cropper)."""

from dataclasses import dataclass

import numpy as np

from models.s2cnet.candidates import GRID, make_candidates
from stages.demo_data.clips import draw_severities, make_generators, scaled_size
from stages.demo_data.ratings import CROP_NOISE, crop_score
from stages.demo_data.scenes import Still, describe, draw, stage_scene

INVALID_SCORE = -2.0
INVALID_SHARE = 0.02


def render_still(rng: np.random.Generator, *, scale: float) -> Still:
    """Render a frame such as a video could contain, damaged as one would be, that is in no video.

    Args:
        rng: Draws everything.
        scale: Factor of the frame's size.
    """
    width, height = scaled_size(rng, scale)
    generator = make_generators(1, rng)[0]
    severities = draw_severities(generator, 1, rng, restlessness=1.0)[0]
    scene = stage_scene(describe(rng), rng, width=width, height=height)
    return draw(scene, float(rng.random()), severities, rng)


@dataclass(frozen=True)
class ScoredCrops:
    """A still and its rated candidates.

    Attributes:
        still: The image.
        candidates_xyxy_px: (K, 4), whole pixels.
        scores: (K,), 1 to 5; -2 for a candidate that is not rated.
    """

    still: Still
    candidates_xyxy_px: np.ndarray
    scores: np.ndarray


def render_scored_crops(rng: np.random.Generator, *, scale: float) -> ScoredCrops:
    """Render a still with scored candidates; a few of them are not rated.

    Args:
        rng: Draws everything.
        scale: Factor of the frame's size.
    """
    still = render_still(rng, scale=scale)
    height, width = still.rgb.shape[:2]
    candidates = make_candidates((height, width), GRID, network_size=(height, width)).frame_xyxy_px.round()
    scores = crop_score(candidates, still.boxes_xyxy_px) + CROP_NOISE * rng.standard_normal(len(candidates))
    scores = scores.clip(1, 5).round(3)
    scores[rng.random(len(scores)) < INVALID_SHARE] = INVALID_SCORE
    return ScoredCrops(still, candidates, scores)
