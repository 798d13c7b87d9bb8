"""Plain pickles of weights, such as detectron2's model zoo publishes, read without running any code.

`torch.load` reads files of torch.save (see `stages.io.weights`), not these. Why this file is ours: torch's weights-only
unpickler stops at every protocol but 2 and at Python 2's strings, and with numpy's own names allowed a forged dtype
makes numpy take bytes of the file for an address in memory. So the standard library's unpickler builds the containers,
and each name in the file stands for one of the stand-ins below, which check what they are given.
"""

import math
import pickle
import pickletools
import re
import struct
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

# What training programs store along with the weights: notes, which say nothing about the network.
NOTES = (str, bytes, bool, int, float, type(None))
# Hashing deeply nested tuples would overflow the stack of the process, so they are no keys.
KEYS = (str, bytes, int, float, type(None))
NUMBERS = re.compile(r"[<>|=]?(?P<number>f[248]|[iu][1248]|b1)")
MAX_DIMENSIONS = 16
# Tied weights are in the file once and in the state several times; more copies than this would only fill the memory.
MAX_COPIES = 8
REFUSALS = (
    pickle.UnpicklingError, struct.error, ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError,
    TypeError, ValueError,
)  # fmt: skip
# All that arrays in containers need. Not among them: instances of classes, extensions, persistent ids, sets.
OPCODES = (
    "PROTO", "FRAME", "STOP", "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "PUT", "BINPUT", "LONG_BINPUT",
    "MEMOIZE", "GET", "BINGET", "LONG_BINGET", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2",
    "LONG", "LONG1", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "EMPTY_LIST", "LIST", "APPEND",
    "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT",
)  # fmt: skip


class _NumberType:
    """Stand-in for numpy.dtype: a kind of number, whose byte order follows as its state."""

    def __init__(self, code: object, *_: object) -> None:
        match = NUMBERS.fullmatch(code) if isinstance(code, str) else None
        if not match:
            raise pickle.UnpicklingError(f"an array of the type {_show(code)}; allowed: floats, integers and booleans")
        self.code = match["number"]
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        # Version, byte order, then a type of parts, their names and their fields; sizes and flags are of no use here.
        if type(state) is not tuple or len(state) not in (8, 9) or state[2:5] != (None, None, None):
            raise pickle.UnpicklingError("an array of records or of other types in one")
        order = state[1]
        if not isinstance(order, str) or order not in (("|", "=") if self.code.endswith("1") else ("<", ">", "=")):
            raise pickle.UnpicklingError(f"numbers {self.code} with the byte order {_show(order)}")
        self.order = order

    def to_numpy(self) -> np.dtype[Any]:
        """The type with its byte order."""
        return np.dtype(self.order + self.code)


