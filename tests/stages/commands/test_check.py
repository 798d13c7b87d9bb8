"""`aigc-vqa check`: the stages of a run follow from the params; what is missing is named with who has it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.commands import check as module
from stages.commands import main as cli
from stages.commands.check import expect, find_needs, needs_table
from stages.experiments.graph import plan_run
from stages.params.load import check_params, flatten, merge, read_yaml
from stages.params.presets import preset_changes
from stages.params.schema import Params
from tests.conftest import PIPELINES, ROOT, write_dataset

SCORES = {"prepare", "split", "decode", "audit", "train", "predict", "evaluate"}


def params_of(preset: str | None = None, **changes: Any) -> Params:
    own = preset_changes(preset, folder=ROOT / "presets") if preset else {}
    return check_params(merge(merge(read_yaml(ROOT / "params.yaml"), own), changes), source="test")


def stages_of(params: Params) -> set[str]:
    return set(plan_run(dict(flatten(params.model_dump())), folder=ROOT).stages)


def test_the_demo_runs_all_but_blind_crops() -> None:
    assert stages_of(params_of()) == SCORES | {"demo", "detector", "propose", "cropper", "crop"}


@pytest.mark.parametrize("method", ["center", "random", "full"])
def test_blind_crops_run_no_detector_and_no_cropper(method: str) -> None:
    assert stages_of(params_of(crop={"method": method})) == SCORES | {"demo", f"blind@{method}"}
    assert stages_of(params_of("t2vqa_db", crop={"method": method})) == SCORES | {f"blind@{method}"}


def test_the_demo_is_rendered_only_where_something_of_it_is_read() -> None:
    assert stages_of(params_of("own")) == SCORES | {"blind@full"}
    with_objects = stages_of(params_of("own", crop={"method": "s2cnet"}))
    assert with_objects == SCORES | {"demo", "detector", "propose", "cropper", "crop"}


@pytest.fixture
def project(workplace: Path, write_params: Callable[..., None]) -> Path:
    """The graph without code, data or weights."""
    (workplace / "inputs").mkdir()
    for name in PIPELINES:
        (workplace / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    (workplace / "presets").symlink_to(ROOT / "presets")
    (workplace / "data").mkdir()
    (workplace / "data/fixed.csv").write_text("video_id,part\n")
    write_params()
    return workplace


def call(*arguments: str) -> int | None:
    return cli.call(["check", *arguments])


def test_what_is_missing_has_an_owner(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--preset", "t2vqa_db+detectors/coco") == 1
    lines = capsys.readouterr().out.splitlines()
    missing = [line.split(None, 3) for line in lines if line.startswith("MISSING")]
    assert {line[1]: line[2].strip(":") for line in missing} == {
        "dataset.root": "data/raw/t2vqa_db",
        "detector.source": "weights/pretrained/fasterrcnn_resnet50_fpn_v2_coco.pth",
        "cropper.source": "weights/pretrained/s2cnet_gaicv2.pth",
        "methods.frame_consistency.pretrained": "weights/pretrained/convnext_tiny.fb_in22k_ft_in1k.safetensors",
    }
    notes = {line[1]: line[3] for line in missing}
    assert notes["dataset.root"] == "put it there, or set dataset.root"
    assert notes["methods.frame_consistency.pretrained"] == "`make weights PRESET=t2vqa_db+detectors/coco`"
    assert "github.com/suyukun666/S2CNet" in notes["cropper.source"]
    assert lines[-1] == "check: 1 of 5 things are there"


def test_what_dvc_has_is_pulled(project: Path) -> None:
    (project / "data/raw").mkdir()
    (project / "data/raw/own.dvc").touch()
    params = params_of("own")
    needs = {need.what: need for need in find_needs(params, plan_run(dict(flatten(params.model_dump()))), preset="own")}
    assert needs["dataset.root"].note == "`dvc pull data/raw/own.dvc`"
    assert needs["split.fixed"].is_there
    assert needs["methods.frame_consistency.pretrained"].note == "`make weights PRESET=own`"
    assert "MISSING  methods.frame_consistency.pretrained  weights/pretrained/tf_efficientnet" in needs_table(
        [needs["methods.frame_consistency.pretrained"]]
    )


@pytest.mark.parametrize(
    ("method", "objects", "is_missing"),
    [("s2cnet", "detector", True), ("s2cnet", "files", False), ("center", "detector", False)],
)
def test_boxes_that_were_brought_along_train_no_cropper(
    project: Path, method: str, objects: str, is_missing: bool
) -> None:
    (project / "crops").mkdir()
    table = {"backend": "table", "source": "boxes.parquet"}
    cropper = {"source": "crops", "training": {"objects": objects}}
    params = params_of(detector=table, cropper=cropper, crop={"method": method})
    plan = plan_run(dict(flatten(params.model_dump())))
    names = {need.what for need in find_needs(params, plan, preset=None)}
    assert ("cropper.training.objects" in names) == is_missing
    assert ("detector.source" in names) == (method == "s2cnet")


def test_time_and_disk_come_from_the_videos_that_are_there(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(project / "data/raw/mine", prompts=2)
    split = {"val_fraction": 0.3, "test_fraction": 0.2}
    params = params_of(dataset={"root": "data/raw/mine"}, decode={"frames": 2}, split=split, train={"epochs": 4})
    monkeypatch.setattr(module, "step_seconds", lambda *_: 0.5)
    expected = expect(params, timed=True)
    assert expected is not None
    assert expected.n_videos == 4
    # Two PNGs of 32x48 px each: 3 copies of between one and five bytes a pixel.
    assert expected.disk_bytes is not None
    assert 3 * 4 * 2 * 32 * 48 * 0.5 < expected.disk_bytes < 3 * 4 * 2 * 32 * 48 * 5
    # 4 epochs of 4 videos of half a second; FGM's second pass on the half that trains, a third of a pass on
    # the validation part.
    assert expected.training_s == pytest.approx(4 * 4 * 0.5 * (2 * 0.5 + 0.3 / 3))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    changes = ("-S", "dataset.root=data/raw/mine", "-S", "crop.method=full", "-S", "decode.frames=2")
    assert call(*changes) == 1
    shown = capsys.readouterr().out
    assert "MISSING  disk" in shown
    assert "10 B free: make room, or lower decode.frames" in shown


def test_one_step_of_the_backbone_is_timed() -> None:
    assert 0 < module.step_seconds(params_of(methods={"frame_consistency": {"input_px": 32}})) < 60
