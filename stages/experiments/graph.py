"""What a run needs: the stages that the scores depend on, and the files that no stage writes.

Read from the pipeline files with the values of the params, so that it can be told before anything runs, and for params
that are not in params.yaml yet.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from stages.params.load import read_yaml

# `dvc repro` runs the stages of the first, and of the second what they depend on.
MAIN, OTHERS = Path("dvc.yaml"), Path("inputs/dvc.yaml")
KEY = re.compile(r"\$\{([^}]+)\}")


class GraphStage(NamedTuple):
    """A stage with the paths that it has for these params.

    Attributes:
        name: As `dvc repro` prints it, without the file.
        deps: What it reads, relative to the project.
        outs: What it writes.
    """

    name: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]


class Plan(NamedTuple):
    """What a run needs.

    Attributes:
        stages: Names of the stages that run, or that are up to date.
        sources: Files and folders that they read and that none of them writes.
    """

    stages: list[str]
    sources: list[str]


def plan_run(values: Mapping[str, Any], *, folder: Path = Path()) -> Plan:
    """The stages and the sources of a run.

    Args:
        values: Every key of the params, as `section.key`.
        folder: The project.

    Returns:
        The plan, in the order of the pipeline files.
    """
    main, others = ([*_stages(folder / path, values)] for path in (MAIN, OTHERS))
    needed = {stage.name: stage for stage in main}
    waiting = [*main]
    sources: dict[str, None] = {}
    while waiting:
        for dep in waiting.pop(0).deps:
            makers = [stage for stage in (*main, *others) if any(_overlap(dep, out) for out in stage.outs)]
            waiting += [stage for stage in makers if stage.name not in needed]
            needed |= {stage.name: stage for stage in makers}
            if not makers:
                sources[dep] = None
    return Plan([stage.name for stage in (*others, *main) if stage.name in needed], [*sources])


def _stages(path: Path, values: Mapping[str, Any]) -> Iterator[GraphStage]:
    if not path.is_file():
        return
    for name, stage in read_yaml(path)["stages"].items():
        matrix = stage.get("matrix", {})
        for chosen in product(*matrix.values()):
            items = {f"item.{key}": value for key, value in zip(matrix, chosen, strict=True)}
            deps, outs = (
                tuple(_resolved(entry, {**values, **items}) for kind in kinds for entry in stage.get(kind, []))
                for kinds in (("deps",), ("outs", "metrics", "plots"))
            )
            yield GraphStage("@".join([name, *map(str, chosen)]), deps, outs)


def _resolved(entry: str | Mapping[str, Any], values: Mapping[str, Any]) -> str:
    path = entry if isinstance(entry, str) else next(iter(entry))
    return KEY.sub(lambda match: str(values[match[1]]), path)


def _overlap(one: str, other: str) -> bool:
    """Whether one path is the other, or lies in it."""
    first, second = Path(one), Path(other)
    return first.is_relative_to(second) or second.is_relative_to(first)
