"""The command `aigc-vqa`: score videos, look into one, show, repeat, compare and guard the pipeline's results."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from stages.engine.command import run

# Command -> the module that holds it.
COMMANDS = {
    "run": "stages.commands.run",
    "score": "stages.commands.score",
    "crops": "stages.commands.crops",
    "metrics": "stages.commands.metrics",
    "export": "stages.commands.export",
    "report": "stages.commands.report",
    "gate": "stages.commands.gate",
    "protocol": "stages.commands.protocol",
    "ablation": "stages.commands.ablation",
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, and under `call` the function that takes the others."""
    parser = argparse.ArgumentParser(prog="aigc-vqa", description="Quality scores for AI-generated video.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    # The networks' libraries take seconds to import, and half of the commands can do without; so can worker processes,
    # which import this module anew.
    asked = [argv[0]] if argv and argv[0] in COMMANDS else COMMANDS
    for name in asked:
        import_module(COMMANDS[name]).add_arguments(commands)
    return parser.parse_args(argv)


def main() -> None:
    """The console script."""

    def call() -> int | None:
        arguments = vars(parse(sys.argv[1:]))
        return arguments.pop("call")(**arguments)

    run(call)


if __name__ == "__main__":
    main()
