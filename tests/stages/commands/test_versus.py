"""`aigc-vqa versus` on rendered clips: the numbers are those of `score`, the page stands alone, faults are named."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.commands import main as cli
from stages.commands.versus import unlike_notes, verdict
from stages.errors import DatasetError, EvaluationError
from stages.evaluation.versus import Duel
from stages.io.schemas import MANIFEST
from stages.io.tables import write_frame
from stages.steps import Scorer
from tests.conftest import noise_clip, write_clip
from tests.stages.commands.test_score import model  # noqa: F401 (a fixture)

PROMPTS = 4


@pytest.fixture
def call(model: Path, workplace: Path) -> Callable[..., int | None]:  # noqa: F811
    """Two folders of clips, the second much darker; calls the command in their parent."""
    for side in ("bright", "dark"):
        for prompt in range(PROMPTS):
            frames = noise_clip(prompt)
            write_clip(workplace / side / f"{prompt}.avi", frames if side == "bright" else frames // 4)

    def run(*arguments: object) -> int | None:
        options = ("--model", str(model), "--device", "cpu", "--workers", "1", "--samples", "500")
        return cli.call(["versus", *map(str, arguments), *options])

    return run


def test_two_folders(
    call: Callable[..., int],
    model: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("bright", "dark", "--out", "page.html") == 0
    numbers = json.loads(Path("page.json").read_text())
    scorer = Scorer.load(model, device="cpu")
    expected = {
        side: np.array([scorer.score(f"{side}/{prompt}.avi").score for prompt in range(PROMPTS)], float)
        for side in ("bright", "dark")
    }
    (pair,) = numbers["pairs"]
    differences = expected["bright"] - expected["dark"]
    assert pair["difference"] == pytest.approx(differences.mean())
    assert pair["win_rate"] == np.mean(differences > 0)
    assert {row["name"]: row["mean"] for row in numbers["ranking"]} == pytest.approx(
        {side: values.mean() for side, values in expected.items()}
    )
    assert [row["n_scored"] for row in numbers["ranking"]] == [PROMPTS, PROMPTS]
    sizes = [abs(row["first_score"] - row["second_score"]) for row in numbers["largest_differences"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == pytest.approx(np.abs(differences).max())
    assert len(numbers["videos"]) == 2 * PROMPTS
    shown = capsys.readouterr().out
    assert "it sees neither the prompt nor the motion between frames" in shown
    assert "written to page.html and page.json" in shown


class Page(HTMLParser):
    """Counts what a page shows, and collects what it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.cards, self.pictures, self.addresses = 0, 0, []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.cards += tag == "article"
        self.pictures += tag == "image"
        self.addresses += [value for name, value in attrs if name in ("href", "src") and value]


