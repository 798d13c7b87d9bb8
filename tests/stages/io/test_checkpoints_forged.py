"""Pickles that lie: what reads them neither runs code, nor reads memory that is not its own, nor fills it."""

import io
import os
import pickle
import random
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy._core.multiarray import _reconstruct, scalar
from numpy._core.numeric import _frombuffer

from stages.errors import WeightsError
from stages.io.checkpoints import GLOBALS, _ArrayUnpickler, read_pickle

EIGHT = struct.pack("<q", 0x4141414141)


class Call:
    """Pickled as a call with any arguments, and a state that is set on what it gives."""

    def __init__(self, call: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.parts = (call, arguments) if state is None else (call, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


def dtype(code: str, *state: Any) -> Call:
    return Call(np.dtype, code, False, True, state=state or None)


def array(*state: Any) -> Call:
    return Call(_reconstruct, np.ndarray, (0,), b"b", state=state)


def refuse(tmp_path: Path, content: Any, words: str, protocol: int = 5) -> None:
    path = tmp_path / "forged.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps({"a": content}, protocol))
    with pytest.raises(WeightsError, match=rf"forged\.pkl: .*{words}"):
        read_pickle(path)


# Eight bytes that numpy takes for the address of an object when the type's own flag for objects is cleared.
OBJECT = dtype("O8", 3, "|", None, None, None, -1, -1, 0)
PARTS = dtype("V8", 3, "|", None, ("a",), {"a": (dtype("O8"), 0)}, 8, 1, 0)
SUBARRAY = dtype("V8", 3, "|", (dtype("O8"), (1,)), None, None, 8, 1, 0)
HIDDEN = dtype("f8", 3, "<", (dtype("f8"), (1,)), None, None, 8, 1, 0)
FLOAT = dtype("f8", 3, "<", None, None, None, -1, -1, 0)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("forged", [OBJECT, PARTS, SUBARRAY, HIDDEN, dtype("f8", 3, "<", None, ("a",), {}, 8, 1, 0)])
def test_types_with_a_forged_state(tmp_path: Path, forged: Call, protocol: int) -> None:
    words = "an array of (the type '[OV]8'|records or of other types in one)"
    refuse(tmp_path, Call(scalar, forged, EIGHT), words, protocol)
    refuse(tmp_path, Call(_frombuffer, EIGHT, forged, (1,), "C"), words, protocol)
    refuse(tmp_path, array(1, (1,), forged, False, EIGHT), words, protocol)


def test_a_forged_type_runs_no_code(tmp_path: Path) -> None:
    """The address is that of a function of this very process, which is then called."""
    mark = tmp_path / "ran"
    found = pickle.dumps(Call(scalar, OBJECT, struct.pack("<Q", id(os.system))), protocol=2)
    command = f"touch {mark}".encode()
    # Instead of the end (.): the command as text (X), a tuple of it (0x85), the call (R).
    refuse(tmp_path, found[:-1] + b"X" + struct.pack("<I", len(command)) + command + b"\x85R.", "the type 'O8'")
    assert not mark.exists()


@pytest.mark.parametrize(
    "code", ["f1", "f16", "c8", "S8", "U2", "M8[s]", "O", "f8,f8", "(2,)f4", "", "float64", 8, None]
)
def test_other_types(tmp_path: Path, code: Any) -> None:
    refuse(tmp_path, Call(scalar, dtype(code), EIGHT), "(array of the type|expected string)")


@pytest.mark.parametrize("order", ["|", "!", "", "<<", None, 1])
def test_orders_of_bytes_that_a_float_does_not_have(tmp_path: Path, order: Any) -> None:
    forged = dtype("f8", 3, order, None, None, None, -1, -1, 0)
    refuse(tmp_path, Call(scalar, forged, EIGHT), "numbers f8 with the byte order")


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        # One float of 8 bytes is there.
        ((2,), r"8 bytes for an array f8 of the shape \(2,\)"),
        ((0,), "8 bytes for an array"),
        ((2**62, 4), "8 bytes for an array"),
        # Times 8 bytes this is 2 ** 64 + 8, and 8 in the numbers of a machine.
        ((2**61 + 1,), "8 bytes for an array"),
        ((-1,), "lengths"),
        ((-1, -1), "lengths"),
        ((2**64,), "lengths"),
        ((True,), "lengths"),
        ((1.0,), "lengths"),
        ((1,) * 17, "lengths"),
        ([1], "lengths"),
        (1, "lengths"),
        (None, "lengths"),
    ],
)
def test_shapes_that_the_bytes_do_not_fill(tmp_path: Path, shape: Any, words: str) -> None:
    refuse(tmp_path, array(1, shape, FLOAT, False, EIGHT), words)
    refuse(tmp_path, Call(_frombuffer, EIGHT, FLOAT, shape, "C"), words)


