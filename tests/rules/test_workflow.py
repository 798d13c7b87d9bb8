"""The workflow that gates pull requests calls commands that exist, in an order that works, and runs no foreign text."""

import re
import shlex

import pytest
import yaml

from stages.commands import main as cli
from stages.engine.command import read_command_line
from tests.conftest import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/metrics.yml").read_text(encoding="utf-8"))
STEPS = WORKFLOW["jobs"]["gate"]["steps"]
COMMANDS = [line.strip() for step in STEPS for line in step.get("run", "").splitlines()]


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("aigc-vqa ")])
def test_its_calls_of_the_command_are_understood(line: str) -> None:
    words = shlex.split(line)[1:]
    function, _ = read_command_line(cli.build_app(), words)
    assert function.__name__ == words[0]


def test_it_checks_out_runs_and_gates_in_this_order() -> None:
    wanted = ["dvc checkout --allow-missing", "dvc repro", 'aigc-vqa gate --baseline "$BASE" --out gate.md']
    assert [line for line in COMMANDS if line in wanted] == wanted
    # A shallow clone has no base to compare with.
    assert STEPS[0]["with"]["fetch-depth"] == 0


def test_a_run_that_fails_reports_nothing() -> None:
    """The committed results would be taken for its own: the report asks for the run's outcome, not for files."""
    (repro,) = [step for step in STEPS if "dvc repro" in step.get("run", "")]
    (report,) = [step for step in STEPS if "aigc-vqa report" in step.get("run", "")]
    assert f"steps.{repro['id']}.outcome == 'success'" in report["if"]
    assert STEPS.index(repro) < STEPS.index(report)
    # The gate's file is no committed one, and the gate itself is skipped after a failure.
    assert not [step["name"] for step in STEPS if "hashFiles('results/" in step.get("if", "")]


def test_its_make_targets_exist() -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    called = {line.split()[1] for line in COMMANDS if line.startswith("make ")}
    assert called <= targets
    assert called


def test_text_of_a_pull_request_reaches_the_shell_as_variables_only() -> None:
    assert not [step["run"] for step in STEPS if "${{" in step.get("run", "")]
    assert WORKFLOW["permissions"] == {"contents": "read", "pull-requests": "write"}
