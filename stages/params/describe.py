"""What the schema of params.yaml says of a key: its meaning, what is allowed, and what is wrong with a value."""

import difflib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stages.params.schema import Params


def describe_problem(problem: Mapping[str, Any]) -> str:
    """One line: key, value, what is allowed and what the key means."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        known = sorted(_model(location[:-1]).model_fields)
        every = [name for name, _ in iter_fields(Params)]
        close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        nearest = ".".join([*location[:-1], *close]) if close else None
        elsewhere = [name for name in every if name.split(".")[-1] == location[-1]]
        below = [name for name in elsewhere if name.startswith(f"{location[0]}.")]
        guesses = [*below[:1], *([nearest] if nearest else []), *elsewhere]
        nearest = next(iter([*guesses, *difflib.get_close_matches(key, every, n=1, cutoff=0.3)]), None)
        hint = f"; did you mean {nearest}?" if nearest else ""
        return f"{key}: unknown key{hint} (known here: {', '.join(known)})"
    if problem["type"] == "missing":
        return f"{key}: missing ({_meaning(location)})"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error" and isinstance(problem["input"], Mapping):
        return f"{key}: {message}"
    return f"{key} = {problem['input']!r}: {message[0].lower()}{message[1:]} ({_meaning(location)})"


def _meaning(location: Sequence[str]) -> str:
    info = _model(location[:-1]).model_fields.get(location[-1])
    if info is None or info.description is None:
        return "a section"
    return f"{info.description}; allowed: {allowed(info)}"


def allowed(info: FieldInfo) -> str:
    """The values that a field takes, for messages: `an integer from 1`, `png | webp | jpeg`."""
    annotation, optional = info.annotation, ""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = next(option for option in typing.get_args(annotation) if option is not type(None))
        optional = " or null"
    if typing.get_origin(annotation) is Literal:
        return " | ".join(map(str, typing.get_args(annotation))) + optional
    kinds: dict[Any, str] = {int: "an integer", float: "a number", bool: "true | false", str: "text"}
    words = [kinds.get(annotation, "a section")]
    phrases = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}", "min_length": "not empty"}
    for bound in info.metadata:
        words += [phrase.format(getattr(bound, name)) for name, phrase in phrases.items() if hasattr(bound, name)]
    return " ".join(words) + optional


def _model(location: Sequence[str]) -> type[BaseModel]:
    model: type[BaseModel] = Params
    for name in location:
        info = model.model_fields.get(name)
        if info is None or not (isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)):
            break
        model = info.annotation
    return model


def iter_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every leaf of the schema as (`section.key`, field)."""
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from iter_fields(info.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info
