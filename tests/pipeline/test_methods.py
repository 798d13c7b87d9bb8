"""The methods that the paper compares with run in the graph of the paper's own, and score as they predict."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.io.schemas import FRAME_SCORES, PREDICTIONS
from stages.io.tables import read_frame
from stages.io.weights import load_weights
from stages.params.load import merge
from stages.params.presets import preset_changes
from tests.conftest import ROOT
from tests.pipeline.toy import TOY, call, dvc

COMMAND = (sys.executable, "-m", "stages.commands.main")


def choose(project: Path, preset: str) -> None:
    path = project / "params.yaml"
    changes = merge(preset_changes(preset, folder=ROOT / "presets"), {"train": TOY["train"]})
    path.write_text(yaml.safe_dump(merge(yaml.safe_load(path.read_text()), changes), sort_keys=False))


@pytest.mark.parametrize("name", ["fast_vqa", "sama"])
def test_a_method_runs_and_scores(name: str, finished: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(finished, project, symlinks=True)
    choose(project, f"methods/{name}")
    output = dvc(project, "repro").stdout
    # No detector and no cropper.
    ran = re.findall(r"Running stage '(?:[\w/.]+:)?([\w@]+)'", output)
    assert ran == ["decode", "blind@full", "train", "predict", "evaluate"]
    assert f"blind: nothing to do: the method {name} reads no crops" in output
    _, about = load_weights(project / "weights/quality.safetensors")
    assert (about["method"], about["made_by"]["decode"]["plan"]) == (name, {"kind": "all"})
    assert "crop" not in about["made_by"]
    scores = read_frame(project / "results/frame_scores.parquet", schema=FRAME_SCORES)
    # Two clips a video.
    assert (scores.groupby("video_id").size() == 2).all()
    expected = read_frame(project / "results/predictions.parquet", schema=PREDICTIONS)
    assert expected["score"].std() > 0
    out = tmp_path / "scores.csv"
    call(project, *COMMAND, "score", "data/raw/demo/videos", "--out", str(out), "--device", "cpu")
    rows = pd.read_csv(out).assign(video_id=lambda table: table["path"].map(lambda path: Path(path).name))
    both = rows.merge(expected, on="video_id", suffixes=("", "_expected"))
    assert len(both) == len(expected)
    np.testing.assert_allclose(both["score"], both["score_expected"], atol=1e-4)


def test_stages_of_crops_have_nothing_to_do(finished: Path, tmp_path: Path) -> None:
    """Where crop.method asks for them all the same: no network is loaded, nothing is trained."""
    project = tmp_path / "project"
    shutil.copytree(finished, project, symlinks=True)
    choose(project, "methods/fast_vqa")
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("  method: full\n", "  method: s2cnet\n"))
    output = dvc(project, "repro", "train").stdout
    for stage in ("detector", "propose", "cropper", "crop"):
        assert f"{stage}: nothing to do: the method fast_vqa reads no crops" in output
    assert load_weights(project / "weights/detector.safetensors")[0] == {}
