"""What the validation part says about scores: how far off they are, and which videos they hold for at all.

Stored with the weights, so that whoever scores a video gets an interval with the score.
"""

import math
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict

from models.conformal import conformal_quantile
from stages.steps.familiarity import UNLIKE, Familiarity

SCORE_MAX = 100.0


class Judgement(NamedTuple):
    """What stands beside a video's score.

    Attributes:
        low: Lower end of the interval that holds the MOS, 0-100; None for a video unlike the training videos.
        high: Its upper end.
        unlike_percent: Share of the validation videos that look more like the training videos, percent.
        is_unlike: Whether that is so much that the score's interval says nothing.
    """

    low: float | None
    high: float | None
    unlike_percent: float
    is_unlike: bool


class Reliability(BaseModel):
    """The validation part's lesson.

    Attributes:
        confidence: Share of new videos whose MOS the interval holds.
        quantile: Half the interval in units of a video's own deviation; None: too few validation videos, the interval
            is the whole scale.
        n_videos: Number of validation videos.
        familiarity: What the training videos look like.
    """

    model_config = ConfigDict(frozen=True)

    confidence: float
    quantile: float | None
    n_videos: int
    familiarity: Familiarity

    @classmethod
    def fit(cls, errors: list[float], deviations: list[float], *, confidence: float, familiarity: Familiarity) -> Self:
        """Learn from the validation part.

        Args:
            errors: Score - MOS of its videos, points.
            deviations: What the model states for the same videos, points; see `video_deviation`.
            confidence: Between 0 and 1.
            familiarity: What the training videos look like.
        """
        quantile = conformal_quantile(errors, deviations, confidence=confidence)
        return cls(
            confidence=confidence,
            quantile=quantile if math.isfinite(quantile) else None,
            n_videos=len(errors),
            familiarity=familiarity,
        )

    def judge(self, score: float, *, deviation: float, distance: float) -> Judgement:
        """The interval of a video's score, or that it has none.

        Args:
            score: 0-100.
            deviation: What the model states for the video, points.
            distance: From the training videos; see `Familiarity.distance`.
        """
        percent = self.familiarity.percentile(distance)
        if percent > 100 * UNLIKE:
            return Judgement(None, None, percent, True)
        half = math.inf if self.quantile is None else self.quantile * deviation
        return Judgement(max(0.0, score - half), min(SCORE_MAX, score + half), percent, False)


def video_deviation(frame_deviations: list[float], frame_scores: list[float]) -> float:
    """What the model states about its doubt of a video: the deviation of all its frames' bins taken together.

    The variance of the mixture is the mean of the frames' variances and the variance of their means.

    Args:
        frame_deviations: Of the bins of each frame, points.
        frame_scores: Of the same frames, 0-100.
    """
    n = len(frame_scores)
    mean = math.fsum(frame_scores) / n
    inside = math.fsum(value * value for value in frame_deviations) / n
    between = math.fsum((value - mean) ** 2 for value in frame_scores) / n
    return math.sqrt(inside + between)
