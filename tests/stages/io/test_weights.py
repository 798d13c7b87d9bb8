"""Checkpoints of other programs: tensors come through, nothing is run, and what is refused is named."""

import argparse
import os
import pickle
import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stages.errors import WeightsError
from stages.io.weights import load_weights, read_checkpoint, save_weights

STATE = OrderedDict({"conv.weight": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(3)})


class Runs:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def check(found: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(STATE)
    assert all(torch.equal(found[name], value) for name, value in STATE.items())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        # torchvision's training scripts.
        {"model": STATE, "optimizer": {"state": {}}, "epoch": 3, "args": argparse.Namespace(lr=0.02, device="cuda")},
    ],
)
def test_files_of_torch(tmp_path: Path, content: Any, zipped: bool) -> None:
    torch.save(content, tmp_path / "model.pth", _use_new_zipfile_serialization=zipped)
    check(read_checkpoint(tmp_path / "model.pth"))


@pytest.mark.parametrize("name", ["w.pkl", "w.PKL", "w.pickle", "w.Pickle"])
def test_every_pickle_reaches_the_reader_of_pickles(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"model": {key: value.numpy() for key, value in STATE.items()}}))
    check(read_checkpoint(path))
    path.write_bytes(pickle.dumps({"a": Runs(tmp_path / "ran")}))
    with pytest.raises(WeightsError, match=r"it names posix\.system, which could run code"):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.SafeTensors"])
def test_safetensors(tmp_path: Path, name: str) -> None:
    save_file(dict(STATE), tmp_path / name)
    assert read_checkpoint(tmp_path / name).keys() == STATE.keys()
    (tmp_path / name).write_bytes(b"\x08\x00\x00")
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (Runs(Path("ran")), "posix.system"),
        (argparse.Namespace(output=Path("runs")), "pathlib.PosixPath"),
        (np.float64(0.5), "numpy._core.multiarray.scalar"),
    ],
)
def test_what_is_not_allowed_is_named(workplace: Path, extra: Any, named: str, zipped: bool) -> None:
    torch.save({"model": STATE, "extra": extra}, "model.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError) as error:
        read_checkpoint("model.pth")
    text = str(error.value)
    assert f"model.pth: not a checkpoint that can be read without running its code: it holds {named};" in text
    assert "allowed: tensors, numbers and text in dicts, lists and tuples, argparse.Namespace" in text
    assert "a file that ends in .pkl or .pickle" in text
    # What torch advises.
    assert "weights_only" not in text
    assert "add_safe_globals" not in text
    assert not Path("ran").exists()


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(STATE, path)
    whole = path.read_bytes()
    for content in (b"", b"a page that says that the file has moved", whole[:200], whole[:-30], whole[30:]):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"model\.pth: .*no file of torch\.save, or not a whole one") as error:
            read_checkpoint(path)
        assert "weights_only" not in str(error.value)
    with pytest.raises(WeightsError, match="no such file"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="no such file"):
        read_checkpoint(tmp_path)
    others: tuple[Any, ...] = ([1], {"a": 1}, {"a": [torch.zeros(2)]}, {1: torch.zeros(2)})
    for other in others:
        torch.save(other, path)
        with pytest.raises(WeightsError, match=r"model\.pth: not a state dict"):
            read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_files_are_errors_of_ours(tmp_path: Path) -> None:
    path, chance = tmp_path / "model.pth", random.Random(0)
    for zipped in (True, False):
        torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
        data = path.read_bytes()
        refused = 0
        for _ in range(150):
            flipped = bytearray(data)
            for _ in range(3):
                flipped[chance.randrange(len(data))] = chance.randrange(256)
            path.write_bytes(flipped)
            try:
                read_checkpoint(path)
            except WeightsError:
                refused += 1
        assert refused > 10


def test_own_weights_prove_themselves(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_weights(path, STATE, {"made_by": {"train": {"seed": 1}}})
    state, config = load_weights(path)
    assert config == {"made_by": {"train": {"seed": 1}}}
    assert all(torch.equal(state[name], value) for name, value in STATE.items())
    data = path.read_bytes()
    for damaged in (data[:-1] + bytes([data[-1] ^ 1]), data.replace(b"seed", b"sead")):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"own.safetensors: damaged, or changed by hand"):
            load_weights(path)


@pytest.mark.parametrize("text", ["{not json", "[1, 2]", "[" * 200_000], ids=["broken", "list", "deep"])
def test_metadata_of_another_program_is_an_error_of_ours(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.safetensors"
    save_file(dict(STATE), path, metadata={"aigc_vqa": text})
    with pytest.raises(WeightsError, match=r"other.safetensors: "):
        load_weights(path)
