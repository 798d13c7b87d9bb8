"""`aigc-vqa ablation`: the paper's table II, components switched one by one, over seeds, as DVC experiments.

Source: arXiv 2409.14888, table II. The paper does not say what takes the place of a component that is off. Here: the
loss without FCL is the MAE of the mean frame score (one factor of FCL); without S²CNet the quality model sees whole
frames; without FGM epsilon is 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
from cyclopts import Parameter
from scipy.stats import ttest_rel

from stages.engine.options import Count, Folder, PositiveCount
from stages.errors import ExperimentError
from stages.evaluation.metrics import SUMMARY, VALIDATION
from stages.experiments.ablation_table import markdown, reading
from stages.experiments.dvc import present_commit
from stages.experiments.series import PlannedRun, params_digest, run_series, summarise
from stages.io.files import write_text
from stages.io.json import write_json
from stages.io.outs import RESULTS
from stages.params.load import load_params, merge
from stages.params.schema import Params

METHOD = "frame_consistency"
CONFIDENCE = 0.95
# Differences that are equal but for it have no spread to make an interval of.
ROUNDING = 1e-9
LABELS = ("experiment", "row", "draw")


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        name: Part of the names of its DVC experiments.
        fcl: Whether FCL is the loss; else the MAE of the mean frame score.
        crop: Who chooses the crop, as `crop.method`.
        fgm: Whether the weights are perturbed.
        shape: How a crop fills the network's square, as `crop.shape`.
        paper_mean: The paper's mean of SROCC, PLCC and KROCC on T2VQA-DB; None for a row that it does not have.
    """

    name: str
    fcl: bool
    crop: str
    fgm: bool
    shape: str = "stretch"
    paper_mean: float | None = None

    def changes(self, *, epsilon: float) -> dict[str, Any]:
        """Changes of params that switch the components; `epsilon` is FGM's, where it is on."""
        return {
            "crop": {"method": self.crop, "shape": self.shape},
            "methods": {METHOD: {"loss": "fcl" if self.fcl else "mae"}},
            "train": {"fgm": {"epsilon": epsilon if self.fgm else 0}},
        }


ROWS = (
    Row("none", fcl=False, crop="full", fgm=False, paper_mean=0.663),
    Row("fcl", fcl=True, crop="full", fgm=False, paper_mean=0.670),
    Row("fcl-fgm", fcl=True, crop="full", fgm=True, paper_mean=0.673),
    Row("fcl-s2cnet", fcl=True, crop="s2cnet", fgm=False, paper_mean=0.682),
    Row("fcl-s2cnet-fgm", fcl=True, crop="s2cnet", fgm=True, paper_mean=0.684),
    # What S²CNet has to beat: crops too, but chosen without looking. The paper calls the random one the usual way.
    Row("fcl-center-fgm", fcl=True, crop="center", fgm=True),
    Row("fcl-random-fgm", fcl=True, crop="random", fgm=True),
    # Crops differ in their stretch too; here neither whole frames nor S²CNet's crops are stretched.
    Row("fcl-fgm-letterbox", fcl=True, crop="full", fgm=True, shape="letterbox"),
    Row("fcl-s2cnet-fgm-letterbox", fcl=True, crop="s2cnet", fgm=True, shape="letterbox"),
)
# Component, what it is added to, the row with it and the row without: all pairs of rows that one component separates.
STEPS = (
    ("FCL", "nothing", "fcl", "none"),
    ("FGM", "FCL", "fcl-fgm", "fcl"),
    ("S²CNet", "FCL", "fcl-s2cnet", "fcl"),
    ("S²CNet", "FCL and FGM", "fcl-s2cnet-fgm", "fcl-fgm"),
    ("FGM", "FCL and S²CNet", "fcl-s2cnet-fgm", "fcl-s2cnet"),
    ("S²CNet", "FCL and FGM, for center crops", "fcl-s2cnet-fgm", "fcl-center-fgm"),
    ("S²CNet", "FCL and FGM, for random crops", "fcl-s2cnet-fgm", "fcl-random-fgm"),
    ("S²CNet", "FCL and FGM, without a stretch", "fcl-s2cnet-fgm-letterbox", "fcl-fgm-letterbox"),
    ("letterbox", "FCL and FGM, for a stretch", "fcl-fgm-letterbox", "fcl-fgm"),
)


