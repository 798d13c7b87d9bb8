"""Pickles of weights, read without running code: numpy arrays in plain containers, everything else refused by name."""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.errors import WeightsError

# What training programs write beside the weights: notes, which say nothing of the network.
NOTES = (str, bytes, bool, int, float, type(None))


class _Array:
    """Stands for numpy.ndarray in a pickle: it is only ever named there, as the type that `_reconstruct` makes."""


def _reconstruct(kind: object, *_: object) -> NDArray[Any]:
    if kind is not _Array:
        raise pickle.UnpicklingError("an array of another type than numpy.ndarray")
    # Shape, type and content follow as the array's state.
    return np.ndarray((0,), np.int8)


def _from_buffer(buffer: bytes, dtype: np.dtype, shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _scalar(dtype: np.dtype, value: bytes) -> Any:
    return np.frombuffer(value, dtype=dtype)[0]


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes for Python 2; other encodings than that one could do other things."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How Python 3 writes empty bytes for Python 2."""
    return b""


# numpy 2 renamed numpy.core to numpy._core; pickles of both kinds are about.
_NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): _Array,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which could run code") from None


def read_pickle(path: Path) -> dict[str, Tensor]:
    """A state dict of numpy arrays, as detectron2's model zoo writes it: bare, or under "model" beside notes.

    Raises WeightsError for a file that is missing, cut off, names anything but arrays and containers, or holds
    anything else than numbers by name.
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    except (pickle.UnpicklingError, EOFError, ArithmeticError, AttributeError, LookupError, MemoryError) as error:
        raise WeightsError(_refusal(path, error)) from None
    except (OSError, TypeError, UnicodeError, ValueError) as error:
        raise WeightsError(_refusal(path, error)) from None
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        others = [name for name, value in content.items() if name != "model" and not isinstance(value, NOTES)]
        if others:
            raise WeightsError(f"{path}: beside the weights it holds {', '.join(map(str, others))}, which is no note")
        content = content["model"]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path}: not a state dict (a mapping from names to arrays)")
    return {str(name): _to_tensor(value, name, path) for name, value in content.items()}


def _refusal(path: Path, error: Exception) -> str:
    return (
        f"{path}: not a pickle of weights that can be read ({error or type(error).__name__}); allowed: numpy arrays in "
        "dicts, lists and tuples, whole"
    )


def _to_tensor(value: Any, name: Any, path: Path) -> Tensor:
    array = np.asarray(value)
    if not isinstance(name, str) or not isinstance(value, np.ndarray | np.number) or array.dtype.kind not in "fiub":
        raise WeightsError(f"{path}: {name!r} is no array of numbers ({type(value).__name__})")
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))
