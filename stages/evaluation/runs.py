"""One side of a comparison of two runs: its metrics, the rows behind them, and the videos it was tested on."""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import AigcVqaError
from models.metrics import srocc
from stages.errors import TableError
from stages.io.json import number

COLUMNS = ["video_id", "part", "mos", "score", "status"]


@dataclass(frozen=True)
class Run:
    """A run to compare.

    Attributes:
        name: What messages call it.
        metrics: Those of metrics.json, as they are there.
        test: The test part's rows of its predictions; None: not known.
        mos: Test video -> MOS, None where that is unknown; None: the test videos are not known.
    """

    name: str
    metrics: dict[str, object]
    test: pd.DataFrame | None
    mos: dict[str, float | None] | None

    @property
    def scored(self) -> pd.DataFrame:
        """The columns video_id, mos and score of the scored test videos; no rows without predictions."""
        if self.test is None:
            return pd.DataFrame(columns=["video_id", "mos", "score"])
        return self.test.loc[self.test["status"] == "ok", ["video_id", "mos", "score"]]

    def value(self, key: str) -> float | None:
        """A metric as a number; None where the run has no such number."""
        return number(self.metrics.get(key))


def read_predictions(predictions: bytes) -> pd.DataFrame | None:
    """COLUMNS of a table of predictions, whatever columns later versions added; None for other bytes."""
    try:
        rows = pq.read_table(io.BytesIO(predictions), columns=COLUMNS).to_pandas()
    except (pa.ArrowException, OSError):
        return None
    return rows if set(COLUMNS) <= set(rows.columns) else None


def read_test_part(predictions: bytes) -> pd.DataFrame | None:
    """The test part's rows of `read_predictions`; None for other bytes."""
    rows = read_predictions(predictions)
    return None if rows is None else rows[rows["part"] == "test"]


def tested_videos(test: pd.DataFrame | None, split: bytes | None, *, source: str) -> dict[str, float | None] | None:
    """The test videos of a run.

    Args:
        test: The test part of its predictions, if there are any.
        split: Its split.csv, if there is one; read when there are no predictions.
        source: What messages call the split.

    Returns:
        Test video -> MOS, which the split does not have (None); None when neither is there.

    Raises:
        TableError: The split is needed and cannot be read as one.
    """
    if test is not None:
        return dict(zip(test["video_id"], test["mos"].astype(float), strict=True))
    if split is None:
        return None
    try:
        # A video may be called NA: ids are text, never missing values.
        parts = pd.read_csv(io.BytesIO(split), dtype=str, keep_default_na=False)
    except ValueError as error:
        raise TableError(f"{source}: not readable as CSV ({error})") from None
    if not {"video_id", "part"} <= set(parts.columns):
        raise TableError(f"{source}: columns are {', '.join(parts.columns)}; needed: video_id, part")
    return dict.fromkeys(parts.loc[parts["part"] == "test", "video_id"])


def belong_together(run: Run) -> bool:
    """Whether the predictions give the SROCC of the metrics; true where one of the two is missing."""
    if run.test is None or "srocc" not in run.metrics:
        return True
    try:
        computed = srocc(run.scored["score"], run.scored["mos"])
    except AigcVqaError:
        return False
    value = run.metrics["srocc"]
    # Metrics that are no numbers are dealt with by the verdicts.
    return not isinstance(value, float) or math.isnan(value) or abs(computed - value) < 1e-6


def changed_videos(now: Mapping[str, float | None], baseline: Mapping[str, float | None]) -> list[str]:
    """How two test sets differ.

    Args:
        now: Test video -> MOS of this run, None where unknown.
        baseline: The same of the other run.

    Returns:
        Sentences; none when the two are the same.
    """
    problems = []
    for word, these, those in (("new", now, baseline), ("gone", baseline, now)):
        ids = sorted(set(these) - set(those))
        if ids:
            problems.append(f"{len(ids)} test videos are {word} (first: {ids[0]})")
    changed = sorted(name for name in set(now) & set(baseline) if _differs(now[name], baseline[name]))
    if changed:
        problems.append(f"{len(changed)} test videos have another MOS (first: {changed[0]})")
    return problems


def _differs(first: float | None, second: float | None) -> bool:
    return first is not None and second is not None and abs(first - second) > 1e-6
