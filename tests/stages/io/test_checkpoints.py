"""Pickles of weights: arrays come through, nothing is run."""

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stages.errors import WeightsError
from stages.io.checkpoints import read_pickle

ARRAYS: dict[str, NDArray[Any]] = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "conv.bias": np.array([0.5, -0.5], dtype=np.float64),
    "steps": np.array(3, dtype=np.int64),
    "turned": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "foreign": np.arange(4, dtype=">f4"),
    "empty": np.zeros((0, 4), np.float32),
    "permuted": np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(2, 0, 1),
    "half": np.array([[0.5], [-2.0]], dtype=np.float16),
    "flags": np.array([True, False, True]),
}


def write(path: Path, value: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    content = {"model": OrderedDict(ARRAYS), "__author__": "someone", "matching_heuristics": True}
    state = read_pickle(write(tmp_path / "weights.pkl", content, protocol))
    assert list(state) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert tuple(state[name].shape) == array.shape
        assert np.array_equal(state[name].numpy(), array)
    # Without the wrapper, and one number of numpy's as it is written for a scalar.
    bare = read_pickle(write(tmp_path / "bare.pkl", ARRAYS | {"scalar": np.float32(0.25)}, protocol))
    assert bare["scalar"].item() == 0.25
    # The tensors are the reader's own: they can be changed.
    bare["conv.bias"][0] = 1


def test_both_names_of_numpys_inner_modules(tmp_path: Path) -> None:
    """numpy 1 wrote numpy.core.multiarray, numpy 2 writes numpy._core.multiarray."""
    data = pickle.dumps({"a": ARRAYS["conv.weight"]}, protocol=2)
    new, old = b"numpy._core.multiarray", b"numpy.core.multiarray"
    assert (new in data) != (old in data)
    for name in (new, old):
        path = tmp_path / "weights.pkl"
        path.write_bytes(data.replace(new, name).replace(old, name))
        assert np.array_equal(read_pickle(path)["a"].numpy(), ARRAYS["conv.weight"])


@pytest.mark.parametrize("protocol", [0, 2])
def test_what_python_2_wrote(tmp_path: Path, protocol: int) -> None:
    """Text and the bytes of arrays are of one type there: STRING or BINSTRING, read as latin1."""
    values = np.array([1.5, -2.0], dtype=np.float32)
    # 1.5 is 0x3fc00000 and -2.0 is 0xc0000000: bytes above 127, which are not ASCII.
    old = (
        b"(dp0\nS'weight'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\n"
        b"tp6\nRp7\n(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'f4'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\n"
        b"I0\ntp14\nbI00\nS'\\x00\\x00\\xc0?\\x00\\x00\\x00\\xc0'\np15\ntp16\nbs."
    )
    data = (
        b"\x80\x02}q\x00U\x06weightq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03"
        b"K\x00\x85U\x01b\x87Rq\x04(K\x01K\x02\x85cnumpy\ndtype\nq\x05U\x02f4K\x00K\x01\x87Rq\x06(K\x03U\x01<NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08" + values.tobytes() + b"tbs."
    )
    path = tmp_path / "weights.pkl"
    path.write_bytes(data if protocol else old)
    assert torch.equal(read_pickle(path)["weight"], torch.tensor([1.5, -2.0]))


def test_an_ordered_dict_of_python_2(tmp_path: Path) -> None:
    """Its pairs are an argument there, items that are set one by one in Python 3."""
    path = write(tmp_path / "weights.pkl", Runs(OrderedDict, [["b", np.ones(2)], ["a", np.zeros(1)]]))
    state = read_pickle(path)
    assert list(state) == ["b", "a"]
    assert state["b"].tolist() == [1, 1]


class Runs:
    """Unpickled plainly, this makes a file."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


@pytest.mark.parametrize(
    ("call", "name"),
    [(os.system, "posix.system"), (eval, "builtins.eval"), (io.open_code, "io.open_code"), (getattr, "getattr")],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_code_is_not_run(tmp_path: Path, call: Any, name: str, wrapped: bool) -> None:
    mark = tmp_path / "ran"
    argument = f"touch {mark}" if call is os.system else f"open({str(mark)!r}, 'w')"
    bomb = Runs(call, argument)
    content = {"model": ARRAYS | {"bomb": bomb}} if wrapped else bomb
    with pytest.raises(WeightsError, match=rf"weights\.pkl: .*{name}, which could run code") as error:
        read_pickle(write(tmp_path / "weights.pkl", content))
    assert "allowed: numpy arrays" in str(error.value)
    assert not mark.exists()


def test_objects_and_other_encodings_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.pkl"
    with pytest.raises(WeightsError, match=r"pathlib\.PosixPath"):
        read_pickle(write(path, {"a": tmp_path}))
    with pytest.raises(WeightsError, match="torch"):
        read_pickle(write(path, {"a": torch.zeros(2)}))
    # The one function of a codec that is needed, with another codec than the one that is needed.
    with pytest.raises(WeightsError, match="in the encoding 'rot13'"):
        read_pickle(write(path, Runs(__import__("_codecs").encode, "abc", "rot13")))


@pytest.mark.parametrize("length", [0, 1, 40, -20, -1])
def test_cut_off_files(tmp_path: Path, length: int) -> None:
    data = pickle.dumps({"model": ARRAYS})
    path = tmp_path / "weights.pkl"
    path.write_bytes(data[:length])
    with pytest.raises(WeightsError, match=r"weights\.pkl: not a pickle of weights that can be read"):
        read_pickle(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "not a state dict"),
        ({}, "not a state dict"),
        ({"a": "text"}, r"'a' is not an array of numbers \(str\)"),
        ({"a": [1.0, 2.0]}, r"'a' is not an array of numbers \(list\)"),
        ({1: np.zeros(2)}, "1 is not an array of numbers"),
        ({"a": np.array(["text"], dtype=object)}, "the type 'O8'; allowed: floats, integers and booleans"),
        ({"a": np.zeros(2, np.complex64)}, "the type 'c8'"),
        ({"a": np.zeros(2, "f4,i4")}, "the type 'V8'"),
        ({"a\ud800\n": np.zeros(2)}, r"'a\\ud800\\n' is not an array of numbers"),
        ({"model": {"a": np.zeros(2)}, "optimizer": {"b": np.zeros(2)}}, "besides the weights it holds optimizer"),
        ({"blobs": {"a": np.zeros(2)}}, "'blobs' is not an array of numbers"),
    ],
)
def test_other_contents(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        read_pickle(write(tmp_path / "weights.pkl", content))


def test_no_file_and_no_pickle(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        read_pickle(tmp_path / "none.pkl")
    (tmp_path / "text.pkl").write_text("not a pickle at all, but a page that says that the file has moved")
    with pytest.raises(WeightsError, match=r"text\.pkl: not a pickle"):
        read_pickle(tmp_path / "text.pkl")
