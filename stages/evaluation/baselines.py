"""Plain numbers that any model has to beat."""

import pandas as pd

from models.errors import AigcVqaError
from models.metrics import srocc


def sharpness_srocc(rows: pd.DataFrame) -> float:
    """SROCC of plain sharpness with the MOS, with the sign that suits it best: a bar that any model must clear."""
    scored = rows[rows["status"] == "ok"]
    try:
        return abs(srocc(scored["sharpness"].to_numpy(), scored["mos"].to_numpy()))
    except AigcVqaError:
        return 0.0  # constant sharpness ranks nothing
