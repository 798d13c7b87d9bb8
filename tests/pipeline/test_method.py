"""A further method costs one folder and one section: no other file of the project knows of it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.io.schemas import FRAME_SCORES, PREDICTIONS
from stages.io.tables import read_frame
from stages.io.weights import load_weights
from tests.pipeline.toy import call, dvc
from tests.pipeline.toy_method import add_method

COMMAND = (sys.executable, "-m", "stages.commands.main")


@pytest.fixture(scope="module")
def project(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished project, whose frames another method takes as they are."""
    project = tmp_path_factory.mktemp("method") / "project"
    shutil.copytree(finished, project, symlinks=True)
    add_method(project)
    output = dvc(project, "repro").stdout
    assert re.findall(r"Running stage '(\w+)'", output) == ["decode", "train", "predict", "evaluate"]
    # The toy reads the frames that were there.
    assert "decode: 0 computed, 18 cached, 0 failed" in output
    return project


def command(project: Path, *words: str) -> subprocess.CompletedProcess:
    return call(project, *COMMAND, *words)


def test_it_runs_from_frames_to_metrics(project: Path) -> None:
    metrics = json.loads((project / "results/metrics.json").read_text())
    assert metrics["n_expected"] == metrics["n_scored"] > 0
    _, about = load_weights(project / "weights/quality.safetensors")
    assert (about["method"], about["params"], about["network"]) == ("toy", {"cells": 4}, {"cells": 4})
    # Its own term is logged, and drawn with the others.
    assert about["best"]["train/square"] == about["best"]["train/loss"] > 0
    assert (project / "results/train/plots/metrics/train/square.tsv").is_file()
    scores = read_frame(project / "results/frame_scores.parquet", schema=FRAME_SCORES)
    # Three frames a video: halves of two and of one, shown by the frames in their middles.
    assert (scores.groupby("video_id").size() == 2).all()
    rows = read_frame(project / "results/predictions.parquet", schema=PREDICTIONS).set_index("video_id")
    np.testing.assert_allclose(rows["score"], scores.groupby("video_id")["score"].mean()[rows.index])


def test_only_its_own_section_makes_it_stale(project: Path) -> None:
    path = project / "params.yaml"
    text = path.read_text()
    try:
        for old, new, expected in (("cells: 4", "cells: 5", {"train"}), ("dropout: 0.1", "dropout: 0.2", set())):
            # The last dropout is that of a method which is not the chosen one.
            head, _, tail = text.rpartition(old)
            path.write_text(f"{head}{new}{tail}")
            stages = json.loads(dvc(project, "status", "--json").stdout)
            # Blind crops, which nothing here asks for, were never made.
            changed = {name for name in stages if "blind" not in name}
            assert changed == expected
    finally:
        path.write_text(text)


def test_it_scores_is_exported_and_reported(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    command(project, "score", "data/raw/demo/videos", "--out", str(out), "--frames", "--device", "cpu")
    rows = pd.read_csv(out).assign(video_id=lambda table: table["path"].map(lambda path: Path(path).name))
    expected = read_frame(project / "results/predictions.parquet", schema=PREDICTIONS)
    both = rows.merge(expected, on="video_id", suffixes=("", "_expected"))
    assert len(both) == 18
    np.testing.assert_allclose(both["score"], both["score_expected"], atol=1e-4)
    exported = command(project, "export", "--format", "torchscript", "--out", str(tmp_path / "toy.torchscript")).stdout
    assert "mean colours (N, C, C, 3)" in exported
    assert "logit (N,) float32" in exported
    video = next((project / "data/raw/demo/videos").iterdir())
    drawn = call(project, *COMMAND, "crops", str(video), "--out", "one.png", check=False)
    assert "the method toy reads no crops: there are none to draw" in drawn.stderr
    assert command(project, "report", "--out", "page.html").stdout.startswith("page.html: 18 videos")


def test_weights_of_a_method_that_is_not_there_are_named(project: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    for file in (project / "weights").iterdir():
        (weights / file.name).write_bytes(file.read_bytes())
    words = [sys.executable, "-m", "stages.commands.main", "score", str(project / "data/raw/demo/videos")]
    # This project has no such folder.
    done = subprocess.run(
        [*words, "--model", str(weights)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode != 0
    assert "method = 'toy'; there are: fast_vqa, frame_consistency" in done.stderr
