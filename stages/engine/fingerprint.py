"""A name for the code that decides a stage's values, so that changed code never yields old values from the cache.

A key of the item cache, or of a finished training, holds the fingerprint of the stage that made it: a hash of what its
modules do. Comments, docstrings, layout and the wording of messages are no part of it; an operator is.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = ("models", "stages")
# Modules that cannot change a value, each with the reason. A change in any other module that a stage imports makes its
# keys new. `tests/rules/test_fingerprint.py` checks the list against the imports of every stage.
NEUTRAL = {
    "models.config": "the base of the schemas: the values that they hold stand in the key",
    "models.detectors": "a package without code",
    "models.detectors.config": "a schema: the values that it holds stand in the key",
    "models.errors": "classes of errors: a failure is never cached",
    "models.methods": "finds the method of a name; the stages name its modules beside their own",
    "models.s2cnet": "a package without code",
    "models.s2cnet.config": "a schema: the values that it holds stand in the key",
    "stages.errors": "classes of errors: a failure is never cached",
    "stages.engine.cache": "keeps tables under keys that others make, and gives them back as they are",
    "stages.engine.command": "exit status and the closing words of a command",
    "stages.engine.fingerprint": "names code: a change here gives other names, not other values",
    "stages.engine.progress": "draws progress bars",
    "stages.engine.run": "decides when an item is computed and where it is kept, not what it holds",
    "stages.engine.runners": "a package without code",
    "stages.engine.runners.local": "decides where an item is computed, not what it holds",
    "stages.engine.workers": "starts processes and ends them",
    "stages.io.files": "writes bytes whole or not at all, whatever they are",
    "stages.io.json": "writes results beside the tables, which no key covers",
    "stages.params": "the params that a stage reads stand in the key by their values",
    "stages.params.describe": "words what the schema allows",
    "stages.params.load": "the params that a stage reads stand in the key by their values",
    "stages.params.schema": "the params that a stage reads stand in the key by their values",
}
# The sections of params.yaml, whose values stand in the key, and the packages of the methods, which hold no code.
NEUTRAL_PLACES = re.compile(r"stages\.params\.schema\..*|models\.methods\.(?!interface$)\w+(\.config)?")
# Arguments that hold text for people, as argparse, pydantic and progress bars name them.
WORDS = {"help", "description", "desc", "unit", "title", "metavar"}
# Fields of a syntax tree that add nothing to the others.
UNSEEN = {"ctx", "kind", "type_comment"}


def fingerprint(*modules: str, root: Path | None = None) -> str:
    """Hash of the code of `modules` and of all project modules that they import, the neutral ones aside.

    Args:
        modules: Dotted names, such as `stages.decode`.
        root: Folder that holds the packages; by default the one that this module was imported from.

    Returns:
        32 hexadecimal digits; the same for equal code on every machine and Python version.
    """
    names = closure(*modules, root=root)
    parts = [f"{name} {_module(_path(name, _root(root)))[0]}" for name in sorted(names) if not is_neutral(name)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def closure(*modules: str, root: Path | None = None) -> set[str]:
    """The modules and all project modules that they import, directly or through others, anywhere in their code.

    Args:
        modules: Dotted names, such as `stages.decode`.
        root: Folder that holds the packages; by default the one that this module was imported from.

    Returns:
        Dotted names, those of the packages on the way included.
    """
    seen: set[str] = set()
    waiting = {*modules}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for imported in _module(_path(name, _root(root)))[1]:
            imported_modules = {part for part in _prefixes(imported) if _path(part, _root(root)).is_file()}
            waiting |= imported_modules - seen
    return seen


def is_neutral(module: str) -> bool:
    """Whether a module is on the list of those that cannot change a value."""
    return module in NEUTRAL or NEUTRAL_PLACES.fullmatch(module) is not None


def _root(root: Path | None) -> Path:
    return Path(__file__).resolve().parents[2] if root is None else root


def _path(module: str, root: Path) -> Path:
    base = root.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _prefixes(dotted: str) -> Iterator[str]:
    parts = dotted.split(".")
    return (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))


def _module(path: Path) -> tuple[str, tuple[str, ...]]:
    stat = path.stat()
    return _parsed(path, (stat.st_mtime_ns, stat.st_size))


@cache
def _parsed(path: Path, _stamp: tuple[int, int]) -> tuple[str, tuple[str, ...]]:
    """The hash of a file's normalised syntax tree, and the dotted names that it imports from the project."""
    tree = ast.parse(path.read_bytes())
    tree = _Normaliser().visit(tree)
    imported = tuple(name for node in ast.walk(tree) for name in _imports(node))
    text = _described(tree)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), imported


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        return
    yield from (name for name in names if name.split(".")[0] in PACKAGES)


class _Normaliser(ast.NodeTransformer):
    """Removes what cannot change a value: docstrings, the wording of errors and help texts, imports for types alone."""

    def visit(self, node: ast.AST) -> Any:
        node = super().visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [inner for inner in body if not _is_text(inner)]  # type: ignore[attr-defined]
        return node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        is_for_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if is_for_types else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "print":
            node.args, node.keywords = [], []
        node.keywords = [keyword for keyword in node.keywords if keyword.arg not in WORDS]
        return self.generic_visit(node)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _described(value: object) -> str:
    """A syntax tree as text that is the same for every Python version, unlike `ast.dump` with its empty fields."""
    if isinstance(value, ast.AST):
        fields = ((name, inner) for name, inner in ast.iter_fields(value) if name not in UNSEEN)
        inside = ",".join(f"{name}={_described(inner)}" for name, inner in fields if inner is not None and inner != [])
        return f"{type(value).__name__}({inside})"
    if isinstance(value, list):
        return f"[{','.join(map(_described, value))}]"
    return repr(value)
