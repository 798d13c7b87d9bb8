"""The plan of the house: which room may import from which, how many files a room holds, one name per command."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Imports go down only: a room may import from rooms of a lower floor and from itself.
FLOORS = {
    "models": 0,
    "stages.errors": 0,
    "stages.io": 1,
    "stages.params": 1,
    "stages.datasets": 2,
    "stages.engine": 3,
    "stages.steps": 4,
    "stages.demo_data": 5,
    "stages.evaluation": 5,
    "stages.training": 5,
    "a stage": 6,
    "stages.experiments": 6,
    "stages.report": 7,
    "stages.commands": 8,
}
MAX_FILES = 15
MODULES = sorted(path.relative_to(ROOT) for top in ("models", "stages") for path in (ROOT / top).rglob("*.py"))


def room(module: str) -> str:
    parts = module.split(".")
    name = parts[0] if parts[0] == "models" else ".".join(parts[:2])
    return name if name in FLOORS else "a stage"


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports from the project, wherever in it the import stands."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in ("models", "stages"))


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_go_down_only(path: Path) -> None:
    if path == Path("stages/__init__.py"):
        return
    own = room(".".join(path.with_suffix("").parts))
    upward = [
        name
        for name in imported(path)
        if FLOORS[room(name)] > FLOORS[own] or (own == room(name) == "a stage" and name.split(".")[1] != path.stem)
    ]
    assert not upward, f"{path} ({own}) imports {upward}"


def test_no_room_holds_more_files_than_a_reader_can_keep_in_mind() -> None:
    counts = Counter(path.parent.as_posix() for path in MODULES if path.name != "__init__.py")
    assert {room: count for room, count in counts.items() if count > MAX_FILES} == {}


def test_models_open_no_files() -> None:
    """Weights, images and tables come to them as values."""
    for path in MODULES:
        if path.parts[0] == "models":
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
            names = {call.id for call in calls if isinstance(call, ast.Name)}
            names |= {call.attr for call in calls if isinstance(call, ast.Attribute)}
            assert not names & {"open", "read_text", "read_bytes", "imread"}, path


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(path.as_posix())
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}