class Draw(NamedTuple):
    """What differs between the runs of a row; rows are compared draw by draw.

    Attributes:
        seed: Of the training.
        split: Seed of the split; None: that of the params.
        demo: Seed of the embedded data set; None: that of the params.
    """

    seed: int
    split: int | None
    demo: int | None

    @property
    def name(self) -> str:
        """Part of the names of DVC experiments, such as `1`, or `1-split2-demo3`."""
        others = {"split": self.split, "demo": self.demo}
        return "-".join([str(self.seed), *(f"{key}{value}" for key, value in others.items() if value is not None)])

    def changes(self) -> dict[str, Any]:
        """Changes of params that make the draw."""
        others = {"split": self.split, "demo": self.demo}
        return {"train": {"seed": self.seed}} | {
            key: {"seed": value} for key, value in others.items() if value is not None
        }


def plan(draws: Sequence[Draw], *, epsilon: float) -> list[PlannedRun]:
    """The experiments of all rows, draw by draw.

    Args:
        draws: What every row is run with.
        epsilon: FGM's, where it is on.
    """
    return [
        PlannedRun(
            f"ablation-{row.name}-{draw.name}",
            {"row": row.name, "draw": draw.name},
            merge(row.changes(epsilon=epsilon), draw.changes()),
        )
        for draw in draws
        for row in ROWS
    ]


