"""The command `aigc-vqa`: score videos, look into one, show, repeat, compare and guard the pipeline's results."""

import argparse
from collections.abc import Sequence

from stages.command import run


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, and under `call` the function that takes the others."""
    # Imported here: worker processes import the main module anew, and must not load the networks' libraries.
    from stages import (
        ablation,
        gate,
        protocol,
        report,
        score,
        show,
        summary,
    )

    parser = argparse.ArgumentParser(prog="aigc-vqa", description="Quality scores for AI-generated video.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (
        score,
        show,
        summary,
        report,
        gate,
        protocol,
        ablation,
        report,
    ):
        module.add_arguments(commands)
    return parser.parse_args(argv)


def main() -> None:
    """The console script."""

    def call() -> int | None:
        arguments = vars(parse())
        return arguments.pop("call")(**arguments)

    run(call)


if __name__ == "__main__":
    main()
