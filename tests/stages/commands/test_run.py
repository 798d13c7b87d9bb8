"""`aigc-vqa run`: the check before any work, and a real experiment on a one-stage project."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from stages.commands import main as cli
from stages.errors import ExperimentError, ParamsError
from stages.params.load import load_params
from tests.pipeline.toy import environment, make_one_stage

# Stands in for the pipeline: its metrics tell which values it was run with; a seed of 9 fails.
EVALUATE = """
import json, pathlib, sys, yaml
params = yaml.safe_load(open("params.yaml"))
pathlib.Path("results").mkdir(exist_ok=True)
found = {"seed": params["split"]["seed"], "by_video": int(params["split"]["by"] == "video")}
pathlib.Path("results/metrics.json").write_text(json.dumps(found))
print("the stage was run")
sys.exit(3 if found["seed"] == 9 else 0)
"""


@pytest.fixture
def project(workplace: Path, write_params: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project of one quick stage, in Git, with two presets."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    write_params(split={"seed": 1})
    (workplace / "presets").mkdir()
    (workplace / "presets/by_video.yaml").write_text("split: {by: video, seed: 2}\n")
    (workplace / "presets/long.yaml").write_text("based_on: by_video\ntrain: {epochs: 99}\n")
    return make_one_stage(workplace, EVALUATE, params=("split",))


def call(*arguments: str) -> int | None:
    return cli.call(["run", *arguments])


def test_presets_and_changes_reach_the_stage(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("--preset", "long", "-S", "split.seed=4", "-S", "dataset.pairs=", "--name", "mine") == 0
    assert json.loads(Path("results/metrics.json").read_text()) == {"seed": 4, "by_video": 1}
    params = load_params()
    assert (params.split.by, params.train.epochs, params.dataset.pairs) == ("video", 99, "")
    shown = capfd.readouterr().out
    assert "the stage was run" in shown
    assert "mine" in shown


def test_without_a_preset_params_yaml_is_run_as_it_is(project: Path) -> None:
    assert call() == 0
    assert json.loads(Path("results/metrics.json").read_text()) == {"seed": 1, "by_video": 0}


def test_a_run_that_fails_leaves_the_params_and_says_how_results_come_back(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call("--name", "first") == 0
    for command in (["add", "-A"], ["commit", "-q", "-m", "results"]):
        subprocess.run(["git", *command], check=True)
    before, metrics = Path("params.yaml").read_bytes(), Path("results/metrics.json").read_bytes()
    capfd.readouterr()
    assert call("-S", "split.seed=9") != 0
    assert Path("params.yaml").read_bytes() == before
    (words,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("Back to")]
    back = words.partition(": ")[2]
    assert back == "git checkout -- results/metrics.json && dvc checkout --allow-missing"
    assert Path("results/metrics.json").read_bytes() != metrics
    subprocess.run(back, shell=True, check=True)
    assert Path("results/metrics.json").read_bytes() == metrics


def test_what_is_missing_is_told_before_anything_is_run(project: Path) -> None:
    before = Path("params.yaml").read_bytes()
    with pytest.raises(ExperimentError) as caught:
        call(
            "-S",
            "methods.frame_consistency.pretrained=weights/none.safetensors",
            "-S",
            "methods.frame_consistency.backbone=resnet18.a1_in1k",
        )
    assert str(caught.value).splitlines() == [
        "nothing was run, since something is missing",
        "MISSING  methods.frame_consistency.pretrained  weights/none.safetensors: `make weights`",
    ]
    assert not Path("results").exists()
    assert Path("params.yaml").read_bytes() == before


def test_all_problems_are_told_before_anything_is_run(project: Path) -> None:
    (project / "presets/wrong.yaml").write_text("split: {sed: 3}\n")
    with pytest.raises(ParamsError) as caught:
        call("--preset", "by_video+wrong", "-S", "train.epochs=many", "--set", "decode.frames=0")
    message = str(caught.value)
    assert message.startswith("params.yaml and the preset by_video+wrong and -S: 3 problems")
    for text in ("split.sed: unknown key", "train.epochs = 'many'", "decode.frames = 0"):
        assert text in message
    assert not Path("results").exists()
    assert yaml.safe_load(Path("params.yaml").read_text())["split"]["seed"] == 1


def test_changes_that_are_none(project: Path) -> None:
    with pytest.raises(ParamsError) as caught:
        call("-S", "train.epochs", "-S", "train..seed=3", "-S", "=3")
    for text in ("'train.epochs'", "'train..seed=3'", "'=3'", "section.key=value"):
        assert text in str(caught.value)


def test_it_needs_a_repository(workplace: Path, write_params: Callable[..., None]) -> None:
    write_params()
    with pytest.raises(ExperimentError, match="git init"):
        call()
