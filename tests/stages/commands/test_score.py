"""The score command on good and bad files, with small random weights: rows, reasons, exit status, formats."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.detectors.build import build_detector
from models.methods.frame_consistency.network import build_quality
from models.s2cnet.network import build_s2cnet
from stages.commands import main as cli
from stages.commands.crops import crops
from stages.errors import DatasetError, VideoError, WeightsError
from stages.io.digests import file_sha256, library_versions
from stages.io.weights import save_weights
from stages.params.load import load_params
from stages.steps.crops import save_cropper
from stages.steps.detectors import detector_values, save_detector
from stages.steps.scorer import Scorer
from tests.configs import faster_rcnn_config, frame_consistency_weights, quality_config, reliability, s2cnet_config
from tests.conftest import ROOT, noise_clip, write_clip

PARAMS = load_params(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three weights files, random and tiny."""
    folder = tmp_path_factory.mktemp("weights")
    detector = build_detector(
        faster_rcnn_config("timm_fpn", 1, 32, 64, backbone="test_resnet", fpn_channels=8, head_channels=8), seed=1
    )
    save_detector(folder / "detector.safetensors", detector, classes=["object"], made_by={})
    config = s2cnet_config(
        variant="paper", backbone="test_resnet", reduced_channels=2, align_size=3, embed_width=8, heads=2, layers=1,
        mlp_width=8, head_width=12, input_short_side_px=32, readout="candidate",
    )  # fmt: skip
    cropper = build_s2cnet(config, seed=1)
    save_cropper(folder / "s2cnet.safetensors", cropper, mos_mean=3, mos_std=1, config={})
    quality = quality_config("test_resnet", "mean_std", 0.1, 32)
    made_by = {
        "prepare": {"params": PARAMS.dataset.model_dump() | {"mos_min": 1.0, "mos_max": 5.0}},
        "decode": {
            "params": PARAMS.decode.model_dump() | {"frames": 3},
            "plan": {"kind": "spread", "count": 3},
            "libraries": library_versions("opencv-python-headless"),
        },
        "propose": {"params": PARAMS.propose.model_dump()} | detector_values(folder / "detector.safetensors"),
        "crop": {"params": PARAMS.crop.model_dump(), "weights": file_sha256(folder / "s2cnet.safetensors")},
    }
    save_weights(
        folder / "quality.safetensors",
        build_quality(quality, seed=1).state_dict(),
        frame_consistency_weights(quality) | {"reliability": reliability(), "made_by": made_by},
    )
    return folder


@pytest.fixture
def run(model: Path, workplace: Path) -> Callable[..., int | None]:
    def call(*arguments: object) -> int | None:
        words = ["score", *map(str, arguments), "--model", str(model), "--device", "cpu", "--workers", "1"]
        return cli.call(words)

    return call


def test_files_and_folders_give_a_row_each(run: Callable[..., int], workplace: Path, capsys) -> None:
    names = ["a b, 'c'.avi", "ünïcode.avi", "-dash.avi", "sub/deep.avi"]
    for seed, name in enumerate(names):
        write_clip(workplace / "clips" / name, noise_clip(seed))
    (workplace / "clips" / "notes.txt").write_text("no video")
    single = write_clip(workplace / "one.avi", noise_clip(9))
    assert run("clips", single, "--out", "scores.csv", "--frames") == 0
    rows = pd.read_csv("scores.csv")
    inside = sorted(f"clips/{name}" for name in names)
    assert list(rows["path"]) == [*inside, str(single)]
    assert rows["score"].between(0, 100).all()
    # The scale of the fixture is 1-5.
    np.testing.assert_allclose(rows["score_raw"], 1 + 4 * rows["score"] / 100)
    assert (rows["n_frames"] == 8).all()
    frames = pd.read_csv("scores.frames.csv")
    assert frames.groupby("path").size().eq(3).all()
    means = frames.groupby("path")["score"].mean()
    np.testing.assert_allclose(rows["score"], means.loc[rows["path"]].to_numpy())
    output = capsys.readouterr().out
    assert "of 1-5" in output
    assert "5 of 5 videos scored, 0 failed, written to scores.csv" in output


def test_a_bad_file_gets_its_reason_and_the_others_go_on(run: Callable[..., int], workplace: Path, capsys) -> None:
    write_clip(workplace / "good.avi", noise_clip(0))
    (workplace / "empty.mp4").touch()
    (workplace / "text.mp4").write_text("this is no video")
    assert run("empty.mp4", "text.mp4", "missing.mp4", "good.avi", "--out", "scores.json") == 1
    rows = json.loads(Path("scores.json").read_text())
    assert [row["status"] for row in rows] == ["failed", "failed", "failed", "ok"]
    assert [row["reason"] for row in rows[:3]] == [
        "the file is empty",
        "cannot be opened as a video (damaged, cut off, or another kind of file)",
        "no such file",
    ]
    assert rows[0]["score"] is None
    assert "1 of 4 videos scored, 3 failed" in capsys.readouterr().out


def test_a_video_gets_the_same_score_alone_and_among_others(run: Callable[..., int], workplace: Path) -> None:
    for seed in range(3):
        write_clip(workplace / "clips" / f"{seed}.avi", noise_clip(seed, height=32 + 16 * seed))
    assert run("clips", "--out", "all.parquet") == 0
    assert run("clips/1.avi", "--out", "one.parquet") == 0
    together = pd.read_parquet("all.parquet").set_index("path")
    assert pd.read_parquet("one.parquet")["score"][0] == pytest.approx(together.loc["clips/1.avi", "score"], abs=1e-4)


