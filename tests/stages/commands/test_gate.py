"""The gate on real Git history: regressions fail, noise passes, other test videos and broken metrics fail."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from tests.stages.commands.gate_run import N_TEST, add_prompts, gate, git, save_metrics, write_run


def test_an_unchanged_run_passes_with_intervals_from_the_baselines_predictions(project, capsys) -> None:
    assert gate("--out", "gate.md") == 0
    text = capsys.readouterr().out
    assert "### Quality gate: passed, against main (" in text
    assert "+0.0000 to +0.0000" in text
    assert "alone" not in text
    assert "ci_low" not in text.replace("\\", "")
    assert Path("gate.md").read_text(encoding="utf-8") == text


def test_a_regression_fails_and_an_improvement_passes(project, capsys) -> None:
    write_run(noise=14.0, seed=2)
    assert gate() == 1
    text = capsys.readouterr().out
    assert "FAILED" in text
    assert "**regression**" in text
    # The same scores against the worse commit are an improvement.
    assert gate(baseline="old") == 0
    assert "| better" in capsys.readouterr().out
    assert gate(baseline="HEAD~1") == 0


def test_a_project_may_lie_in_a_folder_of_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`dvc init --subdir`: metrics from Git and predictions from DVC's cache are those of the folder."""
    folder = tmp_path / "mono" / "vqa"
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns(".git", "results", "data", "dvc.lock"))
    monkeypatch.chdir(folder)
    git("init", "-q", "-b", "main", "..")
    git("config", "user.name", "tester")
    git("config", "user.email", "tester@example.org")
    write_run(noise=8.0)
    with Repo() as repo:
        repo.commit(force=True)
    git("add", ".")
    git("commit", "-q", "-m", "run")
    write_run(noise=14.0, seed=2)
    assert gate() == 1
    text = capsys.readouterr().out
    assert "**regression**" in text
    assert "judged by" not in text


def test_noise_passes_though_the_tolerance_alone_would_fail_it(project, capsys) -> None:
    metrics = write_run(noise=7.6, seed=5)
    assert gate("--tolerance", "srocc=0.001", "--tolerance", "rmse=0", "--tolerance", "krocc=0") == 0
    assert "worse, within noise" in capsys.readouterr().out
    # Without the predictions of this run nothing tells noise from loss.
    Path("results/predictions.parquet").unlink()
    old = json.loads(subprocess.run(["git", "show", "main:results/metrics.json"], capture_output=True).stdout)
    assert metrics["srocc"] < old["srocc"] - 0.001
    assert gate("--tolerance", "srocc=0.001") == 1
    text = capsys.readouterr().out
    assert "has no readable results/predictions.parquet: judged by the metrics alone" in text.replace("\\", "")


def test_a_baseline_whose_predictions_are_gone_is_judged_by_its_metrics(project, capsys) -> None:
    shutil.rmtree(".dvc/cache/files")
    assert gate() == 0
    text = capsys.readouterr().out.replace("\\", "")
    assert "has no results/predictions.parquet that Git, DVC's cache or its remote holds): judged by" in text
    # split.csv is in Git: the test videos are compared all the same.
    write_run(noise=8.0, first=1)
    assert gate() == 1
    assert (
        "tested on different videos: 1 test videos are new (first: clip_0080.mp4)"
        in capsys.readouterr().out.replace("\\", "")
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": 5}, "5 test videos are gone (first: clip_0000.mp4)"),
        ({"shift": 0.5}, "80 test videos have another MOS (first: clip_0000.mp4)"),
        ({"n_failed": 2}, "above 0"),
    ],
)
def test_another_test_set_and_failed_videos_fail_however_good_the_metrics(project, capsys, change, message) -> None:
    write_run(noise=1.0, **change)
    assert gate() == 1
    assert message in capsys.readouterr().out.replace("\\", "")


def test_failed_videos_can_be_allowed(project) -> None:
    write_run(noise=8.0, n_failed=2)
    assert gate("--tolerance", "n_failed=1") == 1
    assert gate("--tolerance", "n_failed=2") == 0


@pytest.mark.parametrize(("value", "text"), [(float("nan"), "nan"), (None, "None"), ("high", "high"), (True, "True")])
def test_a_metric_that_is_no_number_fails(project, capsys, value, text) -> None:
    save_metrics(write_run(noise=1.0) | {"krocc": value})
    assert gate() == 1
    assert f"**not a finite number: {text}**" in capsys.readouterr().out


