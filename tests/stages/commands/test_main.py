"""The command `aigc-vqa`: what it lists, what it loads, and how it ends when it is called wrongly."""

import subprocess
import sys
from importlib.metadata import version

import pytest

from stages.commands.main import COMMANDS, call, summary
from tests.conftest import ROOT


def ending(*words: str) -> object:
    with pytest.raises(SystemExit) as caught:
        call(words)
    return caught.value.code


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending("--help") == 0
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [name for name in shown if name in COMMANDS] == list(COMMANDS)


def test_without_a_command_the_help_stands_where_an_error_would(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending() == 2
    assert "Commands:" in capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_plain_text_within_the_terminal(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert ending(name, "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"usage: aigc-vqa {name}")
    assert summary(name).split()[0] == lines[2].split()[0]
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() and line.isascii() for line in lines)


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending("--version") == 0
    assert capsys.readouterr().out == f"{version('aigc-vqa')}\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("scoer", f"unknown command 'scoer'; allowed: {', '.join(COMMANDS)}. See `aigc-vqa --help`."),
        ("score", "PATH... is missing. See `aigc-vqa score --help`."),
        ("score a.mp4 --outt b", "unknown option: --outt. Did you mean --out? See `aigc-vqa score --help`."),
        ("crops a.mp4 b.mp4 --out c.png", "unexpected 'b.mp4'. See `aigc-vqa crops --help`."),
        ("report", "--out is missing. See `aigc-vqa report --help`."),
        ("report --out", "--out needs a value. See `aigc-vqa report --help`."),
        ("report --out a.html --out b.html", "parameter --out specified multiple times. See `aigc-vqa report --help`."),
        (
            "export --format onnxx",
            'invalid value "onnxx" for --format. Choose from: "onnx", "torchscript". Did you mean "onnx"? '
            "See `aigc-vqa export --help`.",
        ),
    ],
)
def test_misuse_is_one_line_that_names_the_option(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(*line.split()) == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: {message}\n"
    assert captured.out == ""


@pytest.mark.parametrize("words", [["metrics", "--help"], ["--help"], ["scoer"], ["cache", "prune"]])
def test_the_networks_libraries_are_loaded_only_where_they_are_needed(words: list[str]) -> None:
    program = f"""
import sys
from stages.commands.main import call
try:
    call({words})
except SystemExit:
    print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
