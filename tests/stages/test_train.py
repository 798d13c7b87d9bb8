"""Training: it learns, repeats, goes on after a kill, and says what is wrong with its data."""

import dataclasses
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import timm
import torch
from safetensors.torch import save_file

from models.errors import NonFiniteError
from models.methods import load_method
from models.methods.frame_consistency.network import QualityError
from stages import train
from stages.errors import DatasetError, EvaluationError, TableError, WeightsError
from stages.io.digests import file_sha256
from stages.io.schemas import CROPS, FRAMES
from stages.io.shards import Shards, write_shards
from stages.io.weights import load_weights
from stages.params.load import load_params
from stages.training import quality
from stages.training.loaders.clips import ClipDataset, ClipSource
from stages.training.processes import Processes
from stages.training.state import TrainingState
from tests.configs import frame_consistency, sections
from tests.conftest import ROOT
from tests.stages.clip_tables import write_tables

PATHS = ["--manifest", "manifest.parquet", "--split", "split.csv", "--frames", "frames", "--crops", "crops"]
OUTS = ["--weights", "weights/quality.safetensors", "--curves", "results/train"]
TINY = {"backbone": "test_resnet", "input_px": 32, "epochs": 3, "batch_videos": 6, "dropout": 0.1}


@pytest.fixture
def tiny(workplace: Path, write_params: Callable[..., None]) -> Callable[..., None]:
    """Tables in the working directory, and a function that writes params.yaml with changes to `train`."""
    write_tables(workplace)

    def write(*, cache_gib: float = 1.0, workers: int = 1, threads: int = 1, **changes: object) -> None:
        write_params(
            decode={"frames": 3},
            **sections(**(TINY | changes)),
            engine={"device": "cpu", "cache_gib": cache_gib, "workers": workers, "threads": threads},
        )

    write()
    return write


def weights_sha256() -> str:
    return hashlib.sha256(Path("weights/quality.safetensors").read_bytes()).hexdigest()


def test_training_learns_and_writes_what_scoring_needs(tiny: Callable[..., None]) -> None:
    tiny(epochs=8, learning_rate=0.003)
    train.main(PATHS + OUTS)
    _, config = load_weights("weights/quality.safetensors")
    # Blur is the quality here: a network that sees pixels ranks six validation clips almost perfectly.
    assert config["best"]["val/srocc"] >= 0.8
    assert config["network"] == {
        "backbone": "test_resnet",
        "pooling": "mean_std",
        "probabilities": "sigmoid",
        "dropout": 0.1,
        "input_px": 32,
        "bins": 100,
        # timm's for this name; not ImageNet's.
        "pixel_mean": [0.5, 0.5, 0.5],
        "pixel_std": [0.5, 0.5, 0.5],
    }
    assert config["made_by"]["decode"]["params"]["frames"] == 3
    curve = pd.read_csv("results/train/plots/metrics/train/loss.tsv", sep="\t")
    assert len(curve) == 8
    assert curve["loss"].iloc[-1] < curve["loss"].iloc[0]
    (finished,) = (path for path in Path(".cache/train").glob("*.pt") if "reliability" not in path.name)
    assert set(torch.load(finished, weights_only=True)) == {"history", "best", "epochs_done"}, (
        "no optimizer once it is done"
    )


