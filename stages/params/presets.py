"""Presets: files of changes to params.yaml, and their form as arguments of `dvc exp run`."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from stages.errors import ParamsError
from stages.params.load import check_params, flatten, merge, read_yaml
from stages.params.schema import Params

BASED_ON = "based_on"


def read_preset(
    name: str, *, params: str | Path = "params.yaml", folder: str | Path = "presets"
) -> tuple[Params, dict[str, Any]]:
    """params.yaml with a preset's changes, checked together, and the changes alone.

    Args:
        name: The file in `folder` without its ending; several are joined by `+` and apply one after the other, such as
            `t2vqa_db+detectors/coco`. A preset may name others that it is based on, in the same way: they apply first.
        params: The file that the preset changes.
        folder: Where presets lie.

    Returns:
        The checked params, and the changes, nested as in params.yaml.

    Raises:
        ParamsError: There is no such preset, or the params with its changes do not fit the schema.
    """
    changes = preset_changes(name, folder=folder)
    source = f"presets {name}" if "+" in name else Path(folder) / f"{name}.yaml"
    return check_params(merge(read_yaml(params), changes), source=source), changes


def preset_changes(name: str, *, folder: str | Path = "presets") -> dict[str, Any]:
    """The changes of a preset alone, nested as in params.yaml; see `read_preset`. Raises ParamsError."""
    return _changes(name, Path(folder), ())


def _changes(name: str, folder: Path, above: tuple[str, ...]) -> dict[str, Any]:
    """The changes of presets joined by `+`; `above` are those that are based on them."""
    changes: dict[str, Any] = {}
    for part in name.split("+"):
        path = folder / f"{part}.yaml"
        if not path.is_file():
            known = ", ".join(preset_names(folder)) or "none"
            raise ParamsError(f"no preset {part!r} in {folder}/; there are: {known}")
        if part in above:
            raise ParamsError(f"{path}: a preset that is based on itself ({' -> '.join([*above, part])})")
        own = read_yaml(path)
        base = own.pop(BASED_ON, None)
        if base is not None and not isinstance(base, str):
            raise ParamsError(f"{path}: {BASED_ON} = {base!r}; allowed: the name of a preset, several joined by +")
        if base:
            changes = merge(changes, _changes(base, folder, (*above, part)))
        changes = merge(changes, own)
    return changes


def preset_names(folder: str | Path = "presets") -> list[str]:
    """The presets in a folder, such as `detectors/coco`."""
    return [file.relative_to(folder).with_suffix("").as_posix() for file in sorted(Path(folder).rglob("*.yaml"))]


def read_changes(texts: Iterable[str]) -> dict[str, Any]:
    """Changes as users write them, `section.key=value` with the value in YAML.

    Args:
        texts: The changes; of two of one key the later counts.

    Returns:
        The changes, nested as in params.yaml. Nothing after `=` is the empty text.

    Raises:
        ParamsError: Some are not of that form; all of them are named.
    """
    changes: dict[str, Any] = {}
    problems = []
    for text in texts:
        key, sign, written = text.partition("=")
        try:
            value: Any = yaml.safe_load(written) if written else ""
        except yaml.YAMLError:
            value = written
        if not sign or not all(key.split(".")):
            problems.append(f"{text!r}: a change is written section.key=value, such as train.seed=3")
            continue
        for name in reversed(key.split(".")):
            value = {name: value}
        changes = merge(changes, value)
    if problems:
        raise ParamsError("\n  ".join(["changes that cannot be read", *problems]))
    return changes


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
