"""params.yaml as a checked `Params`: all problems are reported together, each with what is allowed."""

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stages.errors import ParamsError
from stages.params.describe import describe_problem
from stages.params.schema import Params


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
    """Values as `Params`; raise ParamsError, which names `source`, with all problems at once."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        problems = [describe_problem(problem) for problem in error.errors(include_url=False)]
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ParamsError("\n  ".join([f"{source}: {count}", *problems])) from None


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of nested mappings as (`section.key`, value)."""
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
