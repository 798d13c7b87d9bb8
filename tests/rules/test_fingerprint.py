"""Every module that a stage imports either stands in its keys or on the list of neutral ones; words stand in none."""

import ast
import shutil
from pathlib import Path

import pytest

from stages.engine.fingerprint import NEUTRAL, closure, fingerprint, is_neutral
from tests.conftest import ROOT, read_stages
from tests.rules.dvc_deps import entries_of

STAGES = list(read_stages())
EVERY_CLOSURE = {stage: closure(*entries_of(stage)) for stage in STAGES}
MODULES = sorted({name for names in EVERY_CLOSURE.values() for name in names})


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    for name in ("stages", "models"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def path_of(module: str, root: Path) -> Path:
    base = root.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


class _OtherOperator(ast.NodeTransformer):
    """Turns the first operator, or truth value, or number that is met into another one."""

    done = False

    def visit(self, node: ast.AST) -> ast.AST:
        if self.done or isinstance(node, ast.Raise):
            return node
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
            node.op, self.done = (ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()), True
        elif isinstance(node, ast.Compare):
            node.ops[0], self.done = (ast.NotEq() if isinstance(node.ops[0], ast.Eq) else ast.Eq()), True
        elif isinstance(node, ast.Constant) and isinstance(node.value, int):
            node.value, self.done = int(node.value) + 1, True
        return node if self.done else self.generic_visit(node)


def with_another_operator(text: str) -> str:
    """The code with one operator changed; code without any gets a statement."""
    changer = _OtherOperator()
    tree = changer.visit(ast.parse(text))
    return ast.unparse(ast.fix_missing_locations(tree)) if changer.done else f"{text}\n_changed = 1 + 1\n"


@pytest.mark.parametrize("module", MODULES)
def test_a_changed_operator_changes_the_key_of_every_stage_that_imports_the_module(copy: Path, module: str) -> None:
    users = [stage for stage in STAGES if module in EVERY_CLOSURE[stage]]
    before = {stage: fingerprint(*entries_of(stage), root=copy) for stage in users}
    path = path_of(module, copy)
    path.write_text(with_another_operator(path.read_text(encoding="utf-8")), encoding="utf-8")
    after = {stage: fingerprint(*entries_of(stage), root=copy) for stage in users}
    shutil.copy2(path_of(module, ROOT), path)
    for stage in users:
        assert (after[stage] == before[stage]) == is_neutral(module), stage


WORDS = '''"""A module."""
from stages.errors import VideoError


def read(path, limit):
    """Read a file."""
    if limit > 3:
        raise VideoError(f"{path}: too long")
    print("read", path)
    return limit + 1
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('"""A module."""', '"""Another module."""\n# with a comment', True),
        ('    """Read a file."""\n', "", True),
        ('f"{path}: too long"', 'f"{path}: longer than {limit}"', True),
        ('print("read", path)', 'print("read it", limit)', True),
        ("def read(path, limit):", "def read(\n    path,\n    limit,\n):", True),
        ("limit > 3", "limit >= 3", False),
        ("limit > 3", "limit > 4", False),
        ("return limit + 1", "return limit - 1", False),
        ("raise VideoError", "raise ValueError", False),
        ("return limit + 1", "return None", False),
    ],
)
def test_words_and_layout_are_no_part_of_it(tmp_path: Path, old: str, new: str, same: bool) -> None:
    (tmp_path / "stages").mkdir()
    path = tmp_path / "stages" / "thing.py"
    (tmp_path / "stages" / "__init__.py").write_text("")
    (tmp_path / "stages" / "errors.py").write_text("class VideoError(Exception): ...\n")
    path.write_text(WORDS)
    before = fingerprint("stages.thing", root=tmp_path)
    assert old in WORDS
    path.write_text(WORDS.replace(old, new))
    assert (fingerprint("stages.thing", root=tmp_path) == before) == same


def test_neutral_modules_exist_and_say_why() -> None:
    for module, reason in NEUTRAL.items():
        assert path_of(module, ROOT).is_file(), module
        assert reason


def test_no_version_is_kept_by_hand() -> None:
    for path in (ROOT / "stages").rglob("*.py"):
        assert "\nVERSION" not in path.read_text(encoding="utf-8"), path
