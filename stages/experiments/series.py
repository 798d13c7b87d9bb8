"""A series of DVC experiments: rows of a table, run and collected one way, whatever the table is.

`ablation` and `protocol` say which rows there are and what the report makes of them. An interrupted series can be
started again: what DVC has in its run cache is not computed a second time.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.experiments.dvc import metrics_of, queue, run_now, run_queued
from stages.io.digests import digest
from stages.params.presets import change_arguments
from stages.params.schema import Params


@dataclass(frozen=True)
class PlannedRun:
    """One experiment of a series.

    Attributes:
        name: Of the DVC experiment.
        labels: What tells the run from the others in the report, such as row and seed.
        changes: Changes of params that make it.
    """

    name: str
    labels: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)


def run_series(
    command: str,
    runs: Sequence[PlannedRun],
    *,
    commit: str,
    metrics: str,
    jobs: int = 1,
    collect_only: bool = False,
) -> Iterator[dict[str, Any]]:
    """Run experiments, each in a folder of its own; one of the same name on the present commit is replaced.

    Args:
        command: Whose series it is, for the lines that are printed.
        runs: The experiments.
        commit: The commit that they start from.
        metrics: The JSON file of metrics, relative to this folder, with /.
        jobs: Experiments at a time; with several they go through DVC's queue, and what else stands there runs too.
        collect_only: Run nothing; take what experiments of these names left.

    Yields:
        For each run `experiment`, its labels, and its metrics, or under `failed` why it has none.

    Raises:
        ExperimentError: DVC refuses to queue an experiment.
    """
    status: dict[str, int] = {}
    if jobs > 1 and not collect_only:
        for run in runs:
            queue(run.name, change_arguments(run.changes))
        print(
            f"{command}: {len(runs)} experiments queued, {jobs} at a time; what else is in DVC's queue runs too",
            flush=True,
        )
        run_queued(jobs=jobs)
    for number, run in enumerate(runs, start=1):
        if jobs == 1 and not collect_only:
            shown = ", ".join(f"{key} {value}" for key, value in run.labels.items())
            print(f"{command}: run {number} of {len(runs)}: {shown} ({run.name})", flush=True)
            status[run.name] = run_now(run.name, change_arguments(run.changes))
        yield {"experiment": run.name, **run.labels, **_result(run, status.get(run.name, 0), metrics, commit)}


def _result(run: PlannedRun, status: int, metrics: str, commit: str) -> Mapping[str, Any]:
    if status:
        return {"failed": f"dvc exp run ended with status {status}"}
    found = metrics_of(run.name, metrics, commit=commit)
    return {"failed": f"the experiment has no {metrics}"} if found is None else found


def params_digest(params: Params) -> str:
    """What tells a table of these params from one of others; how stages run (`engine`) is no part of it."""
    return digest(params.model_dump(mode="json", exclude={"engine"}))


def summarise(values: Sequence[float]) -> dict[str, float | int | None]:
    """Sum up one metric over runs.

    Args:
        values: At least one.

    Returns:
        mean, deviation (standard deviation, n - 1; None for one value), median, low, high and n.
    """
    return {
        "mean": statistics.fmean(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
        "n": len(values),
    }
