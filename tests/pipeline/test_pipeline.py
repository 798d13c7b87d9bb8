"""The pipeline itself, on a toy: one clean run, a second that does nothing, one changed param, one added video."""

import io
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from stages.io.schemas import CROPS, FRAME_SCORES, FRAMES, PREDICTIONS, PROPOSALS
from stages.io.shards import Shards
from stages.io.tables import read_frame
from tests.conftest import read_stages
from tests.pipeline.toy import call, dvc, environment, make_project
from tests.rules.readme_graph import stage_name

STAGES = list(read_stages())

OWN = "methods.frame_consistency"


def ran(output: str) -> list[str]:
    return [stage for stage in STAGES if re.search(rf"Running stage '(inputs/dvc\.yaml:)?{stage}(@\w+)?'", output)]


def stale(project: Path) -> set[str]:
    """The stages whose own inputs changed, of those that the scores depend on."""
    status = dvc(project, "status", "--json", "--with-deps", "evaluate", "audit").stdout
    return {stage_name(address) for address in json.loads(status)}


def set_param(project: Path, section: str, key: str, value: object) -> None:
    path = project / "params.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    *parents, last = f"{section}.{key}".split(".")
    own = values
    for name in parents:
        own = own[name]
    own[last] = value
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def test_the_run_writes_what_the_design_promises(finished: Path) -> None:
    metrics = json.loads((finished / "results/metrics.json").read_text())
    assert metrics["n_expected"] == metrics["n_scored"] > 0
    assert all(np.isfinite(value) for value in metrics.values())
    frames, proposals, crops = (
        Shards(finished / "data" / name, schema=schema)
        for name, schema in (("frames", FRAMES), ("proposals", PROPOSALS), ("crops/s2cnet", CROPS))
    )
    assert len(frames.ids) == 18
    assert frames.ids == proposals.ids == crops.ids
    assert list(crops.made_by) == ["prepare", "decode", "propose", "crop"]
    one = crops.read(crops.ids[0]).to_pandas()
    assert one.groupby("frame_index")["selected"].sum().eq(1).all()
    assert one.loc[one.groupby("frame_index")["score"].idxmax(), "selected"].all()
    assert (finished / "results/detector.json").is_file()
    assert (finished / "results/cropper.json").is_file()


def test_a_second_run_does_nothing(finished: Path) -> None:
    assert ran(dvc(finished, "repro").stdout) == []


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("evaluate", "seed", 7, ["evaluate"]),
        (OWN, "loss", "mae", ["train", "predict", "evaluate"]),
        ("split", "seed", 3, ["split", "train", "predict", "evaluate"]),
        ("engine", "workers", 1, []),
        ("crop", "method", "center", ["blind", "train", "predict", "evaluate"]),
        ("propose", "every", 2, ["propose", "cropper", "crop", "train", "predict", "evaluate"]),
    ],
)
def test_one_changed_param_reruns_only_its_stages(
    project: Path, section: str, key: str, value: object, expected: list[str]
) -> None:
    set_param(project, section, key, value)
    # The rest of the list depends on those that `dvc status` names.
    assert stale(project) <= set(expected)
    # DVC's dry run ends with an error where it comes to an out that is not there yet, such as another method's crops.
    output = dvc(project, "repro", "--dry", check=False).stdout
    assert ran(output)[:1] == expected[:1]
    assert set(ran(output)) <= set(expected)


def test_a_new_version_of_a_library_reruns_the_stages_that_note_it(project: Path) -> None:
    path = project / "libraries.yaml"
    versions = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(versions | {"timm": "99"}), encoding="utf-8")
    assert stale(project) == {"detector", "propose", "cropper", "crop", "train", "predict"}


def test_what_is_only_measured_stops_at_the_detector(project: Path) -> None:
    """The weights have the bytes that they had, and nothing is trained for them."""
    set_param(project, "detector.training", "recall_boxes", 3)
    output = dvc(project, "repro").stdout
    assert ran(output) == ["detector"]
    assert "detector: trained already" in output


