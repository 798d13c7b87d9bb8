"""`aigc-vqa protocol`: the same experiment over many splits, each a DVC experiment, and what they have in common.

One split is one draw: its SROCC says little about the next one's. Published numbers are means or medians over splits,
and they depend on how videos are dealt (by group, by video, by the data set's own lists, a generator left out), so both
stand in the report.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from tabulate import tabulate

from stages.datasets.adapters import read_entries
from stages.datasets.labels import Entry
from stages.engine.options import Folder, PositiveCount, Preset
from stages.errors import ExperimentError
from stages.evaluation.metrics import COMPARED, VALIDATION
from stages.experiments.dvc import present_commit
from stages.experiments.series import PlannedRun, run_series, summarise
from stages.io.files import write_text
from stages.io.json import write_json
from stages.io.outs import RESULTS
from stages.params.load import load_params, merge
from stages.params.presets import read_preset
from stages.params.schema import Params

# Validation first: it is what presets may be chosen by.
COLUMNS = (*VALIDATION, *COMPARED)
Kind = Literal["group", "video", "dataset", "generator"]


def plan(
    params: Params,
    entries: Sequence[Entry],
    *,
    name: str,
    kinds: Sequence[str],
    splits: int,
    preset: Mapping[str, Any],
) -> list[PlannedRun]:
    """The runs of every kind: `splits` seeds from `split.seed` on, or one for each generator that is left out.

    The data set's own lists give one run where they have a val part, else `splits` draws of it from train.
    Raises ExperimentError when there are no lists, or fewer than two generators.
    """
    runs = []
    for kind in kinds:
        if kind == "generator":
            unknown = [entry.video_id for entry in entries if not entry.generator]
            generators = sorted({entry.generator for entry in entries if entry.generator})
            if generators and unknown:
                raise ExperimentError(
                    f"--by generator: the generator of {len(unknown)} of {len(entries)} videos is not known (first: "
                    f"{unknown[0]!r}); a column of the labels gives it, or dataset.generator_pattern finds it"
                )
            if len(generators) < 2:
                raise ExperimentError(
                    f"the labels name {len(generators)} generators, and leaving one out needs 2: labels need a "
                    "column for it, or dataset.generator_pattern has to find it in file names"
                )
            labels = [(one, {"seed": params.split.seed, "held_out": one}) for one in generators]
        else:
            parts = {entry.part for entry in entries}
            if kind == "dataset" and None in parts:
                raise ExperimentError(
                    "--by dataset: the labels have no parts for all videos (a column split, or lists)"
                )
            count = 1 if kind == "dataset" and "val" in parts else splits
            labels = [(f"seed {seed}", {"seed": seed}) for seed in range(params.split.seed, params.split.seed + count)]
        for number, (label, changes) in enumerate(labels):
            runs.append(
                PlannedRun(
                    f"protocol-{name}-{kind}-{number}",
                    {"by": kind, "label": label},
                    merge(preset, {"split": {"by": kind, **changes}}),
                )
            )
    return runs


def summaries(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Kind of split -> metric -> `summarise` over the runs that have it."""
    result: dict[str, dict[str, dict[str, float | int | None]]] = {}
    for kind in dict.fromkeys(row["by"] for row in rows):
        metrics = {name: [row[name] for row in rows if row["by"] == kind and name in row] for name in COLUMNS}
        result[kind] = {name: summarise(values) for name, values in metrics.items() if values}
    return result


def markdown(report: dict[str, Any]) -> str:
    """The report for people: every run, then each metric's mean, deviation and median, then how the kinds differ."""
    lines = [f"# {report['title']}", ""]
    for kind, metrics in report["summary"].items():
        rows = [row for row in report["runs"] if row["by"] == kind]
        done = sum("failed" not in row for row in rows)
        head = ["split", "test videos", "failed videos", *metrics]
        counts = [[row["label"], row.get("n_scored", ""), row.get("n_failed", "")] for row in rows]
        cells = [[*count, *(_number(row, key) for key in metrics)] for count, row in zip(counts, rows, strict=True)]
        lines += [f"## Split by {kind}: {done} of {len(rows)} runs", "", _table(head, cells), ""]
        lines += [f"- {row['label']}: {row['failed']}" for row in rows if "failed" in row]
        columns = ("mean", "deviation", "median", "low", "high")
        cells = [[name, *(_number(values, key) for key in columns)] for name, values in metrics.items()]
        lines += [_table(["metric", *columns], cells), ""] if cells else [""]
    first, *others = report["summary"]
    if others:
        means = {kind: {name: one["mean"] for name, one in found.items()} for kind, found in report["summary"].items()}
        names = [name for name in COLUMNS if all(name in one for one in means.values())]
        cells = [[kind, *(f"{means[kind][name] - means[first][name]:+.4f}" for name in names)] for kind in others]
        lines += [f"## Difference of the means to the split by {first}", "", _table(["split", *names], cells), ""]
    lines.append("Splits share videos: the deviation tells how much a draw matters, and is no error of the mean.")
    return "\n".join(lines) + "\n"


def _number(values: Mapping[str, Any], key: str) -> str:
    return "" if values.get(key) is None else f"{values[key]:.4f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return tabulate(rows, headers=head, tablefmt="github", disable_numparse=True)


def protocol(
    *,
    preset: Preset = None,
    by: Annotated[Sequence[Kind], Parameter(metavar="KIND", consume_multiple=(1, None))] = ("group",),
    splits: Annotated[PositiveCount, Parameter(metavar="K")] = 10,
    results: Folder = RESULTS,
) -> int:
    """Repeat the experiment over splits: mean, deviation, median.

    Every split is a DVC experiment in a temporary folder, so data and weights have to be tracked by DVC or Git. The
    report is written anew after every run: RESULTS/protocol-NAME-KINDS.json and .md. Exit status 1 when a run failed.

    Args:
        preset: Preset over params.yaml; several are joined by +.
        by: How videos are dealt; several may follow.
        splits: Number of seeds, from `split.seed` on.
        results: Folder of metrics.json and the report.

    Returns:
        The exit status.

    Raises:
        ExperimentError: The runs cannot be planned.
        ParamsError: The params or the preset are wrong.
        DatasetError: The labels cannot be read.
    """
    name = (preset or "params").replace("/", "-")
    params, changes = read_preset(preset) if preset else (load_params(), {})
    commit = present_commit()
    entries = read_entries(params.dataset, Path(params.dataset.root))
    kinds = list(dict.fromkeys(by))
    runs = plan(params, entries, name=name, kinds=kinds, splits=splits, preset=changes)
    out = results / "-".join(["protocol", name, *kinds])
    title = f"Protocol of {f'the preset {preset}' if preset else 'params.yaml'}"
    rows: list[dict[str, Any]] = []
    for row in run_series("protocol", runs, commit=commit, metrics=f"{results.as_posix()}/metrics.json"):
        rows.append(row)
        report = {"title": title, "preset": preset, "runs": rows, "summary": summaries(rows)}
        write_json(out.with_name(f"{out.name}.json"), report)
        write_text(out.with_name(f"{out.name}.md"), markdown(report))
    failed = sum("failed" in row for row in rows)
    print(markdown(report), end="")
    print(f"protocol: {len(rows) - failed} of {len(rows)} runs done, written to {out}.md and .json")
    return 1 if failed else 0