def test_shapes_without_numbers_are_bounded_too(tmp_path: Path) -> None:
    refuse(tmp_path, array(1, (0, 2**62, 2**62), FLOAT, False, b""), "allowed")
    refuse(tmp_path, Call(scalar, FLOAT, EIGHT * 2), "16 bytes for an array")


@pytest.mark.parametrize(
    ("forged", "words"),
    [
        (array(1, (1,), FLOAT, None, EIGHT), "malformed"),
        (array(1, (1,), FLOAT, EIGHT), "unpack"),
        (array(1, (1,), "f8", False, EIGHT), "something other than numbers"),
        (array(1, (1,), FLOAT, False, [1.0]), "something other than numbers"),
        (array(1, (1,), FLOAT, False, "8 bytes\u0100"), "latin-1"),
        (Call(_reconstruct, list, (0,), b"b"), "builtins.list"),
        (Call(_reconstruct, 3, (0,), b"b"), r"a type other than numpy\.ndarray"),
        (Call(_frombuffer, EIGHT, FLOAT, (1,), "A"), "order 'A'"),
        (Call(_frombuffer, EIGHT, FLOAT, (1,), "K"), "order 'K'"),
        (Call(_frombuffer, EIGHT, FLOAT, (1,), "K", (1,)), "order 'K'"),
        (Call(_frombuffer, EIGHT, FLOAT, (1, 1), "K", (0, 0)), "order 'K'"),
        (Call(np.ndarray, (1,)), "a call of numpy.ndarray"),
        (Call(OrderedDict, [(("a",), 1)]), "a key of the type tuple"),
    ],
)
def test_arrays_in_disorder(tmp_path: Path, forged: Call, words: str) -> None:
    refuse(tmp_path, forged, words)


STATES = b"}X\x01\x00\x00\x00aK\x01sb."


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        # States and items for what takes none: the stand-ins are functions and classes, and must stay as they are.
        (b"\x80\x02cnumpy\ndtype\n" + STATES, "a state for numpy.dtype"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n" + STATES, "a state for numpy.core.multiarray._reconstruct"),
        (b"\x80\x02ccollections\nOrderedDict\n)R" + STATES, "no attribute '__dict__'"),
        (b"\x80\x02cnumpy\ndtype\nK\x01a.", "no attribute 'append'"),
        (b"\x80\x02cnumpy\ndtype\nK\x01K\x01s.", "keys for the type _Global"),
        (b"\x80\x02K\x01)R.", "not callable"),
        (b"\x80\x02cnumpy\ndtype\n)\x81.", "it uses NEWOBJ"),
        (b"\x80\x02\x82\x01.", "it uses EXT1"),
        (b"\x80\x02Pname\n.", "it uses PERSID"),
        (b"\x80\x04K\x01K\x02\x93.", "STACK_GLOBAL requires str"),
        (b"\x80\x02h\x07.", "7"),
        (b"\x80\x02u.", "pop from empty list"),
        (b"\x80\x02}(K\x01u.", "zip"),
        (b"\x80\x02.", "pop from empty list"),
        (b"\xff.", "no opcode"),
        # Text of 2 ** 62 bytes that the file does not have.
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"ab.", "not a pickle of weights"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"ab.", "not a pickle of weights"),
    ],
)
def test_opcodes_in_disorder(tmp_path: Path, pickled: bytes, words: str) -> None:
    refuse(tmp_path, pickled, words)


def test_depths_that_would_overrun_the_stack(tmp_path: Path) -> None:
    """Hashing, showing and freeing of what is nested go down into it."""
    deep = b")" + b"\x85" * 300_000
    refuse(tmp_path, b"\x80\x02}" + deep + b"K\x01s.", "a key of the type tuple")
    refuse(tmp_path, b"\x80\x02}X\x01\x00\x00\x00a" + deep + b"s.", "'a' is not an array of numbers")


