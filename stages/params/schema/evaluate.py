"""Parameters of the stage evaluate."""

from pydantic import Field

from models.config import Section


class EvaluateParams(Section):
    """Intervals of the metrics."""

    bootstrap_samples: int = Field(ge=100, description="resamples of the test videos")
    confidence: float = Field(gt=0.5, lt=1, description="coverage of the intervals")
    seed: int = Field(ge=0, description="seed of the resampling")