def test_a_finished_training_writes_the_same_bytes_without_training(
    tiny: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny(epochs=2)
    train.main(PATHS + OUTS)
    files = {path: path.read_bytes() for path in Path("results/train").rglob("*") if path.is_file()}
    weights = Path("weights/quality.safetensors").read_bytes()
    # DVC deletes the outs of a stage before it runs it.
    shutil.rmtree("results/train")
    Path("weights/quality.safetensors").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(quality, "train_epoch", None)
        train.main(PATHS + OUTS)
    assert "trained already" in capsys.readouterr().out
    assert Path("weights/quality.safetensors").read_bytes() == weights
    assert {path: path.read_bytes() for path in Path("results/train").rglob("*") if path.is_file()} == files
    # Another number of threads adds up otherwise: that training is another one.
    tiny(epochs=2, threads=2)
    train.main(PATHS + OUTS)
    # Two trainings, and what the validation part says of each.
    assert len(list(Path(".cache/train").glob("*.reliability.pt"))) == 2
    assert len(list(Path(".cache/train").glob("*.pt"))) == 4


@pytest.mark.parametrize("loss", ["fcl", "mae", "bce"])
def test_two_runs_write_the_same_bytes(tiny: Callable[..., None], loss: str) -> None:
    tiny(loss=loss, epochs=1)
    hashes = []
    for _ in range(2):
        train.main(PATHS + OUTS)
        hashes.append(weights_sha256())
    assert hashes[0] == hashes[1]


def test_seed_changes_the_weights(tiny: Callable[..., None]) -> None:
    hashes = []
    for seed in (1, 2):
        tiny(epochs=1, seed=seed)
        train.main(PATHS + OUTS)
        hashes.append(weights_sha256())
    assert hashes[0] != hashes[1]


def test_decoding_workers_and_memory_give_the_same_weights(tiny: Callable[..., None]) -> None:
    """Also what follows the first epoch, when workers live on: the dropout masks that the losses depend on."""
    hashes, losses = [], []
    for cache_gib, workers in ((1.0, 1), (0.0, 2)):
        tiny(epochs=2, cache_gib=cache_gib, workers=workers)
        train.main(PATHS + OUTS)
        hashes.append(weights_sha256())
        losses.append(Path("results/train/plots/metrics/train/loss.tsv").read_text())
    assert hashes[0] == hashes[1]
    assert losses[0] == losses[1]


def test_a_killed_training_goes_on_and_ends_the_same(tiny: Callable[..., None], capfd: pytest.CaptureFixture) -> None:
    tiny(epochs=12)
    train.main(PATHS + OUTS)
    unbroken = weights_sha256()
    Path("weights/quality.safetensors").unlink()
    shutil.rmtree(".cache/train")
    command = [sys.executable, "-m", "stages.train", *PATHS, *OUTS]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch  2/12"):
            break
    deadline = time.monotonic() + 60
    while not list(Path(".cache/train").glob("*.pt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("weights/quality.safetensors").exists()
    capfd.readouterr()
    train.main(PATHS + OUTS)
    assert "goes on after epoch" in capfd.readouterr().out
    assert weights_sha256() == unbroken


def test_memory_and_tables_give_the_same_crops(tiny: Callable[..., None]) -> None:
    frames_table, crops_table = Shards("frames", schema=FRAMES), Shards("crops", schema=CROPS)
    source = ClipSource(frame_consistency(input_px=24), frames_table, crops_table, shape="stretch", frames=5)
    in_memory = ClipDataset(source, source.frames_table.ids[:4], cache_gib=1)
    decoded = ClipDataset(source, source.frames_table.ids[:4], cache_gib=0)
    in_memory.fill()
    decoded.fill()
    assert in_memory.memory is not None
    assert decoded.memory is None
    for index in range(4):
        crops, _ = in_memory[index, None]
        assert crops.shape == (5, 3, 24, 24)
        assert torch.equal(crops, decoded[index, None][0])
    # Three frames fill five places: 0, 0.5, 1, 1.5, 2 rounded half up.
    crops, _ = decoded[0, None]
    assert torch.equal(crops[[0, 2, 4]], dataclasses.replace(source, frames=3).read(decoded.ids[0]))
    assert torch.equal(crops[1], crops[2])
    assert torch.equal(crops[3], crops[4])


@pytest.mark.parametrize(
    ("parts", "mos", "message"),
    [
        (["train"] * 22 + ["val"] * 2, None, "part val has 2 usable videos; at least 3"),
        (["val"] * 24, None, "part train has 0 usable videos"),
        (["train"] + ["val"] * 23, None, "part train has 1 usable videos; at least 3"),
        (["train"] * 12 + ["val"] * 12, 50.0, "all MOS of the part train are 50"),
        (
            ["train"] * 12 + ["val"] * 12,
            [50.0, 50.5] * 12,
            r"standard deviation of 0\.25 points .* least 0\.40",
        ),
    ],
)
def test_data_that_nothing_can_be_learned_from(
    tiny: Callable[..., None], parts: list[str], mos: float | list[float] | None, message: str
) -> None:
    frames, crops = Shards("frames", schema=FRAMES), Shards("crops", schema=CROPS)
    labels = pd.DataFrame({"video_id": frames.ids, "part": parts, "mos": mos or range(24)})
    with pytest.raises(DatasetError, match=message):
        train.gather(load_params(), frame_consistency(), labels, frames, crops, processes=Processes(), pinned=False)


def test_params_that_ask_for_other_frames_than_the_table_holds(
    tiny: Callable[..., None], write_params: Callable[..., None]
) -> None:
    write_params(decode={"frames": 16}, **sections(**TINY), engine={"device": "cpu"})
    with pytest.raises(DatasetError, match=r"frames holds 3 frames a video, decode.frames asks for 16; `dvc repro`"):
        train.main(PATHS + OUTS)


def test_pretrained_weights_are_what_training_starts_from(tiny: Callable[..., None]) -> None:
    state = timm.create_model("test_resnet", pretrained=False).state_dict()
    save_file(state, "pretrained.safetensors")
    tiny(pretrained="pretrained.safetensors")
    params = load_params()
    network = train.build(params, load_method(params.method, params.chosen))
    own = network.get_submodule("backbone").state_dict()
    assert own
    assert all(torch.equal(value, state[name]) for name, value in own.items())


def test_a_tag_that_timm_lacks_names_those_that_it_has(tiny: Callable[..., None]) -> None:
    tiny(backbone="resnet18.a9_in1k")
    with pytest.raises(QualityError, match=r"no tag 'a9_in1k' for 'resnet18'; it has: .*resnet18.a1_in1k"):
        train.main(PATHS + OUTS)


@pytest.mark.parametrize("cache_gib", [0.0, 1.0])
def test_a_video_without_a_clip_is_named_whoever_reads_it(tiny: Callable[..., None], cache_gib: float) -> None:
    tiny(cache_gib=cache_gib, workers=2)
    crops = Shards("crops", schema=CROPS)
    rows = {name: crops.read(name) for name in crops.ids}
    (lost, *_) = [name for name in crops.ids if name not in ("clip_002.avi", "clip_003.avi")]
    place = rows[lost].schema.get_field_index("selected")
    rows[lost] = rows[lost].set_column(place, "selected", pa.array([False] * len(rows[lost])))
    write_shards(
        "crops", crops.keys, lambda _, name: rows[name], schema=CROPS, n_shards=2, made_by=crops.made_by, failed={}
    )  # fmt: skip
    with pytest.raises(TableError, match=rf"^{lost}: no selected crop for frames \[0, 1, 2\]; frames and crops"):
        train.main(PATHS + OUTS)


def test_predictions_that_stay_constant_are_no_model(tiny: Callable[..., None]) -> None:
    """A step of 30 drives every bin to its end: nothing is ranked in any epoch."""
    tiny(backbone="test_convnext", learning_rate=30.0, epochs=2, fgm={"epsilon": 0.0})
    with pytest.raises(EvaluationError, match="no epoch gave predictions that a correlation with the MOS"):
        train.main(PATHS + OUTS)
    assert not Path("weights/quality.safetensors").exists()


def test_missing_pretrained_weights_name_the_key_and_the_command(tiny: Callable[..., None]) -> None:
    tiny(pretrained="weights/none.safetensors")
    with pytest.raises(
        WeightsError, match=r"^methods\.frame_consistency\.pretrained weights/none\.saf.*: no such file; `make weights`"
    ):
        train.main(PATHS + OUTS)


def test_a_checkpoint_of_another_architecture_names_the_file_and_what_does_not_fit(tiny: Callable[..., None]) -> None:
    save_file(timm.create_model("test_convnext", pretrained=False).state_dict(), "other.safetensors")
    tiny(pretrained="other.safetensors")
    with pytest.raises(WeightsError) as caught:
        train.main(PATHS + OUTS)
    text = str(caught.value)
    assert text.startswith("methods.frame_consistency.pretrained other.safetensors: not of test_resnet: ")
    assert "missing conv1.0.weight" in text
    assert "; unknown " in text
    assert text.count(",") < 50, "a few keys of each kind are enough"


def test_a_loss_that_is_not_finite_stops_with_its_terms_and_videos(tiny: Callable[..., None]) -> None:
    tiny(learning_rate=1e30)
    with pytest.raises(NonFiniteError, match=r"epoch \d+, step \d+: the loss is .*MAE .*BCE .*videos: clip_\d+\.avi"):
        train.main(PATHS + OUTS)


def test_a_killed_training_does_not_go_on_from_another_file_of_the_same_name(
    tiny: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny(pretrained="start.safetensors", epochs=2)
    save = TrainingState.save

    def killed(self: TrainingState, **state: Any) -> None:
        save(self, **state)
        raise KeyboardInterrupt

    for seed in (1, 2):
        torch.manual_seed(seed)
        save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), "start.safetensors")
        monkeypatch.setattr(TrainingState, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train.main(PATHS + OUTS)
    assert "goes on" not in capsys.readouterr().out
    monkeypatch.setattr(TrainingState, "save", save)
    train.main(PATHS + OUTS)
    assert "goes on after epoch 1 of 2" in capsys.readouterr().out
    made = load_weights("weights/quality.safetensors")[1]["made_by"]["train"]
    assert made["pretrained"] == file_sha256("start.safetensors")
