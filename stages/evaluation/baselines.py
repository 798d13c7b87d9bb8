"""Plain numbers that any model has to beat."""

import pandas as pd

from models.errors import AigcVqaError
from models.metrics import srocc


def sharpness_srocc(rows: pd.DataFrame) -> float:
    """SROCC of plain sharpness with the MOS: a bar that any model must clear.

    Args:
        rows: One row per video with the columns status, sharpness and mos.

    Returns:
        The correlation without its sign, 0..1; 0 where it is not defined.
    """
    scored = rows[rows["status"] == "ok"]
    try:
        return abs(srocc(scored["sharpness"].to_numpy(), scored["mos"].to_numpy()))
    except AigcVqaError:
        return 0.0  # constant sharpness ranks nothing
