"""`aigc-vqa metrics`: the results of the last run as a table for people; the JSON files beside are for programs."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.errors import EvaluationError
from stages.io.json import number, read_json

# File, key, label, unit or format; rows whose file or key is not there are left out.
ROWS = (
    ("metrics.json", "srocc", "SROCC", "{:.4f}"),
    ("metrics.json", "srocc_ci_low", "  interval, low", "{:.4f}"),
    ("metrics.json", "srocc_ci_high", "  interval, high", "{:.4f}"),
    ("metrics.json", "plcc", "PLCC", "{:.4f}"),
    ("metrics.json", "plcc_logistic", "PLCC after a logistic fit", "{:.4f}"),
    ("metrics.json", "krocc", "KROCC", "{:.4f}"),
    ("metrics.json", "mean", "mean of SROCC, PLCC, KROCC", "{:.4f}"),
    ("metrics.json", "rmse", "RMSE, on MOS 0-100", "{:.2f}"),
    ("metrics.json", "within_prompt_accuracy", "right pairs within a prompt", "{:.4f}"),
    ("metrics.json", "rank1", "Rank1, pairs of two sources", "{:.4f}"),
    ("metrics.json", "n_rank1", "  pairs compared", "{:.0f}"),
    ("metrics.json", "n_rank1_rated", "  of rated pairs", "{:.0f}"),
    ("metrics.json", "rank2", "Rank2, pairs of one source", "{:.4f}"),
    ("metrics.json", "n_rank2", "  pairs compared", "{:.0f}"),
    ("metrics.json", "n_rank2_rated", "  of rated pairs", "{:.0f}"),
    ("metrics.json", "ntire_score", "NTIRE 2024 final score", "{:.4f}"),
    ("metrics.json", "n_expected", "test videos", "{:.0f}"),
    ("metrics.json", "n_scored", "  scored", "{:.0f}"),
    ("metrics.json", "n_failed", "  failed", "{:.0f}"),
    ("baselines.json", "sharpness_srocc", "SROCC of plain sharpness", "{:.4f}"),
    ("detector.json", "recall_at_n", "detector: recall, IoU 0.5", "{:.4f}"),
    ("cropper.json", "srcc", "cropper: SRCC", "{:.4f}"),
    ("cropper.json", "acc5", "cropper: Acc5", "{:.4f}"),
    ("cropper.json", "acc10", "cropper: Acc10", "{:.4f}"),
)


def add_arguments(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser("metrics", help="show the metrics of the last run")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the JSON files")
    parser.set_defaults(call=show)


def show(results: Path) -> None:
    """Print the table; raise EvaluationError when there are no metrics yet."""
    print(metrics_table(results))


def _is_unfitted(key: str, values: Mapping[str, float]) -> bool:
    return key == "plcc_logistic" and values.get("logistic_converged") == 0


def metrics_table(results: Path) -> str:
    """The lines for the screen; raise EvaluationError without metrics, and for files that hold none."""
    files = {name: read_json(results / name) for name, *_ in ROWS}
    path = results / "metrics.json"
    if files[path.name] is None:
        raise EvaluationError(f"{path}: no metrics yet; `dvc repro` writes them")
    lines = []
    for name, key, label, form in ROWS:
        values = files[name] or {}
        if key in values:
            flag = "  the fit failed: the plain PLCC" if _is_unfitted(key, values) else ""
            value = number(values[key])
            lines.append(f"{label:<28}{'none' if value is None else form.format(value):>9}{flag}")
    if not lines:
        raise EvaluationError(f"{path}: holds no metrics; `dvc repro` writes them")
    return "\n".join(lines)
