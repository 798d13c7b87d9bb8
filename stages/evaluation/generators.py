"""How well a model ranks the videos of each generator, and by how much it overrates them."""

from typing import Any

import numpy as np
import pandas as pd

from models.metrics import UndefinedMetricError
from stages.evaluation.metrics import CORRELATIONS, METRICS

MEASURED = (*CORRELATIONS, "rmse")


def generator_rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """How well the videos of each generator are ranked, and by how much they are overrated.

    Args:
        rows: One row per video with the columns generator, status, score and mos.

    Returns:
        One row per generator, sorted by name: `generator`, `n_expected`, `n_scored`, the metrics of MEASURED, and
        `bias`, the mean of score - MOS on 0-100. What is not defined (too few videos, constant scores) is None.
    """
    result = []
    for generator, videos in rows[rows["generator"].notna()].groupby("generator", sort=True):
        scored = videos[videos["status"] == "ok"]
        scores, mos = scored["score"].to_numpy(dtype=float), scored["mos"].to_numpy(dtype=float)
        row: dict[str, Any] = {"generator": generator, "n_expected": len(videos), "n_scored": len(scored)}
        for name in MEASURED:
            try:
                row[name] = METRICS[name].judge_videos(scores, mos)
            except UndefinedMetricError:
                row[name] = None
        row["bias"] = float(np.mean(scores - mos)) if len(scored) else None
        result.append(row)
    return result
