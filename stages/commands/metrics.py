"""`aigc-vqa metrics`: the results of the last run as a table for people; the JSON files beside are for programs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.engine.options import Folder
from stages.errors import EvaluationError
from stages.evaluation.metrics import INTERVAL_ENDS, METRICS
from stages.io.json import number, read_json
from stages.io.outs import BASELINES_FILE, CROPPER_FILE, DETECTOR_FILE, METRICS_FILE, RESULTS
from stages.params.load import load_params

PARAMS = "params.yaml"
CHOOSERS = (DETECTOR_FILE, CROPPER_FILE)
# Of the other files: name, key, label. Rows whose file or key is not there are left out.
OTHERS = (
    (BASELINES_FILE, "sharpness_srocc", "SROCC of plain sharpness"),
    (BASELINES_FILE, "generator_srocc", "SROCC of labels: generator"),
    (BASELINES_FILE, "prompt_srocc", "SROCC of labels: prompt"),
    (BASELINES_FILE, "generator_prompt_srocc", "SROCC of labels: both"),
    (BASELINES_FILE, "generator_within_prompt_accuracy", "pairs by the generator alone"),
    (DETECTOR_FILE, "recall_at_n", "detector: recall, IoU 0.5"),
    (CROPPER_FILE, "srcc", "cropper: SRCC"),
    (CROPPER_FILE, "acc5", "cropper: Acc5"),
    (CROPPER_FILE, "acc10", "cropper: Acc10"),
)


def metrics(*, results: Folder = RESULTS) -> None:
    """Show the metrics of the last run.

    Args:
        results: Folder of the JSON files.

    Raises:
        EvaluationError: There are no metrics yet.
    """
    # The detector's and the cropper's numbers may be of a run before this one, which had no use for them.
    is_blind = Path(PARAMS).is_file() and not load_params(PARAMS).looks_for_crops
    print(metrics_table(results, without=CHOOSERS if is_blind else ()))


def _is_unfitted(key: str, values: Mapping[str, float]) -> bool:
    return key == "plcc_logistic" and values.get("logistic_converged") == 0


def metrics_table(results: Path, *, without: Sequence[str] = ()) -> str:
    """The lines for the screen; raise EvaluationError without metrics, and for files that hold none.

    Args:
        results: Folder of the JSON files.
        without: Files that are left out.
    """
    path = results / METRICS_FILE
    values = read_json(path)
    if values is None:
        raise EvaluationError(f"{path}: no metrics yet; `dvc repro` writes them")
    lines = []
    for key, metric in METRICS.items():
        # The flag stands beside the value that it is of.
        if key not in values or key == "logistic_converged":
            continue
        flag = "  the fit failed: the plain PLCC" if _is_unfitted(key, values) else ""
        lines.append(_line(metric.label, values[key], metric.digits, _interval(key, values) + flag))
    for name, key, label in OTHERS:
        others = {} if name in without else read_json(results / name) or {}
        if key in others:
            lines.append(_line(label, others[key], 4))
    if not lines:
        raise EvaluationError(f"{path}: holds no metrics; `dvc repro` writes them")
    return "\n".join(lines)


def _line(label: str, value: object, digits: int, note: str = "") -> str:
    known = number(value)
    return f"{label:<30}{'none' if known is None else f'{known:.{digits}f}':>9}{note}"


def _interval(key: str, values: Mapping[str, Any]) -> str:
    low, high = (number(values.get(f"{key}{end}")) for end in INTERVAL_ENDS)
    return "" if low is None or high is None else f"  ({low:.4f} to {high:.4f})"
