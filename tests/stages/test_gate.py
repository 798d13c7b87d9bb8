"""The gate on real Git history: regressions fail, noise passes, other test videos and broken metrics fail."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.metrics import krocc, paper_mean, plcc, rmse, srocc
from stages import cli
from stages.io.tables import PREDICTIONS, write_frame
from tests.conftest import ROOT

N_TEST = 80
DVC_YAML = """stages:
  predict:
    cmd: echo scores
    outs: [results/predictions.parquet]
  evaluate:
    cmd: echo metrics
    deps: [results/predictions.parquet]
    outs:
      - data/split.csv:
          cache: false
    metrics:
      - results/metrics.json:
          cache: false
"""


def write_run(*, noise: float, seed: int = 1, first: int = 0, n_failed: int = 0, shift: float = 0.0) -> dict:
    """Split, predictions and metrics of one run: scores are the MOS plus `noise`; other seeds are other trainings."""
    mos = np.random.default_rng(0).uniform(10, 90, first + N_TEST)[first:]
    score = mos + np.random.default_rng(seed).normal(0, noise, N_TEST)
    rows = pd.DataFrame({name: pd.Series([None] * N_TEST, dtype=object) for name in PREDICTIONS.names})
    rows["video_id"] = [f"clip_{number:04d}.mp4" for number in range(first, first + N_TEST)]
    rows["part"], rows["status"] = "test", "ok"
    rows["mos"], rows["score"] = mos + shift, score
    rows.loc[: n_failed - 1, ["status", "score"]] = ["failed", None]
    write_frame("results/predictions.parquet", rows, schema=PREDICTIONS, metadata={})
    Path("data").mkdir(exist_ok=True)
    rows[["video_id", "part"]].to_csv("data/split.csv", index=False)
    scored = rows[rows["status"] == "ok"]
    pair = scored["score"].astype(float), scored["mos"].astype(float)
    metrics = {"srocc": srocc(*pair), "plcc": plcc(*pair), "krocc": krocc(*pair)}
    metrics |= {"mean": paper_mean(**metrics), "rmse": rmse(*pair), "srocc_ci_low": metrics["srocc"] - 0.02}
    metrics |= {"n_expected": N_TEST, "n_scored": N_TEST - n_failed, "n_failed": n_failed}
    save_metrics(metrics)
    return metrics


def save_metrics(metrics: dict) -> None:
    Path("results/metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


def git(*command: str) -> None:
    subprocess.run(["git", *command], check=True, capture_output=True)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits with their outs in DVC's cache: tag `old` (much worse), then main (SROCC about 0.94)."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        git("init", "-q", "-b", "main")
        git("config", "user.name", "tester")
        git("config", "user.email", "tester@example.org")
        params = (ROOT / "params.yaml").read_text(encoding="utf-8")
        fewer = re.sub(r"bootstrap_samples: \d+", "bootstrap_samples: 100", params)
        (folder / "params.yaml").write_text(fewer, encoding="utf-8")
        Repo.init().close()
        with (folder / ".dvc" / "config").open("a", encoding="utf-8") as file:
            file.write(f"[core]\n    analytics = false\n    site_cache_dir = {folder / '.site-cache'}\n")
        (folder / ".gitignore").write_text(".site-cache/\n/results/predictions.parquet\n", encoding="utf-8")
        (folder / "dvc.yaml").write_text(DVC_YAML, encoding="utf-8")
        for noise, tag in ((30.0, "old"), (8.0, "good")):
            write_run(noise=noise)
            with Repo() as repo:
                repo.commit(force=True)
            git("add", ".")
            git("commit", "-q", "-m", tag)
            git("tag", tag)
    return folder


@pytest.fixture
def project(history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the history to change, as working directory."""
    copy = tmp_path / "project"
    shutil.copytree(history, copy, symlinks=True)
    monkeypatch.chdir(copy)
    return copy


def gate(*options: str, baseline: str = "main") -> int:
    arguments = vars(cli.parse(["gate", "--baseline", baseline, *options]))
    return arguments.pop("call")(**arguments)


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


@pytest.mark.parametrize(
    ("options", "baseline", "message"),
    [
        ((), "nowhere", "nowhere: no such Git revision here"),
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
