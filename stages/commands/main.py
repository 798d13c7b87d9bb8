"""The command `aigc-vqa`: score videos, look into one, show, repeat, compare and guard the pipeline's results."""

import ast
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from stages.engine.command import make_app, read_command_line, run

if TYPE_CHECKING:
    from cyclopts import App

# Every command is the function of that name in the module of that name, beside this one.
COMMANDS = (
    "check",
    "run",
    "score",
    "versus",
    "crops",
    "metrics",
    "export",
    "report",
    "gate",
    "protocol",
    "ablation",
    "cache",
    "params",
    "weights",
)


def build_app(*, summaries: dict[str, str] | None = None) -> "App":
    """The application, with commands that are imported when they are called.

    The networks' libraries take seconds to import, and half of the commands can do without.

    Args:
        summaries: Lines that stand for the commands' docstrings, so that help can be shown without importing them.

    Returns:
        The application.
    """
    app = make_app("aigc-vqa", help="Quality scores for AI-generated video.", version=lambda: version("aigc-vqa"))
    for position, name in enumerate(COMMANDS):
        app.command(f"stages.commands.{name}:{name}", name=name, sort_key=position, help=(summaries or {}).get(name))
    return app


def summary(name: str) -> str:
    """The first line of a command's docstring, read without importing its module.

    Args:
        name: The command.

    Returns:
        The line; that of the module for a command that has others below it.
    """
    tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_bytes())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return (ast.get_docstring(functions[0] if functions else tree) or "").partition("\n")[0]


def call(argv: Sequence[str]) -> int | None:
    """Do what a command line asks for.

    Args:
        argv: The words after `aigc-vqa`.

    Returns:
        The exit status; None is 0.

    Raises:
        SystemExit: With status 2 for a wrong command line, with 0 after help.
        AigcVqaError: What the command raises.
    """
    is_named = bool(argv) and argv[0] in COMMANDS
    app = build_app(summaries=None if is_named else {name: summary(name) for name in COMMANDS})
    function, bound = read_command_line(app, argv)
    status: int | None = function(*bound.args, **bound.kwargs)
    return status


def main() -> None:
    """The console script."""
    run(lambda: call(sys.argv[1:]))


if __name__ == "__main__":
    main()
