"""What the report shows, read and joined; everything but the results themselves may be missing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from stages.errors import EvaluationError, RevisionError, TableError
from stages.evaluation.runs import Run, belong_together, changed_videos, read_test_part, tested_videos
from stages.evaluation.units import drawn_groups
from stages.experiments.revisions import other_version, read_at
from stages.io.json import read_json
from stages.io.outs import (
    AUDIT_FILE,
    AUDIT_TABLE,
    BASELINES_FILE,
    CROPS_FOLDER,
    FRAME_SCORES_TABLE,
    FRAMES_FOLDER,
    MANIFEST_TABLE,
    METRICS_FILE,
    PAIRS_TABLE,
    PREDICTIONS_TABLE,
    SPLIT_TABLE,
)
from stages.io.schemas import AUDIT, CROPS, FRAME_SCORES, FRAMES, MANIFEST, PAIRS, PREDICTIONS
from stages.io.shards import Shards
from stages.io.tables import read_frame, read_table, to_frame
from stages.steps.history import crop_method


@dataclass(frozen=True)
class Previous:
    """The run to compare with.

    Attributes:
        run: It has predictions only where they exist and give its metrics.
        differences: How its test videos differ from this run's, in sentences; none where they are the same.
        known: Whether the test videos could be compared one by one.
    """

    run: Run
    differences: list[str]
    known: bool


@dataclass(frozen=True)
class Sources:
    """What `read_sources` found.

    Attributes:
        metrics: Those of this run.
        baselines: Plain numbers that a model has to beat.
        previous: The run to compare with.
        videos: One row per video: the columns of PREDICTIONS, the manifest's `prompt`, `group` and `sha256`, the
            audit's (prefix `audit_`) where there is one, and `error` (score - MOS, points of 0-100).
        pairs: Rated pairs; None without a table of them.
        frame_scores: Rows of the FRAME_SCORES schema.
        frames: Table of decoded frames.
        crops: Table of crops.
        audit: What audit.json holds.
        ablation: What ablation.json holds.
        made_by: What made the predictions.
    """

    metrics: dict[str, float]
    baselines: dict[str, float]
    previous: Previous | None
    videos: pd.DataFrame
    pairs: pd.DataFrame | None
    frame_scores: pd.DataFrame
    frames: Shards | None
    crops: Shards | None
    audit: dict[str, Any] | None
    ablation: dict[str, Any] | None
    made_by: dict[str, Any]

    @property
    def test(self) -> pd.DataFrame:
        """The scored videos of the test part."""
        return self.videos[(self.videos["part"] == "test") & (self.videos["status"] == "ok")]

    @property
    def drawn(self) -> pd.Series | None:
        """What intervals draw as one: group by test video where whole groups were dealt; None: videos."""
        return drawn_groups(self.videos, self.videos)


def read_sources(results: Path, data: Path, *, baseline: str | None) -> Sources:
    """Read everything from the two folders that stages write.

    Args:
        results: The folder results/.
        data: The folder data/.
        baseline: The Git revision to compare with; None: the last committed metrics that are not this run's.

    Raises:
        EvaluationError: There are no metrics.
        TableError: A table that is needed is missing or damaged.
    """
    path = results / METRICS_FILE
    metrics = read_json(path)
    if metrics is None:
        raise EvaluationError(f"{path}: no metrics yet; `dvc repro` writes them")
    table, metadata = read_table(results / PREDICTIONS_TABLE, schema=PREDICTIONS)
    videos = to_frame(table)
    videos["error"] = videos["score"] - videos["mos"]
    prompts = read_frame(data / MANIFEST_TABLE, schema=MANIFEST)[["video_id", "prompt", "group", "sha256"]]
    videos = videos.merge(prompts, on="video_id", how="left")
    if (results / AUDIT_TABLE).is_file():
        audit = read_frame(results / AUDIT_TABLE, schema=AUDIT).add_prefix("audit_")
        videos = videos.merge(audit, left_on="video_id", right_on="audit_video_id", how="left")
    chosen_by = crop_method(metadata["made_by"])
    crops = data / CROPS_FOLDER / chosen_by if chosen_by else None
    return Sources(
        metrics=metrics,
        baselines=read_json(results / BASELINES_FILE) or {},
        previous=_previous(path, metrics, baseline, test=videos[videos["part"] == "test"], split=data / SPLIT_TABLE),
        videos=videos,
        pairs=read_frame(data / PAIRS_TABLE, schema=PAIRS) if (data / PAIRS_TABLE).is_file() else None,
        frame_scores=read_frame(results / FRAME_SCORES_TABLE, schema=FRAME_SCORES),
        frames=Shards(data / FRAMES_FOLDER, schema=FRAMES) if (data / FRAMES_FOLDER).is_dir() else None,
        crops=Shards(crops, schema=CROPS) if crops and crops.is_dir() else None,
        audit=read_json(results / AUDIT_FILE),
        ablation=read_json(results / "ablation.json"),
        made_by=metadata["made_by"],
    )


def _previous(
    path: Path, metrics: Mapping[str, float], revision: str | None, *, test: pd.DataFrame, split: Path
) -> Previous | None:
    version = other_version(path, json.dumps(metrics, sort_keys=True), revision=revision, normalise=_normalised)
    if version is None:
        return None
    name, before = version[0], json.loads(version[1])
    then = _run_then(Run(name, before, None, None), path.with_name(PREDICTIONS_TABLE), split, revision or name)
    if then.mos is not None:
        return Previous(then, changed_videos(tested_videos(test, None, source="") or {}, then.mos), known=True)
    counts = metrics.get("n_expected"), before.get("n_expected")
    differences = [] if counts[0] == counts[1] else [f"{counts[0]} test videos here, {counts[1]} there"]
    return Previous(then, differences, known=False)


def _run_then(run: Run, predictions: Path, split: Path, revision: str) -> Run:
    """A run with its test videos from the revision's predictions, else from its split; unchanged without either."""
    contents = [_bytes_then(path, revision) for path in (predictions, split)]
    test = None if contents[0] is None else read_test_part(contents[0])
    try:
        mos = tested_videos(test, contents[1], source=str(split))
    except TableError:
        return run  # a fault of that revision: the page says that its test videos are not known
    known = replace(run, test=test, mos=mos)
    return known if belong_together(known) else replace(known, test=None)


def _bytes_then(path: Path, revision: str) -> bytes | None:
    try:
        return read_at(path, revision)
    except RevisionError:
        return None


def _normalised(data: bytes) -> str:
    return json.dumps(json.loads(data), sort_keys=True)
