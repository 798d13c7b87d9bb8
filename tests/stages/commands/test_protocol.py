"""The protocol: what is planned, real DVC experiments on a one-stage project, and what the report says of them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.commands import main as cli
from stages.commands import protocol
from stages.datasets.adapters import read_entries
from stages.errors import DatasetError, ExperimentError, ParamsError
from stages.experiments.series import summarise
from stages.params.load import load_params
from tests.pipeline.toy import environment, make_one_stage

# Stands in for the pipeline: it reads its split from params.yaml and writes metrics that tell which one it was.
EVALUATE = """
import json, pathlib, yaml
split = yaml.safe_load(open("params.yaml"))["split"]
if split["seed"] == 9:
    raise SystemExit("no such luck")
level = {"group": 0.7, "video": 0.8, "generator": 0.5, "dataset": 0.6}[split["by"]]
metrics = {"val_srocc": 0.9, "srocc": level + split["seed"] / 100, "plcc": 0.5, "n_scored": 20, "n_failed": 0}
if split["by"] == "generator":
    metrics["held_out_is_b"] = int(split["held_out"] == "b, 'c'")
pathlib.Path("results").mkdir(exist_ok=True)
pathlib.Path("results/metrics.json").write_text(json.dumps(metrics))
"""


@pytest.fixture
def project(workplace: Path, write_params: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project of one quick stage, in Git, with labels of two generators and two prompts."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    write_params(dataset={"root": "raw", "format": "table", "labels": "labels.csv"})
    (workplace / "raw").mkdir()
    generators = {"a": "a", "b": "\"b, 'c'\""}
    lines = [f"{name}_{prompt}.mp4,5,p{prompt},{own}" for name, own in generators.items() for prompt in "01"]
    (workplace / "raw/labels.csv").write_text("\n".join(["path,mos,prompt,generator", *lines]) + "\n")
    return make_one_stage(workplace, EVALUATE, params=("split",))


def call(*arguments: str) -> int | None:
    return cli.call(["protocol", *arguments])


def report(name: str = "params-group") -> dict:
    return json.loads(Path(f"results/protocol-{name}.json").read_text())


def test_seeded_splits_are_run_and_summed_up(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("--splits", "2", "--by", "group", "video") == 0
    found = report("params-group-video")
    assert [(row["by"], row["label"], row["experiment"]) for row in found["runs"]] == [
        (kind, f"seed {seed}", f"protocol-params-{kind}-{seed}") for kind in ("group", "video") for seed in range(2)
    ]
    # 0.70 and 0.71: deviation sqrt((0.5^2 + 0.5^2) / 1) / 100.
    srocc = found["summary"]["group"]["srocc"]
    assert srocc == {
        "mean": pytest.approx(0.705), "deviation": pytest.approx(0.5**0.5 / 100),
        "median": pytest.approx(0.705), "low": 0.7, "high": 0.71, "n": 2,
    }  # fmt: skip
    text = Path("results/protocol-params-group-video.md").read_text()
    assert "## Split by video: 2 of 2 runs" in text
    assert "| srocc     | 0.7050 | 0.0071      | 0.7050   |" in text
    assert "## Difference of the means to the split by group" in text
    assert "| video   | +0.0000     | +0.1000 | +0.0000 |" in text
    # The working tree is as it was but for the report; the experiments are DVC's, to be shown and applied.
    changed = subprocess.run(["git", "status", "--short", "-uall"], capture_output=True, text=True, check=True).stdout
    assert changed.split() == [
        "??",
        "results/protocol-params-group-video.json",
        "??",
        "results/protocol-params-group-video.md",
    ]
    references = subprocess.run(["git", "for-each-ref", "refs/exps"], capture_output=True, text=True, check=True).stdout
    assert references.count("/protocol-params-") == 4
    capfd.readouterr()
    # Again: every stage comes from the run cache, and the report is the same.
    assert call("--splits", "2") == 0
    assert "is cached - skipping run" in capfd.readouterr().out
    assert report()["summary"]["group"] == found["summary"]["group"]


def test_every_generator_is_left_out_once_under_a_preset(project: Path) -> None:
    (project / "presets").mkdir()
    (project / "presets/mine.yaml").write_text("split: {by: video, seed: 4}\n")
    assert call("--preset", "mine", "--by", "generator") == 0
    rows = report("mine-generator")["runs"]
    assert [(row["label"], row["held_out_is_b"]) for row in rows] == [("a", 0), ("b, 'c'", 1)]
    assert report("mine-generator")["summary"]["generator"]["srocc"]["mean"] == pytest.approx(0.54)


def test_a_run_that_fails_is_named_and_the_others_go_on(project: Path, write_params) -> None:
    write_params(dataset={"root": "raw", "format": "table", "labels": "labels.csv"}, split={"seed": 9})
    assert call("--splits", "2") == 1
    rows = report()["runs"]
    assert [row.get("srocc") for row in rows] == [None, pytest.approx(0.8)]
    assert rows[0]["failed"] == "dvc exp run ended with status 255"
    assert report()["summary"]["group"]["srocc"]["n"] == 1
    text = Path("results/protocol-params-group.md").read_text()
    assert "## Split by group: 1 of 2 runs" in text
    assert "- seed 9: dvc exp run ended with status 255" in text


def test_what_cannot_be_planned_stops_before_any_run(project: Path) -> None:
    with pytest.raises(SystemExit):
        call("--splits", "0")
    with pytest.raises(ParamsError, match="no preset 'kvq'"):
        call("--preset", "kvq")
    with pytest.raises(ExperimentError, match="the labels have no parts for all videos"):
        call("--by", "dataset")
    (project / "raw/labels.csv").write_text("path,mos\na_1.mp4,5\nb_1.mp4,500\n")
    with pytest.raises(DatasetError, match=r"labels.csv line 3: the MOS 500"):
        call()
    assert not Path("results").exists()
    assert not Path(".dvc/tmp/exps").exists()


def test_experiments_need_git(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory) -> None:
    (project / ".git").rename(tmp_path_factory.mktemp("away") / ".git")
    with pytest.raises(ExperimentError, match="experiments need a Git repository with a commit"):
        call()


def test_own_lists_with_val_are_one_run_and_without_it_several(project: Path, write_params) -> None:
    def planned(*parts: str) -> list[tuple[str, dict]]:
        rows = [f"v{number}.mp4,5,{part}" for number, part in enumerate(parts)]
        (project / "raw/labels.csv").write_text("\n".join(["path,mos,split", *rows]))
        params = load_params()
        entries = read_entries(params.dataset, Path("raw"))
        runs = protocol.plan(params, entries, name="x", kinds=["dataset"], splits=2, preset={})
        return [(run.name, run.changes) for run in runs]

    assert planned("train", "val", "test") == [("protocol-x-dataset-0", {"split": {"by": "dataset", "seed": 0}})]
    assert [changes["split"]["seed"] for _, changes in planned("train", "test")] == [0, 1]


def test_one_generator_cannot_be_left_out(project: Path) -> None:
    (project / "raw/labels.csv").write_text("path,mos,generator\na_1.mp4,5,a\n")
    with pytest.raises(ExperimentError, match="the labels name 1 generators, and leaving one out needs 2"):
        call("--by", "generator")
    (project / "raw/labels.csv").write_text("path,mos,generator\na_1.mp4,5,a\nb_1.mp4,5,b\nnine.mp4,5,\n")
    with pytest.raises(ExperimentError, match=r"the generator of 1 of 3 videos is not known \(first: 'nine.mp4'\)"):
        call("--by", "generator")


def test_one_value_has_no_deviation() -> None:
    assert summarise([0.5]) == {
        "mean": 0.5, "deviation": None, "median": 0.5, "low": 0.5, "high": 0.5, "n": 1,
    }  # fmt: skip
    # Median of an even number: between the two in the middle.
    assert summarise([4.0, 1.0, 2.0, 3.0])["median"] == 2.5
