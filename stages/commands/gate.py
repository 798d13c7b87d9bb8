"""`aigc-vqa gate`: may this run be merged? Its metrics against those of a Git revision or of a file.

Exit status 0: nothing got worse; 1: something did, or the two runs cannot be compared fairly (other test videos,
missing or broken metrics, failed videos); 2: the gate was called wrongly, with a baseline that has nothing to compare
with among others. The table is Markdown, for a terminal and for a comment on a pull request.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from cyclopts import Parameter

from models.errors import AigcVqaError
from stages.engine.options import File, check_out
from stages.errors import EvaluationError, GateError, RevisionError, TableError
from stages.evaluation.intervals import Intervals
from stages.evaluation.metrics import PAIR_KINDS, Direction, label_of
from stages.evaluation.runs import (
    Run,
    belong_together,
    changed_videos,
    read_predictions,
    read_test_part,
    tested_videos,
)
from stages.evaluation.units import drawn_groups, too_few_to_draw
from stages.evaluation.verdict_table import markdown
from stages.evaluation.verdicts import POWER, Rule, comparable, judge, rules_with, smallest_fall
from stages.experiments.revisions import describe_revision, read_at
from stages.io.files import write_text
from stages.io.json import parse_object
from stages.io.outs import DATA, MANIFEST_TABLE, METRICS_FILE, PAIRS_TABLE, PREDICTIONS_TABLE, RESULTS, SPLIT_TABLE
from stages.io.schemas import MANIFEST, PAIRS
from stages.io.tables import read_frame
from stages.params.load import load_params


def gate(
    *,
    baseline: Annotated[str, Parameter(metavar="REV|FILE")],
    tolerance: Annotated[Sequence[str], Parameter(metavar="KEY=VALUE")] = (),
    floor: Annotated[Sequence[str], Parameter(metavar="KEY=VALUE")] = (),
    better: Annotated[Sequence[str], Parameter(metavar="KEY=higher|lower")] = (),
    metrics: File = RESULTS / METRICS_FILE,
    predictions: File = RESULTS / PREDICTIONS_TABLE,
    split: File = DATA / SPLIT_TABLE,
    manifest: File = DATA / MANIFEST_TABLE,
    pairs: File = DATA / PAIRS_TABLE,
    out: File | None = None,
) -> int:
    """Compare the metrics with a Git revision's: may this run be merged?

    Exit status 0: nothing got worse; 1: something did, or the two runs cannot be compared fairly (other test videos,
    missing or broken metrics, failed videos); 2: misuse, such as a baseline that has nothing to compare with. The table
    is Markdown, for a terminal and for a comment on a pull request.

    Args:
        baseline: Git revision, DVC experiment, or a metrics JSON.
        tolerance: Change for the worse that passes; `n_failed=N` allows N failed videos.
        floor: Worst value that passes, whatever the baseline says.
        better: Direction of a metric that the gate does not know.
        metrics: Metrics of this run.
        predictions: Scores of this run.
        split: Parts of this run's videos.
        manifest: Table of this run's videos, for the prompts.
        pairs: Rated pairs of this run.
        out: Write the Markdown here too.

    Returns:
        The exit status.

    Raises:
        EvaluationError: This run has no metrics at all.
    """
    notes: list[str] = []
    if out is not None:
        check_out(out)
    try:
        rules = rules_with(_numbers("--tolerance", tolerance), _numbers("--floor", floor), _directions(better))
        old = read_baseline(baseline, metrics=metrics, predictions=predictions, split=split, notes=notes)
        if not comparable(old.metrics, rules):
            raise GateError(f"{old.name}: nothing to compare with; judged are: {', '.join(rules)}")
        now, problems = read_this_run(metrics=metrics, predictions=predictions, split=split, notes=notes)
    except (GateError, RevisionError, TableError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    problems += _test_set_problems(now, old, notes)
    params = load_params().evaluate
    if problems or now.test is None or old.test is None:
        intervals = Intervals(replace(now, test=None), replace(old, test=None), params)
    else:
        groups, drawn = _groups(manifest, predictions, now, notes)
        intervals = Intervals(now, old, params, groups=groups, pairs=_rated(pairs, now, notes), drawn=drawn)
    verdicts = judge(now.metrics, old.metrics, rules, intervals.of)
    notes += _power_note(intervals, rules)
    text = markdown(verdicts, old.name, confidence=params.confidence, problems=problems, notes=notes)
    if out is not None:
        write_text(out, f"{text}\n")
    print(text)
    return 1 if problems or not all(verdict.passes for verdict in verdicts) else 0


def read_baseline(name: str, *, metrics: Path, predictions: Path, split: Path, notes: list[str]) -> Run:
    """The other side: a JSON file (with the predictions beside it), else a Git revision.

    Appends to `notes` what it lacks.

    Raises:
        GateError: The file has no metrics.
        RevisionError: The revision has none.
        TableError: The split is none.
    """
    if Path(name).is_file():
        if metrics.is_file() and Path(name).samefile(metrics):
            raise GateError(f"--baseline {name}: the run itself; a Git revision or a kept copy is needed")
        values = _metrics(Path(name).read_bytes(), name)
        beside = Path(name).with_name(predictions.name)
        test = read_test_part(beside.read_bytes()) if beside.is_file() else None
        if test is None:
            notes.append(f"The baseline has no readable {predictions.name} beside it: judged by the metrics alone.")
        run, parts = Run(name, values, test, None), None
    else:
        values = _metrics(read_at(metrics, name), f"{metrics} of {name}")
        try:
            test = read_test_part(read_at(predictions, name))
            if test is None:
                notes.append(
                    f"The baseline's {predictions} is not a table of predictions: judged by the metrics alone."
                )
        except RevisionError as error:
            test = None
            notes.append(f"No predictions of the baseline ({error}): judged by the metrics alone.")
        try:
            parts = read_at(split, name)
        except RevisionError:
            parts = None
        run = Run(describe_revision(name), values, test, None)
    if test is not None and not belong_together(run):
        notes.append("The baseline's predictions do not give its metrics: judged by the metrics alone.")
        run = replace(run, test=None)
    return replace(run, mos=tested_videos(run.test, parts, source=f"{split} of {name}"))


def read_this_run(*, metrics: Path, predictions: Path, split: Path, notes: list[str]) -> tuple[Run, list[str]]:
    """This run, and what is wrong with it; raises EvaluationError when there are no metrics to judge."""
    if not metrics.is_file():
        raise EvaluationError(f"{metrics}: no metrics to judge; `dvc repro` writes them")
    test = read_test_part(predictions.read_bytes()) if predictions.is_file() else None
    if test is None:
        notes.append(f"This run has no readable {predictions}: judged by the metrics alone.")
    values = _metrics(metrics.read_bytes(), str(metrics), error_type=EvaluationError)
    run = Run("this run", values, test, None)
    problems = []
    if test is not None and not belong_together(run):
        problems.append(f"{predictions} does not give the SROCC of {metrics}: `dvc repro` makes them agree")
    parts = split.read_bytes() if split.is_file() else None
    return replace(run, mos=tested_videos(test, parts, source=str(split))), problems


def _metrics(data: bytes, source: str, *, error_type: type[AigcVqaError] = GateError) -> dict[str, Any]:
    return parse_object(data, source, needed="a JSON object of metrics", error_type=error_type)


def _power_note(intervals: Intervals, rules: Mapping[str, Rule]) -> list[str]:
    """What `verdicts.smallest_fall` says of SROCC, as a sentence.

    Args:
        intervals: Of this run against the baseline.
        rules: How metrics are judged.

    Returns:
        No sentence where nothing can be resampled, or the two runs rank alike on every resample.
    """
    key = "srocc"
    found = intervals.difference(key)
    if found is None or found.error == 0:
        return []
    fall = smallest_fall(rules[key], found.error, confidence=intervals.params.confidence)
    n_videos, drawn = len(intervals.both), intervals.drawn
    units = f"{n_videos} videos" + ("" if drawn is None else f" of {drawn.nunique()} prompts, drawn whole")
    return [
        f"The smallest fall of {label_of(key)} that this test set can tell between two such runs, in {POWER:.0%} of "
        f"cases: {fall:.3f} ({units}; standard error of the change {found.error:.4f})."
    ]


def _groups(manifest: Path, predictions: Path, now: Run, notes: list[str]) -> tuple[pd.Series | None, pd.Series | None]:
    """Prompt by video id (None: not known), and what intervals draw as one (None: videos); what is amiss to `notes`."""
    try:
        videos = read_frame(manifest, schema=MANIFEST)
    except TableError as error:
        asked = "within_prompt_accuracy" in now.metrics
        theirs = ", and the tolerance alone decides on pairs within a prompt" if asked else ""
        notes.append(f"Prompts are not known ({error}): intervals draw single videos, and may be too narrow{theirs}.")
        return None, None
    rows = read_predictions(predictions.read_bytes())
    drawn = None if rows is None else drawn_groups(rows, videos)
    if drawn is not None and (reason := too_few_to_draw(drawn.loc[now.scored["video_id"]].nunique())):
        notes.append(f"No intervals: {reason}.")
    return videos.set_index("video_id")["group"], drawn


def _rated(pairs: Path, now: Run, notes: list[str]) -> pd.DataFrame | None:
    """Rated pairs where this run has metrics of them; None, and why in `notes`, where they cannot be read."""
    if now.metrics.keys().isdisjoint(PAIR_KINDS):
        return None
    try:
        return read_frame(pairs, schema=PAIRS)
    except TableError as error:
        notes.append(f"Rated pairs are not there ({error}): the tolerance alone decides on theirs.")
        return None


def _test_set_problems(now: Run, old: Run, notes: list[str]) -> list[str]:
    if now.mos is None or old.mos is None:
        notes.append("The test videos of one side are not known: only their number was compared.")
        return []
    return [f"The runs were tested on different videos: {text}" for text in changed_videos(now.mos, old.mos)]


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise GateError(f"{option} {text}: KEY=VALUE is needed")
        pairs[key] = value
    return pairs


def _numbers(option: str, texts: Sequence[str]) -> dict[str, float]:
    numbers = {}
    for key, text in _pairs(option, texts).items():
        try:
            numbers[key] = float(text)
        except ValueError:
            numbers[key] = math.nan
        if not math.isfinite(numbers[key]):
            raise GateError(f"{option} {key}={text}: a finite number is needed")
    return numbers


def _directions(texts: Sequence[str]) -> dict[str, Direction]:
    directions: dict[str, Direction] = {}
    for key, text in _pairs("--better", texts).items():
        if text not in ("higher", "lower"):
            raise GateError(f"--better {key}={text}: allowed: higher, lower")
        directions[key] = "higher" if text == "higher" else "lower"
    return directions
