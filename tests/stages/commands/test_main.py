"""The command `aigc-vqa`: what it lists, and what it loads."""

import subprocess
import sys

import pytest

from stages.commands.main import COMMANDS, parse
from tests.conftest import ROOT


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    assert [name for name in shown if name in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_module_that_is_named(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse([name, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: aigc-vqa {name} ")


def test_an_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["scoer"])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert all(name in message for name in COMMANDS)


def test_the_metrics_are_shown_without_the_networks_libraries() -> None:
    program = "import sys; from stages.commands.main import parse; parse(['metrics']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