def test_the_page_stands_alone(call: Callable[..., int]) -> None:
    Path("bright/3.avi").rename("bright/<b>&.avi")
    Path("dark/3.avi").rename("dark/<b>&.avi")
    call("bright", "dark", "--out", "page.html")
    text = Path("page.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    # Four prompts, two sides, three scored frames each.
    assert (page.cards, page.pictures) == (PROMPTS, PROMPTS * 2 * 3)
    assert all(address.startswith("data:") for address in page.addresses)
    assert "<b>&.avi" not in text
    assert "&lt;b&gt;&amp;" in text


def test_many_folders_are_ranked(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    for prompt in range(3):
        write_clip(Path(f"third/{prompt}.avi"), noise_clip(prompt)[:, ::-1])
    assert call("bright", "dark", "third", "--out", "page.html") == 0
    numbers = json.loads(Path("page.json").read_text())
    means = [row["mean"] for row in numbers["ranking"]]
    assert means == sorted(means, reverse=True)
    assert {row["n_prompts"] for row in numbers["ranking"]} == {3}
    assert len(numbers["pairs"]) == 3
    assert "1 of 4 prompts are not there on every side" in capsys.readouterr().out


def test_a_video_that_cannot_be_scored_is_named(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    Path("dark/0.avi").write_bytes(b"")
    assert call("bright", "dark") == 1
    assert "failed: dark/0.avi: the file is empty" in capsys.readouterr().out


def test_prompts_from_a_table(call: Callable[..., int]) -> None:
    lines = [f"{side}/{prompt}.avi,prompt {prompt % 2}" for side in ("bright", "dark") for prompt in range(PROMPTS)]
    Path("prompts.csv").write_text("\n".join(["path,prompt", *lines]))
    with pytest.raises(EvaluationError, match=r"2 prompts are common to bright, dark"):
        call("bright", "dark", "--prompts", "prompts.csv")


def test_generators_of_a_manifest(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        (f"{side}/{prompt}.avi", side, f"prompt {prompt}") for side in ("bright", "dark") for prompt in range(PROMPTS)
    ]
    table = pd.DataFrame({name: pd.Series([None] * len(rows), dtype=object) for name in MANIFEST.names})
    table["path"], table["generator"], table["prompt"] = zip(*rows, strict=True)
    table["video_id"], table["status"] = table["path"], "ok"
    table.loc[0, "status"] = "failed"
    write_frame("manifest.parquet", table, schema=MANIFEST, metadata={"made_by": {}})
    assert call(".", "--manifest", "manifest.parquet", "--out", "page.html") == 0
    by_generator = json.loads(Path("page.json").read_text())["pairs"][0]
    assert (by_generator["first"], by_generator["n_prompts"]) == ("bright", PROMPTS - 1)
    assert "trained on are among these" in capsys.readouterr().out
    Path("bright/0.avi").unlink()
    assert call("bright", "dark", "--out", "folders.html") == 0
    assert json.loads(Path("folders.json").read_text())["pairs"][0] == by_generator
    with pytest.raises(DatasetError, match="--manifest: one folder is needed"):
        call("bright", "dark", "--manifest", "manifest.parquet")
    table["generator"] = "one"
    write_frame("manifest.parquet", table, schema=MANIFEST, metadata={"made_by": {}})
    with pytest.raises(DatasetError, match="1 generators with prompts; two or more"):
        call(".", "--manifest", "manifest.parquet")


def test_wrong_options(call: Callable[..., int]) -> None:
    with pytest.raises(DatasetError, match="two or more folders"):
        call("bright")
    with pytest.raises(DatasetError, match=r"--confidence 2\.0: allowed"):
        call("bright", "dark", "--confidence", 2)
    with pytest.raises(DatasetError, match=r"allowed endings are \.html and \.htm"):
        call("bright", "dark", "--out", "page.pdf")


def duel(**changes: object) -> Duel:
    values = {
        "first": "a", "second": "b", "n_prompts": 9, "difference": -3.0, "low": -5.0, "high": -1.0, "p_value": 0.01,
        "win_rate": 0.2, "win_low": 0.1, "win_high": 0.4, "n_needed": 12,
    }  # fmt: skip
    return Duel(**(values | changes))  # type: ignore[arg-type]


def test_a_verdict_needs_the_interval_and_the_p_value() -> None:
    assert verdict(duel(), 0.95) == "b is better than a by 3.00 points (1.00 to 5.00, p = 0.0100) on 9 prompts."
    for unsure in (duel(high=0.5), duel(p_value=0.06)):
        text = verdict(unsure, 0.95)
        assert text.startswith("a and b cannot be told apart: -3.00 points (-5.00 to ")
        assert text.endswith("; about 12 prompts would tell a difference of this size.")


def test_a_folder_unlike_the_training_videos_is_said_to_be_so() -> None:
    sides = [{"name": name, "n_scored": 40, "n_unlike": count} for name, count in (("a", 4), ("b", 5))]
    (note,) = unlike_notes(sides)
    assert re.match(r"b: 5 of 40 videos do not look like those that the model learnt from", note)
