"""The run that the report compares with: from Git, and only where it was tested on the same videos."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.errors import RevisionError
from stages.io.schemas import PREDICTIONS
from stages.io.tables import read_frame, write_frame
from tests.stages.commands.report_run import WORST, make_run, metrics_of, report, write


def git(*command: str) -> str:
    return subprocess.run(["git", *command], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def in_git(workplace: Path, write_params: Callable[..., None]) -> Callable[[dict[str, float]], str]:
    """Commit what is there under the given metrics; the abbreviated commit."""
    write_params(evaluate={"bootstrap_samples": 100})
    git("init", "-q", "-b", "main")
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text(f"[core]\n    analytics = false\n    site_cache_dir = {workplace / '.site'}\n")

    def commit(metrics: dict[str, float]) -> str:
        write(Path("results/metrics.json"), metrics)
        git("add", "--all", "results", "data", ".dvc/config")
        git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "run")
        return git("rev-parse", "--short", "HEAD")

    return commit


def test_the_metrics_before_come_from_git(in_git: Callable[[dict[str, float]], str]) -> None:
    metrics = make_run()
    first = in_git(metrics | {"srocc": metrics["srocc"] - 0.05, "rmse": metrics["rmse"] + 1})
    second = in_git(metrics)
    # This run is the last commit: what it is compared with is the one before.
    page = report()
    assert f"Compared with {first}" in page.text
    assert "+0.050 better" in page.text
    assert "−1.00 better" in page.text
    assert "is not known" not in page.text
    assert f"commit {second}" in page.text
    assert "same" in report("--baseline", "main").text
    with pytest.raises(RevisionError, match="nowhere: no such Git revision"):
        report("--baseline", "nowhere")
    with pytest.raises(RevisionError, match="'': no Git revision"):
        report("--baseline", "")


@pytest.mark.parametrize(("noise", "verdict"), [(1.0, "within noise"), (60.0, "better")])
def test_a_change_that_resampling_cannot_tell_from_none_is_within_noise(
    in_git: Callable[[dict[str, float]], str], noise: float, verdict: str
) -> None:
    make_run()
    now = read_frame("results/predictions.parquet", schema=PREDICTIONS)
    earlier = now.assign(score=now["score"] + np.random.default_rng(1).normal(0, noise, len(now)))
    write_frame("results/predictions.parquet", earlier, schema=PREDICTIONS, metadata={"made_by": {}})
    in_git(metrics_of(earlier))
    write_frame("results/predictions.parquet", now, schema=PREDICTIONS, metadata={"made_by": {}})
    write(Path("results/metrics.json"), metrics_of(now))
    page = report()
    assert "resampling the test videos of both runs" in page.text
    found = re.search(r"RMSE.*[+−][\d.]+ (better|worse|within noise)", page.text)
    assert found
    assert found[1] == verdict
    # Colour is for what is told from chance.
    tones = {str(cell["class"]) for cell in page.all("td") if "class" in cell}
    assert ("n better" in tones) == (verdict == "better")
    assert "n worse" not in tones


@pytest.mark.parametrize("by", ["predictions", "split", "count"])
def test_a_run_on_other_test_videos_is_no_run_to_compare_with(
    in_git: Callable[[dict[str, float]], str], by: str
) -> None:
    metrics = make_run()
    rows = read_frame("results/predictions.parquet", schema=PREDICTIONS)
    now = rows["part"] == "test"
    then = now & (rows["video_id"] != WORST)
    if by == "predictions":
        write_frame("results/predictions.parquet", rows.loc[then], schema=PREDICTIONS, metadata={"made_by": {}})
    else:
        Path("results/predictions.parquet").unlink()
    if by == "split":
        parts = rows.assign(part=then.map({True: "test", False: "train"}))[["video_id", "part"]]
        parts.to_csv("data/split.csv", index=False)
    earlier = in_git(metrics | {"srocc": metrics["srocc"] - 0.05, "n_expected": metrics["n_expected"] - 1})
    write(Path("results/metrics.json"), metrics)
    write_frame("results/predictions.parquet", rows, schema=PREDICTIONS, metadata={"made_by": {}})
    page = report()
    assert f"{earlier} was tested on other videos, so nothing here is better or worse than it:" in page.text
    reason = {"count": f"{now.sum()} test videos here, {then.sum()} there"}
    assert reason.get(by, f"1 test videos are new (first: {WORST})") in page.text
    assert f"{metrics['srocc'] - 0.05:.3f}" in page.text
    for word in (" better", " worse", "Compared with"):
        assert word not in page.text.replace("better or worse than it", "").replace("baselines", "")