def test_one_added_video_costs_one_video(project: Path) -> None:
    demo = project / "data/raw/demo"
    dvc(project, "unprotect", "data/raw/demo")
    own = project / "data/raw/own"
    shutil.copytree(demo / "videos", own / "videos")
    lines = (demo / "info.txt").read_text(encoding="utf-8").splitlines()
    (own / "info.txt").write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    set_param(project, "dataset", "root", "data/raw/own")
    shutil.rmtree(project / ".cache")
    dvc(project, "repro", "inputs/dvc.yaml:crop")
    (own / "info.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    output = dvc(project, "repro", "inputs/dvc.yaml:crop").stdout
    for stage in ("prepare", "decode", "propose", "crop"):
        assert f"{stage}: 1 computed, 17 cached, 0 failed" in output
    assert not {"demo", "detector", "cropper"} & set(ran(output))


def rows_of(folder: Path, schema: pa.Schema) -> pd.DataFrame:
    shards = Shards(folder, schema=schema)
    return pa.concat_tables([shards.read(video_id) for video_id in shards.ids]).to_pandas()


@pytest.mark.parametrize("stage", ["decode", "propose", "crop"])
def test_a_killed_stage_goes_on_with_the_same_result(project: Path, stage: str) -> None:
    folder, schema = {
        "decode": ("frames", FRAMES), "propose": ("proposals", PROPOSALS), "crop": ("crops/s2cnet", CROPS),
    }[stage]  # fmt: skip
    before = rows_of(project / "data" / folder, schema)
    shutil.rmtree(project / ".cache" / stage)
    command = read_stages()[stage]["cmd"]
    command = shlex.split(command.replace("${dataset.root}", "data/raw/demo"))
    process = subprocess.Popen(
        [sys.executable, *command[1:]], cwd=project, env=environment(), stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list((project / ".cache" / stage).glob("*/*.item")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(list((project / ".cache" / stage).glob("*/[0-9a-f]*.item")))
    assert done > 0
    output = call(project, sys.executable, *command[1:]).stdout
    counts = re.search(rf"{stage}: (\d+) computed, (\d+) cached, 0 failed", output)
    assert counts is not None
    # A worker may finish its video between the count and its end: what is cached is not less than was seen.
    assert int(counts[1]) + int(counts[2]) == 18
    assert int(counts[2]) >= done
    after = rows_of(project / "data" / folder, schema)
    pd.testing.assert_frame_equal(after, before, check_exact=True)


def test_experiments_run_beside_the_work_and_are_compared(project: Path) -> None:
    """`dvc exp run --temp` leaves the working tree alone; `dvc exp show` puts the result beside it."""
    for command in (["add", "-A"], ["commit", "-q", "-m", "results"]):
        call(project, "git", *command)
    before = (project / "results/metrics.json").read_bytes()
    output = dvc(project, "exp", "run", "--temp", "--name", "with-mae", "-S", f"{OWN}.loss=mae").stdout
    assert ran(output) == ["train", "predict", "evaluate"]
    assert call(project, "git", "status", "--short").stdout == ""
    assert (project / "results/metrics.json").read_bytes() == before
    table = pd.read_csv(io.StringIO(dvc(project, "exp", "show", "--csv").stdout))
    assert table.loc[table["Experiment"] == "with-mae", f"{OWN}.loss"].tolist() == ["mae"]
    assert table["srocc"].notna().all()


def test_score_equals_the_predictions(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    call(
        finished, sys.executable, "-m", "stages.commands.main", "score", "data/raw/demo/videos", "--out", str(out),
        "--frames", "--device", "cpu",
    )  # fmt: skip
    rows = pd.read_csv(out).assign(video_id=lambda table: table["path"].map(lambda path: Path(path).name))
    expected = read_frame(finished / "results/predictions.parquet", schema=PREDICTIONS)
    both = rows.merge(expected, on="video_id", suffixes=("", "_expected"))
    assert len(both) == 18
    for name in ("score", "score_raw", "spread", "worst_time_s", "sharpness"):
        np.testing.assert_allclose(both[name], both[f"{name}_expected"], atol=1e-4)
    frames = read_frame(finished / "results/frame_scores.parquet", schema=FRAME_SCORES)
    scored = pd.read_csv(tmp_path / "scores.frames.csv")
    np.testing.assert_allclose(scored["score"].sort_values(), frames["score"].sort_values(), atol=1e-4)


def test_the_finished_run_is_reported_and_gated(project: Path) -> None:
    for command in (["add", "-A"], ["commit", "-q", "-m", "results"]):
        call(project, "git", *command)
    output = call(project, sys.executable, "-m", "stages.commands.main", "report", "--out", "page.html").stdout
    assert output.startswith("page.html: 18 videos")
    page = (project / "page.html").read_text(encoding="utf-8")
    assert page.count('<tr id="video-') == page.count("<img ") == 18
    assert "0 of 18 videos" in page
    gate = [sys.executable, "-m", "stages.commands.main", "gate", "--baseline", "HEAD"]
    # The baseline's predictions come out of DVC's cache; the toy's two test prompts are too few for intervals.
    too_few = "No intervals: the scored test videos are 2 whole groups (prompts)"
    assert too_few in call(project, *gate).stdout
    # The text of the page and of the gate is the same after the outs were deleted and checked out again.
    (project / "results/predictions.parquet").unlink()
    dvc(project, "checkout", "--allow-missing")
    assert too_few in call(project, *gate).stdout


def test_two_clean_runs_give_the_same_metrics(finished: Path, tmp_path: Path) -> None:
    """The second one without Git, as from an exported archive."""
    again = make_project(tmp_path, git=False)
    dvc(again, "repro")
    for name in ("metrics.json", "audit.json", "generators.json", "baselines.json", "detector.json", "cropper.json"):
        assert (again / "results" / name).read_bytes() == (finished / "results" / name).read_bytes()
    assert (again / "data/split.csv").read_bytes() == (finished / "data/split.csv").read_bytes()
