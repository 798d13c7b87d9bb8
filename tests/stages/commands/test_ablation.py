"""The ablation: rows and their changes, real DVC experiments on a one-stage project, and how differences are read."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.commands import main as cli
from stages.commands.ablation import ROWS, STEPS, Draw, compare_steps, make_draws, plan, report_of
from stages.errors import ExperimentError
from stages.evaluation.metrics import SUMMARY
from stages.experiments.ablation_table import reading
from stages.params.load import load_params
from tests.conftest import ROOT
from tests.pipeline.toy import environment, make_one_stage

# Stands in for the pipeline. FCL brings 0.10 and a hundredth a seed, S²CNet 0.05; FGM nothing; seed 9 needs FCL.
EVALUATE = """
import json, pathlib, yaml
params = yaml.safe_load(open("params.yaml"))
train, crop, loss = params["train"], params["crop"], params["methods"]["frame_consistency"]["loss"]
if train["seed"] == 9 and loss == "mae":
    raise SystemExit("no such luck")
mean = 0.5 + train["seed"] / 1000
mean += (0.1 + train["seed"] / 100) * (loss == "fcl") + 0.05 * (crop["method"] == "s2cnet")
pathlib.Path("results").mkdir(exist_ok=True)
metrics = dict.fromkeys(["srocc", "plcc", "krocc", "mean"], mean)
metrics |= {"val_srocc": 0.9, "epsilon": train["fgm"]["epsilon"]}
pathlib.Path("results/metrics.json").write_text(json.dumps(metrics))
"""


@pytest.fixture
def project(workplace: Path, write_params: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project of one quick stage, in Git."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    write_params()
    return make_one_stage(workplace, EVALUATE, params=("train", "crop", "methods"))


def call(*arguments: str) -> int | None:
    return cli.call(["ablation", *arguments])


def test_the_queue_runs_every_row_and_seed(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("--seeds", "1", "9", "--jobs", "2") == 1
    found = json.loads((project / "results/ablation.json").read_text())
    assert found["failed"] == ["ablation-none-9"]
    rows = {row["row"]: row for row in found["rows"]}
    assert list(rows) == [
        "none", "fcl", "fcl-fgm", "fcl-s2cnet", "fcl-s2cnet-fgm", "fcl-center-fgm", "fcl-random-fgm",
        "fcl-fgm-letterbox", "fcl-s2cnet-fgm-letterbox",
    ]  # fmt: skip
    assert [row["n"] for row in rows.values()] == [1] + 8 * [2]
    # Validation stands first in the table: rows may be chosen by it.
    assert rows["none"]["val_srocc_mean"] == pytest.approx(0.9)
    # 0.501; then 0.611 and 0.699: their mean is 0.655, their deviation 0.088 / sqrt 2.
    assert rows["none"]["mean_mean"] == pytest.approx(0.501)
    assert rows["none"]["mean_std"] is None
    assert rows["fcl"]["mean_mean"] == pytest.approx(0.655)
    assert rows["fcl"]["mean_std"] == pytest.approx(0.088 / 2**0.5)
    epsilons = {name: {run["epsilon"] for run in runs.values()} for name, runs in found["runs"].items()}
    shipped = yaml.safe_load((project / "params.yaml").read_text())["train"]["fgm"]["epsilon"]
    assert epsilons["fcl"] == {0}
    assert epsilons["fcl-s2cnet-fgm"] == {shipped}
    text = (project / "results/ablation.md").read_text()
    assert re.search(r"\| ✓ +\| S²CNet +\| +\| 2 +\| 0.9000 ± 0.0000 +\| +\| 0.7050 ± 0.0622 ", text)
    assert "Runs without metrics: ablation-none-9." in text
    assert (
        "ablation: 18 experiments queued, 2 at a time; what else is in DVC's queue runs too" in capfd.readouterr().out
    )
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert found["commit"] == head
    assert f"Commit {head[:8]}, params {found['params'][:8]} " in text


def test_a_table_of_other_params_can_be_told() -> None:
    metrics = dict.fromkeys(SUMMARY, 0.5)
    shipped = load_params(ROOT / "params.yaml")
    other = shipped.model_copy(update={"train": shipped.train.model_copy(update={"epochs": 99})})
    results = [{"experiment": "ablation-none-1", "row": "none", "draw": "1", **metrics}]
    draws = [Draw(1, None, None)]
    one, same, another = (
        report_of(results, draws, commit="c", params=params)["params"] for params in (shipped, shipped, other)
    )
    assert one == same != another


def values(**rows: tuple[float, ...]) -> dict[str, dict[str, float]]:
    every: dict[str, Any] = {row.name: (0.5, 0.5, 0.5) for row in ROWS} | {
        name.replace("_", "-"): own for name, own in rows.items()
    }
    return {name: {str(draw): value for draw, value in enumerate(own)} for name, own in every.items()}


def test_draws_are_all_combinations_and_name_what_they_change() -> None:
    shipped = load_params(ROOT / "params.yaml")
    draws = make_draws(shipped, seeds=[1, 2], splits=[7], demos=[8, 9])
    assert [draw.name for draw in draws] == ["1-split7-demo8", "2-split7-demo8", "1-split7-demo9", "2-split7-demo9"]
    runs = plan(draws, epsilon=0.5)
    assert len(runs) == len(ROWS) * 4
    last = runs[-1]
    assert last.name == "ablation-fcl-s2cnet-fgm-letterbox-2-split7-demo9"
    assert last.changes == {
        "crop": {"method": "s2cnet", "shape": "letterbox"},
        "methods": {"frame_consistency": {"loss": "fcl"}},
        "train": {"fgm": {"epsilon": 0.5}, "seed": 2},
        "split": {"seed": 7},
        "demo": {"seed": 9},
    }
    # Without options of their own, split and demo are those of the params.
    assert make_draws(shipped, seeds=[1], splits=(), demos=())[0].changes() == {"train": {"seed": 1}}


def test_differences_are_paired_by_draw() -> None:
    # FCL brings 0.1, 0.2, 0.3: mean 0.2, standard error 0.1 / sqrt 3 = 0.0577, t(0.975, 2) = 4.3027: 0.2 +- 0.2484.
    steps = compare_steps(values(none=(0.4, 0.5, 0.6), fcl=(0.5, 0.7, 0.9)))
    first = steps[0]
    assert (first["component"], first["n"]) == ("FCL", 3)
    assert first["difference"] == pytest.approx(0.2)
    assert [first["low"], first["high"]] == pytest.approx([-0.0484, 0.4484], abs=1e-4)
    assert [step["paper_difference"] for step in steps] == [0.007, 0.003, 0.012, 0.011, 0.002, None, None, None, None]


def test_a_seed_without_its_pair_does_not_count() -> None:
    found = values()
    found["none"] = {"1": 0.4, "2": 0.4}
    found["fcl"] = {"2": 0.5, "3": 0.9}
    assert compare_steps(found)[0] | {"low": None} == compare_steps(found)[0]
    assert compare_steps(found)[0]["difference"] == pytest.approx(0.1)
    found["fcl"] = {"3": 0.9}
    assert compare_steps(found)[0]["difference"] is None


def test_the_reading_follows_the_interval() -> None:
    # Differences of 0.10 to 0.12, of -0.10 to -0.12, of -0.1 to 0.1, and none at all.
    text = reading(
        compare_steps(
            values(
                none=(0.40, 0.39, 0.38), fcl_fgm=(0.4, 0.39, 0.38), fcl_s2cnet=(0.4, 0.5, 0.6),
                fcl_s2cnet_fgm=(0.5, 0.49, 0.48),
            )
        )
    )  # fmt: skip
    lines = text.splitlines()
    assert len(lines) == len(STEPS)
    assert lines[0].startswith("- FCL, added to nothing: helps (+0.1100 over 3 draws, 95 % interval +0.08")
    assert lines[1].startswith("- FGM, added to FCL: hurts (-0.1100")
    assert lines[2].startswith("- S²CNet, added to FCL: no effect beyond the noise (+0.0000")
    one_seed = {name: {"0": own["0"]} for name, own in values().items()}
    assert reading(compare_steps(one_seed)).count("too few runs for an interval") == len(STEPS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "1", "1"], "--seeds 1 1: one stands there twice"),
        (["--splits", "2", "2"], "--splits 2 2: one stands there twice"),
        (["--collect-only"], "no experiment of the ablation has metrics"),
    ],
)
def test_misuse_is_said_before_work(project: Path, arguments: list[str], words: str) -> None:
    with pytest.raises(ExperimentError, match=words):
        call(*arguments)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--seeds", "-1"], 'invalid value "-1" for --seeds. Must be >= 0.'),
        (["--jobs", "0"], 'invalid value "0" for --jobs. Must be > 0.'),
        (["--seeds"], "--seeds"),
    ],
)
def test_numbers_out_of_range_are_misuse(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        call(*arguments)
    assert caught.value.code == 2
    assert problem in capsys.readouterr().err


def test_epsilon_zero_has_no_rows_with_fgm(project: Path, write_params: Callable[..., None]) -> None:
    write_params(train={"fgm": {"epsilon": 0}})
    with pytest.raises(ExperimentError, match=r"train\.fgm\.epsilon is 0"):
        call()


def test_experiments_need_a_repository(workplace: Path, write_params: Callable[..., None]) -> None:
    write_params()
    with pytest.raises(ExperimentError, match="need a Git repository"):
        call()