def test_little_that_stands_for_much(tmp_path: Path) -> None:
    content = np.zeros(1000)
    tied = tmp_path / "tied.pkl"
    tied.write_bytes(pickle.dumps({"a": content, "b": content}))
    assert {name: len(value) for name, value in read_pickle(tied).items()} == {"a": 1000, "b": 1000}
    # 100 arrays of 8,000 bytes, and a file that holds one of them.
    refuse(tmp_path, pickle.dumps({str(place): content for place in range(100)}), "its arrays take 800000 bytes")
    # A place of the memo far beyond what is in it takes no room.
    tied.write_bytes(b"\x80\x02}r\xff\xff\xff\xff" + pickle.dumps({"a": content}, protocol=2)[2:])
    assert len(read_pickle(tied)["a"]) == 1000


def test_a_list_of_pairs_makes_one_dict(tmp_path: Path) -> None:
    """Named again and again, it would make a large dict each time, for a few bytes."""
    pairs = b"]q\x00(" + b"".join(b"]q\x01(K%cK\x00e" % number for number in range(200)) + b"e"
    dicts = b"".join(b"ccollections\nOrderedDict\nh\x00\x85R" for _ in range(2))
    forged = b"\x80\x02(" + pairs + dicts + b"t."
    refuse(tmp_path, forged, "not a state dict")
    assert [len(part) for part in _ArrayUnpickler(io.BytesIO(forged)).load()] == [0, 200, 0]


@pytest.mark.parametrize("place", ["a type", "a byte order", "an encoding", "an order", "axes"])
def test_messages_show_no_lists(tmp_path: Path, place: str) -> None:
    """Thirty lists that each hold the one before twice, and would be a text of 2 ** 30 parts."""
    lists: Any = []
    for _ in range(30):
        lists = [lists, lists]
    forged = {
        "a type": dtype(lists),
        "a byte order": Call(scalar, dtype("f8", 3, lists, None, None, None, -1, -1, 0), EIGHT),
        "an encoding": Call(__import__("_codecs").encode, "text", lists),
        "an order": Call(_frombuffer, EIGHT, FLOAT, (1,), lists),
        "axes": Call(_frombuffer, EIGHT, FLOAT, (1, 1), "K", (lists, lists)),
    }
    refuse(tmp_path, forged[place], "(of a list|order 'K')")


def test_stand_ins_are_the_same_afterwards(tmp_path: Path) -> None:
    """A state can be a pair whose second part is set as attributes: on numpy.dtype of the next file, if it could."""
    before = {path: vars(stand_in).copy() for path, stand_in in GLOBALS.items()}
    state = b"N}X\x08\x00\x00\x00functionNs\x86b."
    refuse(tmp_path, b"\x80\x02cnumpy\ndtype\n" + state, "a state for numpy.dtype")
    refuse(tmp_path, b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R" + state, "an array of records")
    assert {path: vars(stand_in) for path, stand_in in GLOBALS.items()} == before


@pytest.mark.parametrize("protocol", range(6))
def test_flipped_bytes(tmp_path: Path, protocol: int) -> None:
    """Every outcome is an error of ours, or arrays whose bytes are all from the file."""
    arrays = {"conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "s": np.float32(1), "t": np.eye(3).T}
    data = pickle.dumps({"model": OrderedDict(arrays), "note": "text"}, protocol)
    chance, path, messages = random.Random(protocol), tmp_path / "flipped.pkl", []
    for _ in range(300):
        flipped = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            flipped[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(flipped)
        try:
            state = read_pickle(path)
        except WeightsError as error:
            messages.append(str(error))
        else:
            assert 0 < len(state) <= 3
            assert sum(value.nbytes for value in state.values()) <= len(data)
    assert all(message.startswith(str(path)) and message.encode() for message in messages)
    # Most bytes say what something is; those of the numbers, the names and the notes can be anything.
    assert 100 < len(messages) < 300


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_every_length_that_a_file_is_cut_to(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps({"model": {"w": np.arange(3.0)}, "note": 1}, protocol)
    for length in range(len(data)):
        refuse(tmp_path, data[:length], "not a pickle of weights that can be read")
