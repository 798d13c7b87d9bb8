"""What an ablation says: its table as Markdown, and a sentence on each step."""

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from stages.evaluation.metrics import SUMMARY, VALIDATION, label_of

SHORT = 8
COLUMNS = (*VALIDATION, *SUMMARY)
# crop.method in the table.
CROPS = {"full": "whole frame", "s2cnet": "S²CNet", "center": "center", "random": "random"}


def reading(steps: Sequence[Mapping[str, Any]]) -> str:
    """One line per step: it helps or hurts when the interval excludes zero; otherwise noise may hide it.

    Args:
        steps: The `steps` of ablation.json.
    """
    lines = []
    for step in steps:
        head = f"{step['component']}, added to {step['added_to']}"
        if step["difference"] is None:
            lines.append(f"- {head}: no draw has both rows.")
            continue
        size = f"{step['difference']:+.4f} over {step['n']} draws"
        if step["low"] is None:
            lines.append(f"- {head}: {size}; too few runs for an interval.")
            continue
        verdict = "helps" if step["low"] > 0 else "hurts" if step["high"] < 0 else "no effect beyond the noise"
        lines.append(f"- {head}: {verdict} ({size}, 95 % interval {_interval(step)}).")
    return "\n".join(lines)


def markdown(report: Mapping[str, Any]) -> str:
    """The report of an ablation as Markdown.

    Args:
        report: The object in ablation.json.
    """
    head = ["FCL", "crop", "FGM", "runs", *map(label_of, COLUMNS), "paper, T2VQA-DB"]
    cells = [
        ["✓" if row["fcl"] else "", _crop(row), "✓" if row["fgm"] else "", row["n"],
         *(_spread(row, metric) for metric in COLUMNS),
         "" if row["paper_mean"] is None else f"{row['paper_mean']:.3f}"]
        for row in report["rows"]
    ]  # fmt: skip
    step_cells = [
        [step["component"], step["added_to"], _number(step["difference"]), _interval(step),
         "" if step["p"] is None else f"{step['p']:.3f}",
         "" if step["paper_difference"] is None else f"{step['paper_difference']:+.3f}"]
        for step in report["steps"]
    ]  # fmt: skip
    columns = ["component", "added to", "difference of the mean", "95 % interval", "p", "paper"]
    lines = [
        "# Ablation",
        "",
        f"`aigc-vqa ablation`, draws {', '.join(report['draws'])} (seeds of training, split and demo): mean "
        "± standard deviation over the draws. The validation columns are what rows may be chosen by; the others are "
        "those of the test part.",
        f"Commit {report['commit'][:SHORT]}, params {report['params'][:SHORT]} (as ablation.json has them in full).",
        "The paper's column is another data set and another backbone: only directions compare.",
        "",
        tabulate(cells, headers=head, tablefmt="github", disable_numparse=True),
        "",
        "What a component changes, draw by draw (paired t-test, mean of SROCC, PLCC and KROCC):",
        "",
        tabulate(step_cells, headers=columns, tablefmt="github", disable_numparse=True),
        "",
        report["reading"],
    ]
    if report["failed"]:
        lines += ["", f"Runs without metrics: {', '.join(report['failed'])}."]
    return "\n".join(lines) + "\n"


def _crop(row: Mapping[str, Any]) -> str:
    return CROPS[row["crop"]] + ("" if row["shape"] == "stretch" else f", {row['shape']}")


def _spread(row: Mapping[str, Any], metric: str) -> str:
    mean, deviation = row[f"{metric}_mean"], row[f"{metric}_std"]
    if mean is None:
        return ""
    return f"{mean:.4f}" if deviation is None else f"{mean:.4f} ± {deviation:.4f}"


def _interval(step: Mapping[str, Any]) -> str:
    return "" if step["low"] is None else f"{step['low']:+.4f} to {step['high']:+.4f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"
