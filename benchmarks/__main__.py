"""`python -m benchmarks [NAME ...]` runs benchmarks, prints and keeps their tables (benchmarks/results/NAME.md)."""

import argparse
import importlib
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.compare import table
from stages.engine.command import run
from stages.io.files import write_text
from stages.params.schema.engine import available_cores

HERE = Path(__file__).parent
# Each is a module `benchmarks.NAME` with a function `rows()` and a docstring that says what is held against what.
TOOLS = ("__init__", "__main__", "compare", "stage_inputs")
NAMES = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in TOOLS)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)} (default: all)")
    names = parser.parse_args(argv).names or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    for name in names:
        module = importlib.import_module(f"benchmarks.{name}")
        text = f"# {name}\n\n{(module.__doc__ or '').strip()}\n\n{table(module.rows())}\n\n{machine()}\n"
        print(text, flush=True)
        write_text(HERE / "results" / f"{name}.md", text)


def machine() -> str:
    """What the figures depend on besides the code."""
    capability = torch.backends.cpu.get_cpu_capability()
    version = torch.__version__.split("+")[0]
    # Not torch's threads: a benchmark may have set them.
    return f"{available_cores()} cores, {platform.machine()} {capability}, torch {version}."


if __name__ == "__main__":
    run(main)
