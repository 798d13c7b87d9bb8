"""The house's own rules: names agree in all places, dvc.yaml lists what stages import and read, models stay pure."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml

from stages.commands.main import COMMANDS
from stages.engine.command import stage_arguments
from stages.engine.device import LIBRARIES
from stages.engine.fingerprint import closure
from stages.io import outs
from stages.params.describe import iter_fields
from stages.params.schema import Params
from tests.conftest import PIPELINES, ROOT, read_stages
from tests.rules.dvc_deps import CODE, code_deps, entries_of
from tests.rules.readme_graph import BLOCK, README, drawn

STAGES = read_stages()
SHARED_SECTIONS = {"dataset", "engine", "method", "methods"}
LIBRARIES_FILE = "libraries.yaml"
TRAININGS = {"detector", "cropper", "train"}


def test_stages_have_one_name_in_all_places() -> None:
    sections = set(Params.model_fields) - SHARED_SECTIONS
    assert sections <= set(STAGES), "every section of params.yaml belongs to a stage"
    for stage, values in STAGES.items():
        assert (ROOT / "stages" / f"{stage}.py").is_file()
        assert (ROOT / "tests" / "stages" / f"test_{stage}.py").is_file()
        assert values["desc"]
        assert re.match(rf"python -m stages\.{stage} ", values["cmd"])


def test_commands_have_one_name_in_all_places() -> None:
    """On the command line, of the module and of its function, of the test, and of a section of the documentation."""
    modules = {path.stem for path in (ROOT / "stages/commands").glob("*.py")}
    assert modules - {"__init__", "main"} == set(COMMANDS)
    text = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert callable(getattr(importlib.import_module(f"stages.commands.{name}"), name))
        assert (ROOT / "tests/stages/commands" / f"test_{name}.py").is_file()
        section = re.split(r"(?m)^## ", text.partition(f"\n## {name}\n")[2])[0]
        assert re.search(rf"<!-- options: {name}( \w+)? -->", section), "docs/hooks.py puts the options there"


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_calls_a_stage_with_the_options_that_it_has(stage: str) -> None:
    module = importlib.import_module(f"stages.{stage}")
    several = {f"${{item.{key}}}": values[0] for key, values in STAGES[stage].get("matrix", {}).items()}
    words = [several.get(word, word) for word in shlex.split(STAGES[stage]["cmd"])]
    arguments = stage_arguments(getattr(module, stage), words[3:])
    assert {f"--{name}" for name in arguments} == set(words[3::2])


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_lists_the_rooms_that_a_stage_imports_from(stage: str) -> None:
    assert [dep for dep in STAGES[stage]["deps"] if CODE.match(dep)] == code_deps(stage)


def params_read(path: Path) -> set[str]:
    """What a stage's module takes from its parameters: sections, and single keys of sections that are not its own."""
    names = {name for name, _ in iter_fields(Params)} | {"engine.n_workers", "engine.n_threads"}
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    taken_of = {id(node.value): node.attr for node in attributes}
    read: set[str] = set()
    for node in attributes:
        match = re.fullmatch(r"params\.(\w+)", ast.unparse(node).replace("load_params()", "params"))
        if match and match[1] in Params.model_fields:
            key = f"{match[1]}.{taken_of.get(id(node))}"
            read.add(key if key in names and match[1] != path.stem else match[1])
        elif match and match[1] in ("plan", "reads_crops", "method"):
            read.add("method")
        elif match and match[1] == "chosen":
            read.add("methods.${method}")
    return {key for key in read if "." not in key or key.split(".")[0] not in read}


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_lists_the_params_that_a_stage_reads(stage: str) -> None:
    """All but those that cannot change what is written; threads and processes change a training."""
    without_effect = {f"engine.{key}" for key in ("n_workers", "batch_frames", "device", "cache_gib")}
    expected = params_read(Path("stages") / f"{stage}.py") - without_effect
    if "engine.n_threads" in expected:
        expected.remove("engine.n_threads")
        expected |= {"engine.threads"} if stage in TRAININGS else set()
    assert {name for name in STAGES[stage].get("params", []) if isinstance(name, str)} == expected


def libraries_noted(path: Path) -> set[str]:
    """The libraries whose versions a module notes with what it writes."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "library_versions"
    ]
    inside = [inner for call in calls for argument in call.args for inner in ast.walk(argument)]
    found = {str(node.value) for node in inside if isinstance(node, ast.Constant)}
    return found | (
        set(LIBRARIES) if any(isinstance(node, ast.Name) and node.id == "LIBRARIES" for node in inside) else set()
    )


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_lists_the_libraries_that_change_a_stage_s_values(stage: str) -> None:
    paths = [Path(*module.split(".")).with_suffix(".py") for module in closure(*entries_of(stage))]
    expected = {name for path in paths if (ROOT / path).is_file() for name in libraries_noted(path)}
    files = [name for name in STAGES[stage].get("params", []) if not isinstance(name, str)]
    assert files == ([{LIBRARIES_FILE: sorted(expected)}] if expected else [])


def test_libraries_have_the_versions_that_are_pinned() -> None:
    pinned = dict(re.findall(r"(?m)^([\w-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(encoding="utf-8")))
    noted = yaml.safe_load((ROOT / LIBRARIES_FILE).read_text(encoding="utf-8"))
    assert noted == {name: pinned[name] for name in noted}
    listed = {name for values in STAGES.values() for entry in values.get("params", []) if isinstance(entry, dict)
              for name in entry[LIBRARIES_FILE]}  # fmt: skip
    assert set(noted) == listed


def test_no_data_path_is_written_in_python() -> None:
    for path in (ROOT / "stages").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {
            node.body[0].value
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documentation:
                assert not re.match(r"(data|weights)/", node.value), f"{path.name}: {node.value}"


def test_commands_look_for_outs_where_dvc_yaml_has_them() -> None:
    written = {
        name if isinstance(name, str) else next(iter(name))
        for values in STAGES.values()
        for kind in ("outs", "metrics", "plots")
        for name in values.get(kind, [])
    }
    # Crops lie in a folder for each method.
    written |= {str(Path(name).parent) for name in written if name.startswith("data/crops/")}
    named = {
        f"{folder}/{value}"
        for name, value in vars(outs).items()
        if name.endswith(("_FILE", "_TABLE", "_FOLDER", "_WEIGHTS"))
        for folder in (outs.WEIGHTS if name.endswith("_WEIGHTS") else outs.DATA, outs.RESULTS)
        if f"{folder}/{value}" in written
    }
    assert len(named) == sum(name.endswith(("_FILE", "_TABLE", "_FOLDER", "_WEIGHTS")) for name in vars(outs))


def test_readme_shows_the_graph_of_dvc_yaml() -> None:
    found = BLOCK.search(README.read_text(encoding="utf-8"))
    assert found is not None, "README has no place for the graph"
    assert found[0] == drawn(), "`make deps` writes it"


def test_dvc_yaml_and_readme_stay_readable_in_one_sitting() -> None:
    for name in (*PIPELINES, "README.md"):
        assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 200, name