def test_a_metric_that_is_gone_fails_and_a_new_one_passes(project, capsys) -> None:
    metrics = write_run(noise=1.0)
    save_metrics({key: value for key, value in metrics.items() if key != "plcc"} | {"rank1": 0.9})
    assert gate() == 1
    assert "- Failed: PLCC" in capsys.readouterr().out
    assert gate("--better", "rank1=higher", "--floor", "rank1=0.95") == 1
    assert "**below 0.95**" in capsys.readouterr().out


def test_metrics_that_the_predictions_do_not_give_fail(project, capsys) -> None:
    save_metrics(write_run(noise=14.0) | {"srocc": 0.99, "plcc": 0.99, "krocc": 0.9, "mean": 0.96, "rmse": 1.0})
    assert gate() == 1
    assert "does not give the SROCC of" in capsys.readouterr().out


def test_floors_hold_for_both_directions_whatever_the_baseline_says(project, capsys) -> None:
    metrics = write_run(noise=9.0, seed=3)
    assert gate("--floor", f"srocc={metrics['srocc'] - 0.01}", "--floor", "rmse=12", baseline="old") == 0
    assert gate("--floor", f"srocc={metrics['srocc'] + 0.01}", baseline="old") == 1
    assert gate("--floor", "rmse=2", baseline="old") == 1
    assert "**above 2**" in capsys.readouterr().out


def test_a_file_is_a_baseline_too(project, capsys) -> None:
    Path("kept").mkdir()
    shutil.copy("results/metrics.json", "kept/metrics.json")
    assert gate(baseline="kept/metrics.json") == 0
    assert "judged by the metrics alone" in capsys.readouterr().out
    shutil.copy("results/predictions.parquet", "kept/predictions.parquet")
    assert gate(baseline="kept/metrics.json") == 0
    assert "alone" not in capsys.readouterr().out


def interval_cell(text: str, label: str) -> str:
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {label} ")]
    return row.split("|")[5].strip()


def test_pairs_within_a_prompt_have_an_interval_where_the_prompts_are_there(project, capsys) -> None:
    label = "right pairs within a prompt"
    add_prompts(write_run(noise=8.0))
    git("add", "results/metrics.json")
    git("commit", "-q", "-m", "prompts")
    assert gate() == 0
    # The same predictions: no draw of prompts makes a difference.
    assert interval_cell(capsys.readouterr().out, label) == "+0.0000 to +0.0000"
    add_prompts(write_run(noise=30.0, seed=3))
    assert gate() == 1
    low, high = map(float, interval_cell(text := capsys.readouterr().out, label).split(" to "))
    assert low < high < 0
    assert "alone" not in text
    Path("data/manifest.parquet").unlink()
    assert gate() == 1
    assert interval_cell(text := capsys.readouterr().out, label) == "tolerance alone"
    assert interval_cell(text, "SROCC") != "tolerance alone"
    assert "Prompts are not known (data/manifest.parquet: no such table" in text


def test_a_baseline_whose_predictions_are_of_another_run_is_judged_by_its_metrics(project, capsys) -> None:
    Path("kept").mkdir()
    metrics = json.loads(Path("results/metrics.json").read_text(encoding="utf-8"))
    Path("kept/metrics.json").write_text(json.dumps(metrics | {"srocc": metrics["srocc"] - 0.001}), encoding="utf-8")
    shutil.copy("results/predictions.parquet", "kept/predictions.parquet")
    assert gate(baseline="kept/metrics.json") == 0
    text = capsys.readouterr().out
    assert "The baseline's predictions do not give its metrics: judged by the metrics alone." in text
    assert interval_cell(text, "SROCC") == "tolerance alone"


def test_another_number_of_test_videos_fails_where_the_videos_are_not_known(project, capsys) -> None:
    metrics = json.loads(Path("results/metrics.json").read_text(encoding="utf-8"))
    Path("other.json").write_text(json.dumps(metrics | {"n_expected": N_TEST - 1}), encoding="utf-8")
    assert gate(baseline="other.json") == 1
    assert "**another number of test videos**" in capsys.readouterr().out
    Path("other.json").write_text(json.dumps(metrics), encoding="utf-8")
    assert gate(baseline="other.json") == 0


def test_a_baseline_that_is_no_number_fails(project, capsys) -> None:
    Path("other.json").write_text('{"srocc": NaN, "plcc": 0.5}', encoding="utf-8")
    assert gate(baseline="other.json") == 1
    assert "**the baseline is not a finite number: nan**" in capsys.readouterr().out
