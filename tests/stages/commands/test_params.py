"""`aigc-vqa params`: every key with its value, or what a preset changes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stages.commands.params import params
from stages.errors import ParamsError
from stages.params.describe import iter_fields
from stages.params.schema import Params


def test_every_key_is_listed(write_params: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    write_params(split={"seed": 1234})
    params()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" = ")[0] for line in lines] == [key for key, _ in iter_fields(Params)]
    assert "split.seed = 1234  # seed of the split; allowed: an integer from 0 to 2147483647" in lines


def test_a_preset_is_given_as_options_of_dvc(
    write_params: Callable[..., None], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_params()
    (workplace / "presets").mkdir()
    (workplace / "presets" / "b.yaml").write_text("split: {seed: 3, by: video}\n")
    params(preset="b")
    assert capsys.readouterr().out == "-S split.seed=3 -S split.by=video\n"
    with pytest.raises(ParamsError, match="no preset 'kvq'"):
        params(preset="kvq")
