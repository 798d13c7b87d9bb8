"""One side of a comparison of two runs: its metrics, the rows that they are from, and which videos it was tested on."""

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
    """test: the test part's rows of the predictions; mos: test video -> MOS (None where unknown); None: not known."""

    name: str
    metrics: dict[str, object]
    test: pd.DataFrame | None
    mos: dict[str, float | None] | None

    @property
    def scored(self) -> pd.DataFrame:
        """video_id, mos, score of the scored test videos; none without predictions."""
        if self.test is None:
            return pd.DataFrame(columns=["video_id", "mos", "score"])
        return self.test.loc[self.test["status"] == "ok", ["video_id", "mos", "score"]]

    def value(self, key: str) -> float | None:
        return number(self.metrics.get(key))


def read_test_part(predictions: bytes) -> pd.DataFrame | None:
    """The test part of a table of predictions, whatever columns later versions added; None for other bytes."""
    try:
        rows = pq.read_table(io.BytesIO(predictions), columns=COLUMNS).to_pandas()
    except (pa.ArrowException, OSError):
        return None
    return rows[rows["part"] == "test"] if set(COLUMNS) <= set(rows.columns) else None


def tested_videos(test: pd.DataFrame | None, split: bytes | None, *, source: str) -> dict[str, float | None] | None:
    """Test videos with their MOS from the predictions, without it from split.csv; None when neither is there.

    source: what messages call the split. Raises TableError when it is needed and is no split.
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
    """Whether the predictions give the SROCC of the metrics; true where one of the two is not there."""
    if run.test is None or "srocc" not in run.metrics:
        return True
    try:
        found = srocc(run.scored["score"], run.scored["mos"])
    except AigcVqaError:
        return False
    value = run.metrics["srocc"]
    # Metrics that are no numbers are the verdicts' business.
    return not isinstance(value, float) or math.isnan(value) or abs(found - value) < 1e-6


def changed_videos(now: Mapping[str, float | None], baseline: Mapping[str, float | None]) -> list[str]:
    """Sentences on what differs between two test sets (video id -> MOS, None where unknown); empty: the same."""
    problems = []
    for word, one, other in (("new", now, baseline), ("gone", baseline, now)):
        ids = sorted(set(one) - set(other))
        if ids:
            problems.append(f"{len(ids)} test videos are {word} (first: {ids[0]})")
    changed = sorted(name for name in set(now) & set(baseline) if _differs(now[name], baseline[name]))
    if changed:
        problems.append(f"{len(changed)} test videos have another MOS (first: {changed[0]})")
    return problems


def _differs(first: float | None, second: float | None) -> bool:
    return first is not None and second is not None and abs(first - second) > 1e-6
