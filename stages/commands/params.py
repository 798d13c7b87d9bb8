"""`python -m stages.params`: checks params.yaml and lists every key; `--preset NAME` prints a preset's `-S` list."""

import argparse
import shlex
from collections.abc import Sequence

from stages.engine.command import run
from stages.params.describe import allowed, iter_fields
from stages.params.load import flatten, load_params
from stages.params.presets import preset_arguments
from stages.params.schema import Params


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="aigc-vqa params", description=__doc__)
    parser.add_argument(
        "--preset", metavar="NAME", help="print the -S list of presets/NAME.yaml; several are joined by +"
    )
    arguments = parser.parse_args(argv)
    if arguments.preset:
        print(shlex.join(preset_arguments(arguments.preset)))
        return
    values = dict(flatten(load_params().model_dump()))
    for key, info in iter_fields(Params):
        print(f"{key} = {values[key]}  # {info.description}; allowed: {allowed(info)}")


if __name__ == "__main__":
    run(main)
