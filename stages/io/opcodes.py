"""Pickles read as data: opcodes that make numbers, text and containers, and calls of the few stand-ins a reader names.

Python's own unpickler hands what it finds to whatever a pickle names: to numpy's types, for one, which believe a forged
state and then read memory that is not theirs. Here the file reaches stand-ins only. The opcodes are those that
`pickletools` of the standard library describes; what weights have no use for, such as classes and sets, is refused.
"""

import codecs
import pickle
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

OPCODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}
EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# Opcodes that push their argument. Integers of any length (LONG4) are not among them: weights count in small ones.
VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
# Hashing a tuple in a tuple in a tuple, and so on, would overrun the stack of the process.
KEYS = (str, bytes, int, float, type(None))


class Stateful:
    """A stand-in that takes a state from the pickle, by BUILD; no other object does."""

    def set_state(self, state: Any) -> None:
        """Check the state and keep what is needed of it; raise pickle.UnpicklingError or ValueError."""
        raise NotImplementedError


@dataclass(frozen=True)
class Name:
    """A name in a pickle: nothing but its text until it is called."""

    module: str
    name: str

    def __str__(self) -> str:
        return ascii(f"{self.module}.{self.name}")[1:-1]


class Machine:
    """Runs the opcodes of one pickle.

    known: what a name stands for when it is called (REDUCE); None: it may only be named. Raises pickle.UnpicklingError,
    EOFError, ArithmeticError, LookupError, MemoryError, TypeError or ValueError for anything that is out of order.
    """

    def __init__(self, file: BinaryIO, known: Mapping[Name, Callable[..., Any] | None]) -> None:
        self.file = file
        self.known = known
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the pickle holds."""
        while True:
            code = self.file.read(1)
            if not code:
                raise EOFError("the file ends too early")
            if code not in OPCODES:
                raise pickle.UnpicklingError(f"no opcode is {code!r}")
            name = OPCODES[code].name
            if name == "STOP":
                return self.stack.pop()
            self._step(name, OPCODES[code].arg)

    def _step(self, name: str, argument: Any) -> None:
        if name == "STRING":
            self.stack.append(read_text(self.file))
        elif name in VALUES:
            self.stack.append(argument.reader(self.file))
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in EMPTY:
            self.stack.append(EMPTY[name]())
        elif name in TUPLES:
            self.stack.append(tuple([self.stack.pop() for _ in range(TUPLES[name])][::-1]))
        elif name in self.STEPS:
            self.STEPS[name](self, argument.reader(self.file) if argument else None)
        else:
            raise pickle.UnpicklingError(f"it uses {name}, which arrays and containers do without")

    def _pop_marked(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise pickle.UnpicklingError(f"items for {_kind(self.stack[-1])}, which is no list")
        self.stack[-1].extend(items)

    def _set_items(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise pickle.UnpicklingError(f"keys for {_kind(self.stack[-1])}, which is no dict")
        self.stack[-1].update(pair_up(items))

    def _get(self, place: int) -> None:
        self.stack.append(self.memo[place])

    def _put(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def _name(self, module: Any, name: Any) -> None:
        found = Name(module, name)
        if found not in self.known:
            raise pickle.UnpicklingError(f"it names {found}, which could run code")
        self.stack.append(found)

    def _stack_name(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise pickle.UnpicklingError(f"a name of {_kind(module)} and {_kind(name)}")
        self._name(module, name)

    def _call(self) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        called = self.known.get(name) if isinstance(name, Name) else None
        if called is None or type(arguments) is not tuple:
            raise pickle.UnpicklingError(f"a call of {name if isinstance(name, Name) else _kind(name)}")
        self.stack.append(called(*arguments))

    def _build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Stateful):
            raise pickle.UnpicklingError(f"a state for {_kind(self.stack[-1])}")
        self.stack[-1].set_state(state)

    STEPS: Mapping[str, Callable[["Machine", Any], None]] = {
        "PROTO": lambda self, _: None,
        "FRAME": lambda self, _: None,
        "MARK": lambda self, _: self.marks.append(len(self.stack)),
        "LIST": lambda self, _: self.stack.append(self._pop_marked()),
        "TUPLE": lambda self, _: self.stack.append(tuple(self._pop_marked())),
        "DICT": lambda self, _: self.stack.append(pair_up(self._pop_marked())),
        "APPEND": lambda self, _: self._extend([self.stack.pop()]),
        "APPENDS": lambda self, _: self._extend(self._pop_marked()),
        "SETITEM": lambda self, _: self._set_items([self.stack.pop(), self.stack.pop()][::-1]),
        "SETITEMS": lambda self, _: self._set_items(self._pop_marked()),
        "GET": lambda self, place: self._get(place),
        "BINGET": lambda self, place: self._get(place),
        "LONG_BINGET": lambda self, place: self._get(place),
        "PUT": lambda self, place: self._put(place),
        "BINPUT": lambda self, place: self._put(place),
        "LONG_BINPUT": lambda self, place: self._put(place),
        "MEMOIZE": lambda self, _: self._put(len(self.memo)),
        "GLOBAL": lambda self, both: self._name(*both.split(" ", 1)),
        "STACK_GLOBAL": lambda self, _: self._stack_name(),
        "REDUCE": lambda self, _: self._call(),
        "BUILD": lambda self, _: self._build(),
    }


def read_text(file: BinaryIO) -> str:
    """Python 2's text in quotes, which can be the bytes of an array: pickletools would take it for ASCII."""
    return codecs.escape_decode(pickletools.read_stringnl(file, decode=False))[0].decode("latin1")


def pair_up(items: list[Any]) -> dict[Any, Any]:
    """A dict of keys and values that follow each other; raises ValueError when one is left over."""
    pairs = list(zip(items[::2], items[1::2], strict=True))
    for key, _ in pairs:
        if not isinstance(key, KEYS):
            raise pickle.UnpicklingError(f"a dict with a key of {_kind(key)}")
    return dict(pairs)


def _kind(value: Any) -> str:
    return f"the type {type(value).__name__}"
