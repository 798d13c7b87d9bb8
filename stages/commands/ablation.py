"""`aigc-vqa ablation`: the paper's table II, components switched one by one, over seeds, as DVC experiments.

Source: arXiv 2409.14888, table II. The paper does not say what takes the place of a component that is off. Here: the
loss without FCL is the MAE of the mean frame score (one factor of FCL); without S²CNet the quality model sees whole
frames; without FGM epsilon is 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter
from scipy.stats import ttest_rel

from stages.commands.options import Count, Folder, PositiveCount
from stages.errors import ExperimentError
from stages.evaluation.metrics import SUMMARY
from stages.experiments.ablation_table import markdown, reading
from stages.experiments.dvc import metrics_of, present_commit, queue, run_queued
from stages.io.digests import digest
from stages.io.files import write_text
from stages.io.json import write_json
from stages.params.load import load_params
from stages.params.presets import change_arguments
from stages.params.schema import Params

CONFIDENCE = 0.95
# Differences that are equal but for it have no spread to make an interval of.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Row:
    """One row of the table: which components are on, and the paper's mean of SROCC, PLCC and KROCC on T2VQA-DB."""

    fcl: bool
    s2cnet: bool
    fgm: bool
    paper_mean: float

    @property
    def name(self) -> str:
        """Name of the DVC experiment."""
        parts = [name for name in ("fcl", "s2cnet", "fgm") if getattr(self, name)]
        return "-".join(parts) or "none"

    def changes(self, seed: int, *, epsilon: float) -> dict[str, Any]:
        """Changes of params that switch the components. epsilon: FGM's, where it is on."""
        return {
            "crop": {"method": "s2cnet" if self.s2cnet else "full"},
            "train": {
                "loss": "fcl" if self.fcl else "mae",
                "fgm": {"epsilon": epsilon if self.fgm else 0},
                "seed": seed,
            },
        }


ROWS = (
    Row(fcl=False, s2cnet=False, fgm=False, paper_mean=0.663),
    Row(fcl=True, s2cnet=False, fgm=False, paper_mean=0.670),
    Row(fcl=True, s2cnet=False, fgm=True, paper_mean=0.673),
    Row(fcl=True, s2cnet=True, fgm=False, paper_mean=0.682),
    Row(fcl=True, s2cnet=True, fgm=True, paper_mean=0.684),
)
# Component, what it is added to, the row with it and the row without: all pairs of rows that one component separates.
STEPS = (
    ("FCL", "nothing", "fcl", "none"),
    ("FGM", "FCL", "fcl-fgm", "fcl"),
    ("S²CNet", "FCL", "fcl-s2cnet", "fcl"),
    ("S²CNet", "FCL and FGM", "fcl-s2cnet-fgm", "fcl-fgm"),
    ("FGM", "FCL and S²CNet", "fcl-s2cnet-fgm", "fcl-s2cnet"),
)


def experiment_name(row: Row, seed: int) -> str:
    """The DVC experiment of one row and one seed."""
    return f"ablation-{row.name}-{seed}"