class _Array:
    """Stand-in for numpy.ndarray: its bytes as they are in the file. Memory for numbers is taken last."""

    def __init__(self) -> None:
        self.content: bytes | str = b""
        self.dtype = _NumberType("u1")
        self.shape: tuple[int, ...] = (0,)
        self.order = "C"
        self.axes: tuple[int, ...] | None = None

    def __setstate__(self, state: Any) -> None:
        version, shape, dtype, is_fortran, content = state
        if not isinstance(version, int) or not isinstance(is_fortran, int):
            raise pickle.UnpicklingError("an array with a malformed state")
        self.fill(content, dtype, shape, "F" if is_fortran else "C")

    def fill(self, content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> None:
        """Take over a content whose length fits the shape.

        Raises:
            pickle.UnpicklingError: The arguments do not describe an array of numbers of that length.
        """
        if not isinstance(dtype, _NumberType) or not isinstance(content, bytes | str):
            raise pickle.UnpicklingError("an array of something other than numbers")
        if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS or not all(map(_is_length, shape)):
            raise pickle.UnpicklingError(f"an array whose shape is not a tuple of up to {MAX_DIMENSIONS} lengths")
        if math.prod(shape) * dtype.to_numpy().itemsize != len(content):
            raise pickle.UnpicklingError(f"{len(content)} bytes for an array {dtype.code} of the shape {shape}")
        is_permuted = order == "K" and _is_permutation(axes, len(shape))
        if order not in ("C", "F") and not is_permuted:
            raise pickle.UnpicklingError(f"an array in the order {_show(order)}")
        self.content, self.dtype, self.shape, self.order = content, dtype, shape, order
        self.axes = axes if is_permuted else None

    def to_numpy(self) -> NDArray[Any]:
        """The numbers, in this machine's byte order.

        Raises:
            ValueError: The content is text that does not stand for bytes.
        """
        content = self.content.encode("latin1") if isinstance(self.content, str) else self.content
        values = np.frombuffer(content, dtype=self.dtype.to_numpy())
        values = values.reshape(self.shape, order="F" if self.order == "F" else "C")
        if self.axes is not None:
            values = values.transpose(self.axes)
        return np.array(values, dtype=values.dtype.newbyteorder("="))


class _Global:
    """Stand-in for a name in the file: it can be called if it has a function, and cannot be changed."""

    def __init__(self, path: str, function: Callable[..., Any] | None = None) -> None:
        self.path = path
        self.function = function

    def __call__(self, *arguments: object) -> Any:
        if self.function is None:
            raise pickle.UnpicklingError(f"a call of {self.path}")
        return self.function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError(f"a state for {self.path}")


def _show(value: object) -> str:
    """A value for a message. Only text is shown: lists that hold each other can be far longer than the file."""
    return ascii(value[:40]) if isinstance(value, str) else f"of a {type(value).__name__}"


def _is_length(value: object) -> bool:
    return type(value) is int and 0 <= value <= sys.maxsize


def _is_permutation(axes: Any, count: int) -> bool:
    return type(axes) is tuple and len(axes) == count and all(map(_is_length, axes)) and {*axes} == {*range(count)}


def _reconstruct(kind: object, *_: object) -> _Array:
    if kind is not GLOBALS["numpy.ndarray"]:
        raise pickle.UnpicklingError("an array of a type other than numpy.ndarray")
    return _Array()


def _from_buffer(content: object, dtype: object, shape: object, order: object, axes: object = None) -> _Array:
    array = _Array()
    array.fill(content, dtype, shape, order, axes)
    return array


def _scalar(dtype: object, content: object) -> _Array:
    return _from_buffer(content, dtype, (), "C")


def _encode(text: object, encoding: object) -> object:
    """How Python 3 writes bytes for Python 2: they stay text, as Python 2's own are, until they become numbers."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {_show(encoding)}")
    return text


def _no_bytes() -> bytes:
    """How Python 3 writes empty bytes for Python 2."""
    return b""


def _ordered(pairs: Any = None) -> dict[Any, Any]:
    """OrderedDict: a dict keeps the order too. Python 2 passes the pairs as an argument."""
    if pairs is None:
        return {}
    if type(pairs) is not list:
        raise pickle.UnpicklingError("an OrderedDict of something other than a list")
    result = _pair_up([part for key, value in pairs for part in (key, value)])
    # Each call uses its list up, or a file could make thousands of large dicts from one list.
    pairs.clear()
    return result


def _pair_up(items: list[Any]) -> dict[Any, Any]:
    """A dict of alternating keys and values.

    Raises:
        ValueError: A key is left over.
        pickle.UnpicklingError: A key is not of one of the allowed types.
    """
    pairs = list(zip(items[::2], items[1::2], strict=True))
    for key, _ in pairs:
        if not isinstance(key, KEYS):
            raise pickle.UnpicklingError(f"a dict with a key of the type {type(key).__name__}")
    return dict(pairs)


# numpy 2 renamed numpy.core to numpy._core; pickles of both kinds are in use.
FUNCTIONS: dict[str, Callable[..., Any] | None] = {
    "collections.OrderedDict": _ordered,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _no_bytes,
    "builtins.bytes": _no_bytes,
    "numpy.dtype": _NumberType,
    "numpy.ndarray": None,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
}
GLOBALS = {path: _Global(path, function) for path, function in FUNCTIONS.items()}
OPCODE_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}


class _Opcodes(dict[int, Any]):
    """What to do for each opcode; raises pickle.UnpicklingError that names any other."""

    def __missing__(self, code: int) -> Any:
        if code not in OPCODE_NAMES:
            raise pickle.UnpicklingError(f"no opcode is {code:#04x}")
        raise pickle.UnpicklingError(f"it uses {OPCODE_NAMES[code]}, which arrays and containers do without")


class _ArrayUnpickler(pickle._Unpickler):
    """The standard library's unpickler, with no more opcodes and names than arrays in containers need.

    It is the one in Python, since ten bytes make `pickle.Unpickler`, the one in C, take 64 GiB for a place in its memo.
    """

    # Members of the base class that typeshed does not declare.
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name in the file; called by the base class."""
        path = f"{module}.{name}"
        if path not in GLOBALS:
            raise pickle.UnpicklingError(f"it names {ascii(path)[1:-1]}, which could run code")
        return GLOBALS[path]

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def _load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def _set_items(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise pickle.UnpicklingError(f"keys for the type {type(self.stack[-1]).__name__}, which is no dict")
        self.stack[-1].update(_pair_up(items))

    def _load_dict(self) -> None:
        items = self.pop_mark()
        self.append(_pair_up(items))

    def _load_bytearray8(self) -> None:
        # As bytes: a bytearray of the announced length would fill the memory before the file is read.
        self.append(self.read(struct.unpack("<Q", self.read(8))[0]))

    dispatch = _Opcodes(
        {getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in OPCODES}
    )
    dispatch[pickle.SETITEM[0]] = _load_setitem
    dispatch[pickle.SETITEMS[0]] = _load_setitems
    dispatch[pickle.DICT[0]] = _load_dict
    dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray8


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Read a state dict of numpy arrays, as in detectron2's model zoo: bare, or under "model" along with notes.

    Args:
        path: A pickle of any protocol, by Python 2 or 3. Nothing in it is run.

    Returns:
        The arrays by name, in the order of the file: tensors on the CPU with the shape and the type of the array.

    Raises:
        WeightsError: The file is missing or cut off, names anything but arrays and containers, holds anything but
            arrays of numbers, or repeats its arrays more than `MAX_COPIES` times.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # Warnings about escapes in the text of a damaged file: the text itself is checked in any case.
            warnings.simplefilter("ignore")
            content = _ArrayUnpickler(file, encoding="latin1").load()
        arrays = _state_dict(content, path)
        _check_size(arrays, path)
        return {name: torch.from_numpy(array.to_numpy()) for name, array in arrays.items()}
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    except REFUSALS as error:
        raise WeightsError(
            f"{path}: not a pickle of weights that can be read ({str(error) or type(error).__name__}); allowed: numpy "
            "arrays in dicts, lists and tuples, whole"
        ) from None


def _state_dict(content: Any, path: Path) -> dict[str, _Array]:
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        others = [name for name, value in content.items() if name != "model" and not isinstance(value, NOTES)]
        if others:
            named = ", ".join(f"{name!s:.40}" for name in others[:12])
            raise WeightsError(f"{path}: besides the weights it holds {named}, which is not a note")
        content = content["model"]
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path}: not a state dict (a mapping from names to arrays)")
    for name, value in content.items():
        if not isinstance(name, str) or not name.isprintable() or not isinstance(value, _Array):
            kind = type(value).__name__.removeprefix("_")
            raise WeightsError(f"{path}: {name!a:.100} is not an array of numbers ({kind})")
    return content


def _check_size(arrays: Mapping[str, _Array], path: Path) -> None:
    held, wanted = path.stat().st_size, sum(len(array.content) for array in arrays.values())
    if wanted > MAX_COPIES * held:
        raise WeightsError(f"{path}: its arrays take {wanted} bytes, the file has {held}: it repeats itself")
