"""Pickles of weights, read without running code: numpy arrays in plain containers, everything else refused by name."""

import math
import pickle
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.errors import WeightsError
from stages.io.opcodes import Machine, Name, Stateful, pair_up

# What training programs write beside the weights: notes, which say nothing of the network.
NOTES = (str, bytes, bool, int, float, type(None))
NDARRAY = Name("numpy", "ndarray")
NUMBERS = re.compile(r"[<>|=]?(?P<number>f[248]|[iu][1248]|b1)")
MAX_DIMENSIONS = 16
# Tied weights are in the file once and in the state several times; more copies than this would only fill the memory.
MAX_COPIES = 8
REFUSALS = (
    pickle.UnpicklingError, EOFError, ArithmeticError, LookupError, MemoryError, OSError, TypeError, ValueError,
)  # fmt: skip


class NumberType(Stateful):
    """numpy's dtype in a pickle: a kind of number, whose order of bytes follows as its state."""

    def __init__(self, code: str, *_: object) -> None:
        found = NUMBERS.fullmatch(code)
        if not found:
            raise pickle.UnpicklingError(f"an array of the type {code!r:.40}; allowed: floats, integers and booleans")
        self.code = found["number"]
        self.order = "="

    def set_state(self, state: Any) -> None:
        version, order, *rest = state
        # After the order of bytes: a type of parts, their names, their fields. Sizes and flags follow, of no use here.
        if not isinstance(version, int) or rest[:3] != [None] * 3 or len(rest) < 6:
            raise pickle.UnpicklingError("an array of records or of other types in one")
        if order not in (("|", "=") if self.code.endswith("1") else ("<", ">", "=")):
            raise pickle.UnpicklingError(f"numbers {self.code} with the order of bytes {order!r:.40}")
        self.order = order

    def to_numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class Array(Stateful):
    """numpy's array in a pickle: its bytes as they are there, and what they mean. Memory for numbers is taken last."""

    def __init__(self) -> None:
        self.content: bytes | bytearray | str = b""
        self.dtype = NumberType("u1")
        self.shape: tuple[int, ...] = (0,)
        self.order = "C"
        self.axes: tuple[int, ...] | None = None

    def set_state(self, state: Any) -> None:
        """`_reconstruct` makes an empty array, and this fills it."""
        version, shape, dtype, is_fortran, content = state
        if not isinstance(version, int) or not isinstance(is_fortran, int):
            raise pickle.UnpicklingError("an array whose state is in disorder")
        self.fill(content, dtype, shape, "F" if is_fortran else "C")

    def fill(self, content: Any, dtype: Any, shape: Any, order: str, axes: Any = None) -> None:
        """Take over a content whose length is that of the shape; raise pickle.UnpicklingError for any other."""
        if not isinstance(dtype, NumberType) or not isinstance(content, bytes | bytearray | str):
            raise pickle.UnpicklingError("an array of something else than numbers")
        if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS or not all(map(_is_side, shape)):
            raise pickle.UnpicklingError(f"an array whose shape is none of up to {MAX_DIMENSIONS} lengths")
        if math.prod(shape) * dtype.to_numpy().itemsize != len(content):
            raise pickle.UnpicklingError(f"{len(content)} bytes for an array {dtype.code} of the shape {shape}")
        if order not in ("C", "F") and not (order == "K" and sorted(axes) == list(range(len(shape)))):
            raise pickle.UnpicklingError(f"an array in the order {order!r:.40}")
        self.content, self.dtype, self.shape, self.order = content, dtype, shape, order
        self.axes = tuple(axes) if order == "K" else None

    def to_numpy(self) -> NDArray[Any]:
        """The numbers, in this machine's order of bytes; raises ValueError for text that stands for no bytes."""
        content = self.content.encode("latin1") if isinstance(self.content, str) else self.content
        order: Any = "F" if self.order == "F" else "C"
        values = np.frombuffer(content, dtype=self.dtype.to_numpy()).reshape(self.shape, order=order)
        if self.axes is not None:
            values = values.transpose(self.axes)
        return np.array(values, dtype=values.dtype.newbyteorder("="))


def _is_side(value: Any) -> bool:
    return type(value) is int and 0 <= value <= sys.maxsize


def _reconstruct(kind: object, *_: object) -> Array:
    if kind != NDARRAY:
        raise pickle.UnpicklingError("an array of another type than numpy.ndarray")
    return Array()


def _from_buffer(content: Any, dtype: Any, shape: Any, order: str, axes: Any = None) -> Array:
    array = Array()
    array.fill(content, dtype, shape, order, axes)
    return array


def _scalar(dtype: Any, content: Any) -> Array:
    return _from_buffer(content, dtype, (), "C")


def _encode(text: str, encoding: str) -> str:
    """How Python 3 writes bytes for Python 2: they stay text, as Python 2's own are, until they become numbers."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text


def _no_bytes() -> bytes:
    """How Python 3 writes empty bytes for Python 2."""
    return b""


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    """OrderedDict: a dict keeps the order too. Python 2 gives the pairs along."""
    return pair_up([part for key, value in pairs for part in (key, value)])


# numpy 2 renamed numpy.core to numpy._core; pickles of both kinds are about.
NAMES: dict[Name, Callable[..., Any] | None] = {
    Name("collections", "OrderedDict"): _ordered,
    Name("_codecs", "encode"): _encode,
    Name("__builtin__", "bytes"): _no_bytes,
    Name("builtins", "bytes"): _no_bytes,
    Name("numpy", "dtype"): NumberType,
    NDARRAY: None,
    **{
        Name(f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


def read_pickle(path: Path) -> dict[str, Tensor]:
    """A state dict of numpy arrays, as detectron2's model zoo writes it: bare, or under "model" beside notes.

    Raises WeightsError for a file that is missing, cut off, names anything but arrays and containers, or holds
    anything else than numbers by name.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # Of escapes that text of a damaged file does not know: what the text says is checked all the same.
            warnings.simplefilter("ignore")
            content = Machine(file, NAMES).run()
        arrays = _state_dict(content, path)
        _check_size(arrays, path)
        return {name: torch.from_numpy(array.to_numpy()) for name, array in arrays.items()}
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    except REFUSALS as error:
        raise WeightsError(
            f"{path}: not a pickle of weights that can be read ({error or type(error).__name__}); allowed: numpy "
            "arrays in dicts, lists and tuples, whole"
        ) from None


def _state_dict(content: Any, path: Path) -> dict[str, Array]:
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        others = [name for name, value in content.items() if name != "model" and not isinstance(value, NOTES)]
        if others:
            named = ", ".join(f"{name!s:.40}" for name in others[:12])
            raise WeightsError(f"{path}: beside the weights it holds {named}, which is no note")
        content = content["model"]
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path}: not a state dict (a mapping from names to arrays)")
    for name, value in content.items():
        if not isinstance(name, str) or not name.isprintable() or not isinstance(value, Array):
            raise WeightsError(f"{path}: {name!a:.100} is no array of numbers ({type(value).__name__})")
    return content


def _check_size(arrays: Mapping[str, Array], path: Path) -> None:
    held, wanted = path.stat().st_size, sum(len(array.content) for array in arrays.values())
    if wanted > MAX_COPIES * held:
        raise WeightsError(f"{path}: its arrays take {wanted} bytes, the file has {held}: it repeats itself")
