"""DVC experiments by name: queued or run at once, in folders of their own, and the metrics that they left in Git.

Data and weights have to be tracked by DVC or Git. What DVC has in its run cache is not computed again, so a series that
was interrupted can simply be started anew.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from stages.errors import ExperimentError


def present_commit() -> str:
    """The commit that experiments start from now; raise ExperimentError where there is no repository with a commit.

    Asked for once, before a series starts: the user may commit while it runs.
    """
    try:
        head = _git("rev-parse", "HEAD")
    except FileNotFoundError:
        raise ExperimentError("experiments need git, and there is no command git") from None
    if head.returncode:
        raise ExperimentError("experiments need a Git repository with a commit: `git init`, `git add`, `git commit`")
    return head.stdout.strip()


def run_now(name: str, changes: Sequence[str]) -> int:
    """Run one experiment in a temporary folder; returns DVC's exit status.

    changes: `-S` arguments. An experiment of that name and of the present commit is replaced.
    """
    _remove(name)
    return _dvc("exp", "run", "--temp", "--name", name, *changes)


def run_here(changes: Sequence[str], *, name: str = "") -> int:
    """Run one experiment in the working directory, which keeps the changes of params.yaml and the results.

    Args:
        changes: `-S` arguments.
        name: Of the experiment; empty: DVC makes one up.

    Returns:
        DVC's exit status.
    """
    return _dvc("exp", "run", *(["--name", name] if name else []), *changes)


def queue(name: str, changes: Sequence[str]) -> None:
    """Put one experiment into DVC's queue, in place of one of that name. Raises ExperimentError."""
    _remove(name)
    if status := _dvc("exp", "run", "--queue", "--quiet", "--name", name, *changes):
        raise ExperimentError(f"dvc exp run --queue ended with status {status} for {name}; DVC's message is above")


def run_queued(*, jobs: int) -> int:
    """Run all that is queued, `jobs` at a time; returns DVC's exit status when the last has ended."""
    return _dvc("exp", "run", "--run-all", "--jobs", str(jobs))


def metrics_of(name: str, path: str, *, commit: str) -> dict[str, Any] | None:
    """The JSON file at `path` (from this folder, with /) as an experiment on `commit` left it; None when it did not."""
    shown = _git("show", f"{_reference(name, commit)}:./{path}")
    return None if shown.returncode else json.loads(shown.stdout)


def _remove(name: str) -> None:
    if _git("rev-parse", "--verify", "--quiet", _reference(name, present_commit())).returncode == 0:
        _dvc("exp", "remove", "--quiet", name)


def _reference(name: str, commit: str) -> str:
    """Where DVC keeps an experiment."""
    return f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"


def _dvc(*arguments: str) -> int:
    # DVC tells what it does on stdout and stderr, which the user should see while hours pass.
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], check=False).returncode


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