def test_misuse_is_refused_before_any_work(run: Callable[..., int], workplace: Path) -> None:
    (workplace / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no videos in empty \(looked for .3g2"):
        run("empty")
    with pytest.raises(DatasetError, match=r"--out scores.txt: allowed endings are .parquet, .csv and .json"):
        run("empty", "--out", "scores.txt")
    (workplace / "a.avi").touch()
    (workplace / "folder.csv").mkdir()
    with pytest.raises(DatasetError, match=r"--out folder.csv: a folder; the name of a file is needed"):
        run("a.avi", "--out", "folder.csv")
    with pytest.raises(DatasetError, match=r"--out a.avi/scores.csv: cannot be written \(.+\)"):
        run("a.avi", "--out", "a.avi/scores.csv")


@pytest.mark.parametrize("option", ["--workers", "--threads"])
@pytest.mark.parametrize("value", ["-1", "many"])
def test_counts_are_not_negative(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.call(["score", "a.avi", f"{option}={value}"])
    assert caught.value.code == 2
    problem = {
        "-1": f'invalid value "-1" for {option}. Must be >= 0.',
        "many": f'invalid value for {option}: unable to convert "many" into int.',
    }[value]
    assert capsys.readouterr().err == f"error: {problem} See `aigc-vqa score --help`.\n"


def test_names_that_no_table_can_hold_and_hidden_files(run: Callable[..., int], workplace: Path) -> None:
    """A name that is not UTF-8 (shown escaped) or too long fails alone; Finder's `._x` are no videos."""
    write_clip(workplace / "clips" / "good.avi", noise_clip(0))
    (workplace / os.fsdecode(b"clips/b\xffd.avi")).write_bytes((workplace / "clips/good.avi").read_bytes())
    (workplace / "clips/._good.avi").write_bytes(b"\x00\x05\x16\x07")
    assert run("clips", f"{'x' * 300}.avi", "--out", "scores.csv", "--frames") == 1
    rows = pd.read_csv("scores.csv", dtype=str)
    assert rows["path"].tolist() == [r"clips/b\xffd.avi", "clips/good.avi", f"{'x' * 300}.avi"]
    assert rows["status"].tolist() == ["failed", "ok", "failed"]
    assert rows["reason"][0] == "the file's name is not UTF-8; rename it"
    assert rows["reason"][2] == "file name too long"
    # Whole numbers stay whole beside a video without any.
    assert rows["n_frames"][1] == "8"
    assert set(pd.read_csv("scores.frames.csv")["path"]) == {"clips/good.avi"}


def test_no_model_names_the_files_and_the_command(workplace: Path) -> None:
    with pytest.raises(WeightsError, match=r"weights/quality.safetensors missing; `dvc repro` or `make demo`"):
        Scorer.load("weights", device="cpu")


def test_weights_that_do_not_belong_together_are_refused(model: Path, tmp_path: Path) -> None:
    for path in model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = faster_rcnn_config("timm_fpn", 1, 32, 64, backbone="test_resnet", fpn_channels=8, head_channels=8)
    same, looser = (build_detector(config.model_copy(update={"nms_iou": iou}), seed=1) for iou in (0.5, 0.6))
    # A note in the file changes no box; a threshold and other weights do.
    save_detector(tmp_path / "detector.safetensors", same, classes=["thing"], made_by={"detector": {"licence": "CC0"}})
    Scorer.load(tmp_path, device="cpu")
    for other in (looser, build_detector(config, seed=2)):
        save_detector(tmp_path / "detector.safetensors", other, classes=["object"], made_by={})
        with pytest.raises(WeightsError, match=r"not the detector whose output .*quality.safetensors was trained on"):
            Scorer.load(tmp_path, device="cpu")


@pytest.mark.parametrize("name", ["look.png", "look.mp4"])
def test_crops_draws_a_picture_or_a_film(model: Path, workplace: Path, name: str) -> None:
    write_clip(workplace / "clip.avi", noise_clip(0, height=96, width=96))
    crops(Path("clip.avi"), out=Path(name), model=model, device="cpu")
    assert Path(name).stat().st_size > 2000
    assert [path.name for path in workplace.iterdir() if path.suffix == ".tmp"] == []


def test_crops_names_the_video_that_cannot_be_drawn(model: Path, workplace: Path) -> None:
    (workplace / "bad.mp4").touch()
    with pytest.raises(VideoError, match=r"^bad\.mp4: the file is empty$"):
        crops(Path("bad.mp4"), out=Path("look.png"), model=model, device="cpu")


def test_no_path_begins_like_a_formula(run: Callable[..., int], workplace: Path) -> None:
    for name in ("=1+1.avi", "+1.avi", "@SUM(1).avi", "a=1.avi"):
        write_clip(workplace / name, noise_clip(0))
    assert run(".", "--out", "scores.csv", "--frames") == 0
    expected = {"./=1+1.avi", "./+1.avi", "./@SUM(1).avi", "a=1.avi"}
    assert set(pd.read_csv("scores.csv")["path"]) == set(pd.read_csv("scores.frames.csv")["path"]) == expected
    run(".", "--out", "scores.json")
    assert "=1+1.avi" in [row["path"] for row in json.loads(Path("scores.json").read_text(encoding="utf-8"))]


def test_names_move_no_cursor_and_forge_no_row(run: Callable[..., int], workplace: Path, capsys) -> None:
    name = "a\x1b[2J\x07\ngood.mp4  99.99.avi"
    write_clip(workplace / name, noise_clip(0))
    (workplace / "b\nc.mp4").touch()
    assert run(name, "b\nc.mp4") == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert sum("99.99" in line for line in out.splitlines()) == 1
    assert "\\x1b[2J\\x07\\ngood.mp4" in out
