"""DVC experiments by name: queued or run at once, in folders of their own, and the metrics that they left in Git.

Data and weights must be tracked by DVC or Git. What DVC has in its run cache is not computed again, so an interrupted
series can simply be started again.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.errors import ExperimentError, RevisionError
from stages.experiments.revisions import read_at


def present_commit() -> str:
    """The commit that experiments start from now.

    It is determined once, before a series starts: the user may commit while it runs.

    Raises:
        ExperimentError: There is no Git repository with a commit.
    """
    try:
        head = _git("rev-parse", "HEAD")
    except FileNotFoundError:
        raise ExperimentError("experiments need git, and there is no command git") from None
    if head.returncode:
        raise ExperimentError("experiments need a Git repository with a commit: `git init`, `git add`, `git commit`")
    return head.stdout.strip()


def changed_files() -> list[str]:
    """The files below this folder that Git tracks and that are not as in the last commit."""
    shown = _git("diff", "--name-only", "--relative", "-z", "HEAD")
    return [path for path in shown.stdout.split("\0") if path]


def run_now(name: str, changes: Sequence[str]) -> int:
    """Run one experiment in a temporary folder; one of the same name on the present commit is replaced.

    Args:
        name: Of the experiment.
        changes: `-S` arguments.

    Returns:
        DVC's exit status.
    """
    _remove(name)
    return _dvc("exp", "run", "--temp", "--name", name, *changes)


def run_here(changes: Sequence[str], *, name: str | None = None) -> int:
    """Run one experiment in the working directory, which keeps the changes of params.yaml and the results.

    Args:
        changes: `-S` arguments.
        name: Of the experiment; None: DVC makes one up.

    Returns:
        DVC's exit status.
    """
    return _dvc("exp", "run", *(["--name", name] if name else []), *changes)


def queue(name: str, changes: Sequence[str]) -> None:
    """Put one experiment into DVC's queue; one of the same name on the present commit is replaced.

    Args:
        name: Of the experiment.
        changes: `-S` arguments.

    Raises:
        ExperimentError: DVC refuses it.
    """
    _remove(name)
    if status := _dvc("exp", "run", "--queue", "--quiet", "--name", name, *changes):
        raise ExperimentError(f"dvc exp run --queue ended with status {status} for {name}; DVC's message is above")


def run_queued(*, jobs: int) -> int:
    """Run everything that is queued, `jobs` at a time; returns DVC's exit status when the last has ended."""
    return _dvc("exp", "run", "--run-all", "--jobs", str(jobs))


def metrics_of(name: str, path: str, *, commit: str) -> dict[str, Any] | None:
    """The metrics that an experiment left.

    Args:
        name: Of the experiment.
        path: The JSON file, relative to this folder, with /.
        commit: The commit that the experiment started from.

    Returns:
        The object in the file; None where the experiment has no such file.
    """
    try:
        metrics: dict[str, Any] = json.loads(read_at(Path(path), _reference(name, commit)))
    except RevisionError:
        return None
    return metrics


def _remove(name: str) -> None:
    if _git("rev-parse", "--verify", "--quiet", _reference(name, present_commit())).returncode == 0:
        _dvc("exp", "remove", "--quiet", name)


def _reference(name: str, commit: str) -> str:
    """Where DVC keeps an experiment. Its name alone would be another one's as soon as the user commits."""
    # Imported here: DVC takes a second to load.
    from dvc.repo.experiments.refs import ExpRefInfo

    return str(ExpRefInfo(commit, name))


def _dvc(*arguments: str) -> int:
    # DVC reports what it does on stdout and stderr, which the user should see while hours pass.
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], check=False).returncode


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
