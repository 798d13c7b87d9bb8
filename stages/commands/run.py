"""`aigc-vqa run`: the pipeline with a preset and single changes, as a DVC experiment in the working directory."""

import argparse
from collections.abc import Sequence
from typing import Any

from stages.experiments.dvc import present_commit, run_here
from stages.params.load import check_params, merge, read_yaml
from stages.params.presets import change_arguments, preset_changes, read_changes


def run(preset: str = "", set: Sequence[str] = (), name: str = "") -> int:
    """Check params.yaml with the changes applied, all problems at once; then run the experiment.

    params.yaml keeps the changes, and what they do not touch comes from the cache: `dvc exp run` does the work, and its
    output is shown as it comes.

    Args:
        preset: presets/NAME.yaml; several are joined by `+`. Empty: params.yaml alone.
        set: Changes `section.key=value`, which count over the preset's.
        name: Name of the experiment; empty: DVC makes one up.

    Returns:
        DVC's exit status.

    Raises:
        ParamsError: The preset is unknown, or the values do not fit the schema.
        ExperimentError: There is no Git repository with a commit.
    """
    changes = merge(preset_changes(preset) if preset else {}, read_changes(set))
    source = " and ".join(["params.yaml", *(["the preset " + preset] if preset else []), *(["-S"] if set else [])])
    check_params(merge(read_yaml("params.yaml"), changes), source=source)
    present_commit()
    return run_here(change_arguments(changes), name=name)


def add_arguments(commands: Any) -> None:
    """Register the command with its arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "run",
        help="run the pipeline with a preset and changes",
        description="Check params.yaml with a preset and single changes, then run the pipeline with them as a DVC "
        "experiment in the working directory. Exit status: DVC's.",
    )
    parser.add_argument("--preset", default="", metavar="NAME", help="presets/NAME.yaml; several are joined by +")
    parser.add_argument(
        "-S", "--set", action="append", default=[], metavar="KEY=VALUE", help="change one value; may be given often"
    )
    parser.add_argument("--name", default="", help="name of the experiment (DVC makes one up)")
    parser.set_defaults(call=run)
