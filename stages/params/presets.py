"""Presets: files of changes to params.yaml, and their form as arguments of `dvc exp run`."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stages.errors import ParamsError
from stages.params.load import check_params, flatten, merge, read_yaml
from stages.params.schema import Params


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
