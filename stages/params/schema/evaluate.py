"""Parameters of the stage evaluate."""

from pydantic import Field

from models.config import COUNT_MAX, SEED_MAX, Section


class EvaluateParams(Section):
    """Intervals of the metrics."""

    bootstrap_samples: int = Field(ge=100, le=COUNT_MAX, description="resamples of the test videos")
    confidence: float = Field(gt=0.5, lt=1, description="coverage of the intervals")
    seed: int = Field(ge=0, le=SEED_MAX, description="seed of the resampling")
