"""`aigc-vqa metrics`: what is shown, and what is said of files that hold no metrics."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stages.commands.metrics import metrics, metrics_table
from stages.errors import EvaluationError
from tests.stages.commands.report_run import write


def test_metrics_of_all_files_stand_in_one_table(tmp_path: Path) -> None:
    write(tmp_path / "metrics.json", {"srocc": 0.81234, "n_failed": 2, "plcc": None, "plcc_logistic": 0.7})
    write(tmp_path / "cropper.json", {"acc5": 0.5})
    lines = [line.split() for line in metrics_table(tmp_path).splitlines()]
    assert lines == [
        ["SROCC", "0.8123"],
        ["PLCC", "none"],
        ["PLCC,", "logistic", "fit", "0.7000"],
        ["failed", "videos", "2"],
        ["cropper:", "Acc5", "0.5000"],
    ]


def test_of_networks_that_this_run_did_not_use_nothing_is_shown(
    workplace: Path, write_params: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, values in (("metrics", {"srocc": 0.5}), ("detector", {"recall_at_n": 0.9}), ("cropper", {"acc5": 0.5})):
        write(workplace / f"results/{name}.json", values)
    shown = []
    for method in ("s2cnet", "center"):
        write_params(crop={"method": method})
        metrics()
        shown.append([line.split()[0] for line in capsys.readouterr().out.splitlines()])
    assert shown == [["SROCC", "detector:", "cropper:"], ["SROCC"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "metrics.json: no metrics yet; `dvc repro` writes them"),
        ("{}", "metrics.json: holds no metrics; `dvc repro` writes them"),
        ("<<<<<<< HEAD\n{}", "metrics.json: not JSON"),
        ("[1]", "metrics.json: a JSON object is needed, not list"),
    ],
)
def test_files_without_metrics(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(EvaluationError, match=message):
        metrics_table(tmp_path)
