"""What the gate cannot compare is exit status 2 and a sentence, never a pass and never a traceback."""

from pathlib import Path

import pytest

from stages.errors import EvaluationError
from tests.stages.commands.gate_run import gate, git, write_run


@pytest.mark.parametrize("text", ["{}", '{"n_videos": 576}', '{"n_failed": 0, "n_expected": 80}'])
def test_a_baseline_with_nothing_to_judge_is_misuse(project, capsys, text: str) -> None:
    Path("other.json").write_text(text, encoding="utf-8")
    assert gate(baseline="other.json") == 2
    assert "other.json: nothing to compare with; judged are: srocc, plcc, " in capsys.readouterr().err


def test_a_split_that_is_none_is_misuse(project, capsys) -> None:
    Path("results/predictions.parquet").unlink()
    wrong = (("video_id,set\n", "columns are video_id, set; needed: video_id, part"), ("", "not readable"))
    for text, message in wrong:
        Path("data/split.csv").write_text(text, encoding="utf-8")
        assert gate() == 2
        assert f"data/split.csv: {message}" in capsys.readouterr().err


def test_a_run_without_metrics_is_an_error_of_its_own(project) -> None:
    Path("results/metrics.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"metrics.json: a JSON object of metrics is needed, not list"):
        gate()
    Path("results/metrics.json").unlink()
    with pytest.raises(EvaluationError, match=r"metrics.json: no metrics to judge; `dvc repro` writes them"):
        gate()


@pytest.mark.parametrize(
    ("options", "baseline", "message"),
    [
        ((), "nowhere", "nowhere: no such Git revision here"),
        ((), "", "'': no Git revision; a branch, tag, commit or experiment is needed"),
        ((), " ", "' ': no Git revision"),
        ((), "workspace", "workspace: no such Git revision here"),
        ((), "results/metrics.json", "--baseline results/metrics.json: the run itself"),
        ((), "./data/../results/metrics.json", "the run itself"),
        ((), "main:results/metrics.json", "main:results/metrics.json: a file or folder in Git; the revision alone"),
        ((), "main^{tree}", "a file or folder in Git"),
        (("--tolerance", "srocc"), "main", "--tolerance srocc: KEY=VALUE is needed"),
        (("--tolerance", "srocc=much"), "main", "--tolerance srocc=much: a finite number is needed"),
        (("--tolerance", "srocc=-1"), "main", "a tolerance is 0 or more"),
        (("--floor", "sroc=0.5"), "main", "say --better sroc=higher or lower too"),
        (("--better", "srocc=up"), "main", "allowed: higher, lower"),
        ((), "params.yaml", "params.yaml: not JSON"),
    ],
)
def test_misuse_is_status_2(project, capsys, options, baseline, message) -> None:
    assert gate(*options, baseline=baseline) == 2
    assert message in capsys.readouterr().err


def test_a_revision_from_before_the_metrics_is_misuse(project, capsys) -> None:
    git("rm", "-q", "results/metrics.json")
    git("commit", "-q", "-m", "no metrics")
    write_run(noise=8.0)
    assert gate(baseline="HEAD") == 2
    assert "has no results/metrics.json" in capsys.readouterr().err