def summarise_row(row: Row, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation (n - 1; null for one run) of each metric over the draws of a row.

    Args:
        row: The row.
        found: The metrics of its runs.
    """
    result: dict[str, Any] = {
        "row": row.name, "fcl": row.fcl, "crop": row.crop, "shape": row.shape,
        "s2cnet": row.crop == "s2cnet", "fgm": row.fgm, "n": len(found),
    }  # fmt: skip
    for metric in (*VALIDATION, *SUMMARY):
        values = [one[metric] for one in found if metric in one]
        summary = summarise(values) if values else {"mean": None, "deviation": None}
        result |= {f"{metric}_mean": summary["mean"], f"{metric}_std": summary["deviation"]}
    return result | {"paper_mean": row.paper_mean}


def compare_steps(values: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """What each component changes, draw by draw.

    Args:
        values: Name of the row -> name of the draw -> metric.

    Returns:
        For each step the mean difference over the draws that both rows have, the 95 % interval and the p-value of a
        paired t-test (null below two draws) and the paper's difference, null where it has no such rows.
    """
    paper = {row.name: row.paper_mean for row in ROWS}
    steps = []
    for component, base, with_it, without in STEPS:
        draws = sorted(values[with_it].keys() & values[without].keys())
        pairs = np.array([(values[with_it][draw], values[without][draw]) for draw in draws]).reshape(-1, 2)
        differences = pairs[:, 0] - pairs[:, 1]
        low = high = p = None
        if len(draws) > 1 and np.ptp(differences) > ROUNDING:
            test = ttest_rel(pairs[:, 0], pairs[:, 1])
            low, high, p = (*map(float, test.confidence_interval(CONFIDENCE)), float(test.pvalue))
        printed, printed_without = paper[with_it], paper[without]
        steps.append(
            {
                "component": component, "added_to": base, "n": len(draws),
                "difference": float(differences.mean()) if len(draws) else None,
                "low": low, "high": high, "p": p,
                "paper_difference": printed and printed_without and round(printed - printed_without, 3),
            }
        )  # fmt: skip
    return steps


def report_of(
    results: Sequence[Mapping[str, Any]], draws: Sequence[Draw], *, commit: str, params: Params
) -> dict[str, Any]:
    """The report of the experiments.

    It names the commit, and by a digest the params that the rows change: a table of other code or params can be told.

    Args:
        results: As `run_series` yields them.
        draws: What every row was run with.
        commit: The commit that the experiments started from.
        params: The params that the rows change.

    Raises:
        ExperimentError: No experiment has finite metrics.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {row.name: {} for row in ROWS}
    failed = []
    for result in results:
        if all(math.isfinite(result.get(name, math.nan)) for name in SUMMARY):
            found[result["row"]][result["draw"]] = {key: result[key] for key in result if key not in LABELS}
        else:
            failed.append(result["experiment"])
    if not any(found.values()):
        raise ExperimentError("no experiment of the ablation has metrics; DVC's messages are above")
    steps = compare_steps({name: {draw: one["mean"] for draw, one in runs.items()} for name, runs in found.items()})
    return {
        "commit": commit,
        "params": params_digest(params),
        "draws": [draw.name for draw in draws],
        "rows": [summarise_row(row, list(found[row.name].values())) for row in ROWS],
        "steps": steps,
        "reading": reading(steps),
        "runs": found,
        "failed": failed,
    }


def make_draws(params: Params, *, seeds: Sequence[int], splits: Sequence[int], demos: Sequence[int]) -> list[Draw]:
    """All combinations of seeds, those that need the same data one after the other.

    Args:
        params: The params that the rows change.
        seeds: Of the training.
        splits: Of the split; empty: the params' own.
        demos: Of the embedded data set; empty: the params' own.

    Raises:
        ExperimentError: The rows could not be told apart, or a draw would run twice.
    """
    for option, values in (("seeds", seeds), ("splits", splits), ("demos", demos)):
        if len(set(values)) < len(values):
            raise ExperimentError(f"--{option} {' '.join(map(str, values))}: one stands there twice")
    if params.method != METHOD:
        raise ExperimentError(f"method is {params.method} in params.yaml: the rows are parts of {METHOD}")
    if params.train.fgm.epsilon == 0:
        raise ExperimentError("train.fgm.epsilon is 0 in params.yaml: the rows with FGM need a value above 0")
    return [Draw(seed, split, demo) for demo in demos or (None,) for split in splits or (None,) for seed in seeds]


Seeds = Annotated[Sequence[Count], Parameter(metavar="SEED", consume_multiple=(1, None))]


def ablation(
    *,
    seeds: Seeds = (1, 2, 3, 4, 5),
    splits: Seeds = (),
    demos: Seeds = (),
    jobs: PositiveCount = 1,
    results: Folder = RESULTS,
    collect_only: bool = False,
) -> int:
    """Repeat the paper's table II on your data: components switched one by one, over seeds.

    The rows times the draws are run as DVC experiments; what DVC has run before comes from its cache. The report is
    RESULTS/ablation.json and .md. Exit status 1 when a run failed.

    Args:
        seeds: Seeds of the training; several may follow.
        splits: Seeds of the split; none: that of params.yaml.
        demos: Seeds of the embedded data set; none: that of params.yaml.
        jobs: Experiments at a time; several go through DVC's queue, and what else stands there runs too.
        results: Folder of metrics.json and the report.
        collect_only: Report on what has run, run nothing.

    Returns:
        The exit status.

    Raises:
        ExperimentError: The rows cannot be run, or none has metrics.
    """
    params = load_params()
    draws = make_draws(params, seeds=seeds, splits=splits, demos=demos)
    commit = present_commit()
    found = run_series(
        "ablation",
        plan(draws, epsilon=params.train.fgm.epsilon),
        commit=commit,
        metrics=f"{results.as_posix()}/metrics.json",
        jobs=jobs,
        collect_only=collect_only,
    )
    report = report_of(list(found), draws, commit=commit, params=params)
    write_json(results / "ablation.json", report)
    write_text(results / "ablation.md", markdown(report))
    print(markdown(report), end="")
    return 1 if report["failed"] else 0