def summarise_row(row: Row, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation (n - 1; null for one run) of each metric over the seeds of a row."""
    result: dict[str, Any] = {"row": row.name, "fcl": row.fcl, "s2cnet": row.s2cnet, "fgm": row.fgm, "n": len(found)}
    for metric in SUMMARY:
        values = [one[metric] for one in found]
        result[f"{metric}_mean"] = float(np.mean(values)) if values else None
        result[f"{metric}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return result | {"paper_mean": row.paper_mean}


def compare_steps(values: Mapping[str, Mapping[int, float]]) -> list[dict[str, Any]]:
    """What each component changes, seed by seed.

    values: row name -> seed -> metric. A step has the mean difference over the seeds that both rows have, the 95 %
    interval of a paired t-test (null below two seeds) and the paper's difference.
    """
    paper = {row.name: row.paper_mean for row in ROWS}
    steps = []
    for component, base, with_it, without in STEPS:
        seeds = sorted(values[with_it].keys() & values[without].keys())
        pairs = np.array([(values[with_it][seed], values[without][seed]) for seed in seeds]).reshape(-1, 2)
        differences = pairs[:, 0] - pairs[:, 1]
        low = high = None
        if len(seeds) > 1 and np.ptp(differences) > ROUNDING:
            low, high = map(float, ttest_rel(pairs[:, 0], pairs[:, 1]).confidence_interval(CONFIDENCE))
        steps.append(
            {
                "component": component, "added_to": base, "n": len(seeds),
                "difference": float(differences.mean()) if len(seeds) else None,
                "low": low, "high": high,
                "paper_difference": round(paper[with_it] - paper[without], 3),
            }
        )  # fmt: skip
    return steps


def collect(seeds: Sequence[int], *, commit: str, params: Params, metrics: str) -> dict[str, Any]:
    """The report of the experiments that are there on a commit. Raises ExperimentError when none has finite metrics.

    It names the commit, and by a digest the params that the rows change: a table of other code or params can be told.
    """
    found: dict[str, dict[int, dict[str, Any]]] = {row.name: {} for row in ROWS}
    failed = []
    for row in ROWS:
        for seed in seeds:
            values = metrics_of(experiment_name(row, seed), metrics, commit=commit)
            if values is None or not all(math.isfinite(values.get(name, math.nan)) for name in SUMMARY):
                failed.append(experiment_name(row, seed))
            else:
                found[row.name][seed] = values
    if not any(found.values()):
        raise ExperimentError(f"no experiment of the ablation has {metrics}; DVC's messages are above")
    steps = compare_steps({name: {seed: one["mean"] for seed, one in runs.items()} for name, runs in found.items()})
    return {
        "commit": commit,
        "params": digest(params.model_dump(mode="json")),
        "seeds": list(seeds),
        "rows": [summarise_row(row, list(found[row.name].values())) for row in ROWS],
        "steps": steps,
        "reading": reading(steps),
        "runs": {name: {str(seed): one for seed, one in runs.items()} for name, runs in found.items()},
        "failed": failed,
    }


def check(params: Params, seeds: Sequence[int]) -> None:
    """Raise ExperimentError when the rows cannot be told apart, or a seed would run twice."""
    if len(set(seeds)) < len(seeds):
        raise ExperimentError(f"--seeds {' '.join(map(str, seeds))}: one stands there twice")
    if params.train.fgm.epsilon == 0:
        raise ExperimentError("train.fgm.epsilon is 0 in params.yaml: the rows with FGM need a value above 0")


def ablation(
    *,
    seeds: Annotated[Sequence[Count], Parameter(metavar="SEED", consume_multiple=(1, None))] = (1, 2, 3, 4, 5),
    jobs: PositiveCount = 1,
    results: Folder = Path("results"),
    collect_only: bool = False,
) -> int:
    """Repeat the paper's table II on your data: components switched one by one, over seeds.

    The five rows times the seeds are queued as DVC experiments and run; what DVC has run before comes from its cache,
    and what else stands in DVC's queue runs too. The report is RESULTS/ablation.json and .md. Exit status 1 when a run
    failed.

    Args:
        seeds: Seeds of the training; several may follow.
        jobs: Experiments at a time.
        results: Folder of metrics.json and the report.
        collect_only: Report on what has run, run nothing.

    Returns:
        The exit status.

    Raises:
        ExperimentError: The rows cannot be queued, or none has metrics.
    """
    params = load_params()
    check(params, seeds)
    commit = present_commit()
    if not collect_only:
        for seed in seeds:
            for row in ROWS:
                queue(experiment_name(row, seed), change_arguments(row.changes(seed, epsilon=params.train.fgm.epsilon)))
        print(
            f"ablation: {len(ROWS) * len(seeds)} experiments queued, {jobs} at a time; "
            "what else is in DVC's queue runs too",
            flush=True,
        )
        run_queued(jobs=jobs)
    report = collect(seeds, commit=commit, params=params, metrics=f"{results.as_posix()}/metrics.json")
    write_json(results / "ablation.json", report)
    write_text(results / "ablation.md", markdown(report))
    print(markdown(report), end="")
    return 1 if report["failed"] else 0
