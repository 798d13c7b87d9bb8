"""The typed, closed schema of params.yaml: one frozen model a section, the unit of each value in its description.

`python -m stages.params` checks params.yaml and lists every key. `python -m stages.params --preset NAME` prints the
`-S key=value` list that applies `presets/NAME.yaml`: `python -m stages.params --preset NAME | xargs -r dvc exp run`.
"""

import argparse
import difflib
import json
import re
import shlex
import types
import typing
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from stages.command import run
from stages.errors import ParamsError
from stages.sections import Params


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check a parameters file; raise ParamsError that lists every problem at once."""
    return check_params(read_yaml(path), source=path)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML mapping; raise ParamsError naming the file when it is missing, broken, or something else."""
    try:
        value = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file (run from the folder that holds dvc.yaml)") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not YAML ({error})") from None
    if not isinstance(value, dict):
        raise ParamsError(f"{path}: a mapping of sections is needed, not {type(value).__name__}")
    return value


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML takes the last of two equal keys without a word: the value above it would be read and not used."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            # Plain keys alone: a merge key (<<) may stand twice, and lists cannot be keys.
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag != "tag:yaml.org,2002:merge":
                key = self.construct_object(key_node)
                if key in lines:
                    raise yaml.constructor.ConstructorError(
                        problem=f"the key {key!r} stands twice, in lines {lines[key]} and {line}",
                        problem_mark=key_node.start_mark,
                    )
                lines[key] = line
        return super().construct_mapping(node, deep)


def check_params(values: Mapping[str, Any], *, source: str | Path) -> Params:
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        problems = [_describe(problem) for problem in error.errors(include_url=False)]
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ParamsError("\n  ".join([f"{source}: {count}", *problems])) from None


def _describe(problem: Mapping[str, Any]) -> str:
    """One line: key, value, what is allowed and what the key means."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        known = sorted(_model(location[:-1]).model_fields)
        every = [name for name, _ in iter_fields(Params)]
        close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        nearest = ".".join([*location[:-1], *close]) if close else None
        elsewhere = [name for name in every if name.split(".")[-1] == location[-1]]
        elsewhere += difflib.get_close_matches(key, every, n=1, cutoff=0.3)
        nearest = nearest or next(iter(elsewhere), None)
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


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the leaves of `changes` put over it."""
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = merge(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return merged


def read_preset(
    name: str, *, params: str | Path = "params.yaml", folder: str | Path = "presets"
) -> tuple[Params, dict[str, Any]]:
    """params.yaml with a preset's changes, checked together, and the changes alone.

    name: several presets joined by `+` count one after the other, such as `t2vqa_db+detectors/coco`.
    """
    changes: dict[str, Any] = {}
    for part in name.split("+"):
        path = Path(folder) / f"{part}.yaml"
        if not path.is_file():
            files = sorted(Path(folder).rglob("*.yaml"))
            known = ", ".join(file.relative_to(folder).with_suffix("").as_posix() for file in files) or "none"
            raise ParamsError(f"no preset {part!r} in {folder}/; there are: {known}")
        changes = merge(changes, read_yaml(path))
    source = path if "+" not in name else f"presets {name}"
    return check_params(merge(read_yaml(params), changes), source=source), changes


def change_arguments(changes: Mapping[str, Any]) -> list[str]:
    """`["-S", "section.key=value", ...]`: changes as `dvc exp run` takes them."""
    return [text for key, value in flatten(changes) for text in ("-S", f"{key}={_override(value)}")]


def preset_arguments(name: str, *, params: str | Path = "params.yaml", folder: str | Path = "presets") -> list[str]:
    """`change_arguments` of a preset, checked together with the params.yaml that it changes."""
    return change_arguments(read_preset(name, params=params, folder=folder)[1])


def _override(value: Any) -> str:
    """A value in the grammar of `dvc exp run -S` (Hydra's); text that could be read as something else is quoted."""
    if isinstance(value, list):
        return f"[{','.join(map(_override, value))}]"
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[A-Za-z_][\w./-]*", value, re.ASCII) and yaml.safe_load(value) == value:
        return value
    # Backslashes count as themselves unless a quote follows them.
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + match[2].replace("'", "\\'"), value)
    return f"'{escaped}'"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.params", description=__doc__)
    parser.add_argument(
        "--preset", metavar="NAME", help="print the -S list of presets/NAME.yaml; several are joined by +"
    )
    arguments = parser.parse_args(argv)
    if arguments.preset:
        print(shlex.join(preset_arguments(arguments.preset)))
        return
    values = dict(flatten(load_params().model_dump()))
    for key, info in iter_fields(Params):
        print(f"{key} = {values[key]}  # {info.description}; allowed: {allowed(info)}")


if __name__ == "__main__":
    run(main)
