"""The page's contents: right numbers in the right places, foreign text inert, missing parts left out."""

import base64
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from stages.commands import main as cli
from stages.errors import DatasetError, EvaluationError, TableError
from stages.io.schemas import AUDIT, MANIFEST
from stages.io.tables import read_frame, write_frame
from stages.params.schema import EvaluateParams
from stages.report import content
from stages.report.pictures import curve_points, shown_positions, thumbnail
from stages.report.sources import read_sources
from tests.stages.commands.report_run import (
    FAILED,
    HOSTILE_GENERATOR,
    HOSTILE_NAME,
    HOSTILE_PROMPT,
    N_VIDEOS,
    UNEVEN,
    WORST,
    make_run,
    report,
    video_ids,
    write,
)

PARAMS = EvaluateParams(bootstrap_samples=100, confidence=0.9, seed=0)


@pytest.fixture
def ready(workplace: Path, write_params: Callable[..., None]) -> Path:
    write_params(evaluate={"bootstrap_samples": 100})
    return workplace


def test_the_page_holds_metrics_cards_audit_ablation_and_every_video(ready: Path) -> None:
    metrics = make_run()
    page = report("--title", "My data")
    assert all(f"{metrics[key]:.3f}" in page.text for key in ("srocc", "plcc", "krocc", "mean", "plcc_logistic"))
    assert f"{metrics['rmse']:.2f}" in page.text
    assert "0.123" in page.text  # plain sharpness, the baseline
    assert "1 test video failed." in page.text
    assert "backbone tiny_net" in page.text
    rows = [attributes for attributes in page.all("tr") if str(attributes.get("id", "")).startswith("video-")]
    assert len(rows) == N_VIDEOS
    # A picture for every video with frames; data addresses only.
    assert len(page.all("img")) == N_VIDEOS - 1
    assert "No part stands out of the noise <here>." in page.text
    assert "FCL + S²CNet + FGM" in page.text
    for found in ("header says 9 frames, 8 decode; variable frame rate; 3 repeated frames", "the file is empty"):
        assert found in page.text
    sections = {attributes["id"] for attributes in page.all("section")}
    assert sections == {
        "metrics", "agreement", "generators", "ablation", "audit", "errors", "inconsistent", "videos", "made",
    }  # fmt: skip


def test_the_page_needs_nothing_but_itself_and_lets_no_other_script_run(ready: Path) -> None:
    make_run()
    page = report()
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith(("data:", "#")), (tag, attributes)
    (policy,) = [one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in str(policy)
    assert len(page.all("script")) == 1


def test_foreign_text_stays_text(ready: Path) -> None:
    make_run()
    page = report("--title", "<b>title</b>")
    # No attribute or element came out of a name; all of them are there to read.
    assert not [one for one in page.elements if "onerror" in one[1]]
    assert not [one for one in page.all("img") if one["src"] == "x"]
    assert len(page.all("script")) == 1
    for text in (HOSTILE_NAME, HOSTILE_PROMPT, HOSTILE_GENERATOR, "<b>title</b>"):
        assert text in page.text
    # In the figure as well, whose names must not be read as formulas either.
    figures = re.findall(r"<svg[^>]*aria-hidden.*?</svg>", Path("page.html").read_text(encoding="utf-8"), re.DOTALL)
    assert len(figures) == 4
    for figure in figures:
        ElementTree.fromstring(figure)
    # Its name is too long for the figure: the middle is left out.
    assert any("$\\frac{$&lt;/tex…" in figure for figure in figures)


def test_the_same_run_gives_the_same_bytes(ready: Path) -> None:
    make_run()
    report()
    first = Path("page.html").read_bytes()
    report()
    assert Path("page.html").read_bytes() == first


def test_the_cards_show_the_worst_and_the_most_uneven_first(ready: Path) -> None:
    make_run()
    sources = read_sources(Path("results"), Path("data"), baseline=None)
    row_of = {name: number for number, name in enumerate(video_ids())}
    worst = content.worst_errors(sources.test)
    assert worst["video_id"].iloc[0] == WORST
    assert worst["error"].iloc[0] == pytest.approx(-40)
    assert len(worst) == 12
    uneven = content.most_inconsistent(sources.test)
    assert uneven["video_id"].iloc[0] == UNEVEN
    assert FAILED not in set(sources.test["video_id"])
    (card,) = content.cards(sources, uneven.head(1), row_of)
    assert card["number"] == row_of[UNEVEN]
    # Scores fall by 30 from frame to frame: the last is the worst. The box is the selected candidate's.
    assert [frame.worst for frame in card["strip"]] == [False, False, True]
    assert np.diff([frame.score for frame in card["strip"]]) == pytest.approx([-30, -30])
    assert all(frame.crop_xyxy_px == (4.0, 2.0, 40.0, 30.0) for frame in card["strip"])
    # Three pictures: their middles stand at a sixth, a half and five sixths of the width.
    assert [x for x, _ in card["points"]] == pytest.approx([100 / 6, 50, 500 / 6])
    kind, data = card["strip"][0].address.split(",")
    assert kind == "data:image/webp;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (32, 48, 3)


def test_a_video_without_a_row_in_the_audit_has_no_findings_from_it(ready: Path) -> None:
    make_run()
    audit = read_frame("results/audit.parquet", schema=AUDIT)
    write_frame("results/audit.parquet", audit[audit["video_id"] != WORST], schema=AUDIT, metadata={})
    sources = read_sources(Path("results"), Path("data"), baseline=None)
    notes = {row["video_id"]: row["notes"] for row in content.table_rows(sources)}
    assert notes[WORST] == []
    assert notes["clip_01.mp4"]
    assert "same file" not in report().text


def test_an_audit_of_an_earlier_version_is_shown_without_what_it_did_not_count(ready: Path) -> None:
    make_run()
    audit = json.loads(Path("results/audit.json").read_text(encoding="utf-8"))
    assert ("labels without a usable MOS", "0 of 20 videos", False) in content.audit_findings(audit)
    labels = [label for label, *_ in content.audit_findings(audit)]
    del audit["n_unusable_labels"]
    earlier = content.audit_findings(audit)
    assert [label for label, *_ in earlier] == [label for label in labels if "MOS" not in label]
    assert earlier[0] == ("damaged or missing files", "1 of 20 videos", True)


def test_long_strips_keep_the_worst_frame() -> None:
    assert shown_positions(range(12), 3) == list(range(12))
    positions = shown_positions(range(100), 50)
    assert len(positions) == len(set(positions)) == 12
    assert 50 in positions
    assert (positions[0], positions[-1]) == (0, 99)
    assert curve_points([]) == []


def test_a_thumbnail_of_an_unknown_frame_is_the_first(ready: Path) -> None:
    make_run()
    frames = read_sources(Path("results"), Path("data"), baseline=None).frames
    assert frames is not None
    assert thumbnail(WORST, frames, None) == thumbnail(WORST, frames, 0) != thumbnail(WORST, frames, 2)
    assert thumbnail(FAILED, frames, 0) is None


def test_generators_with_too_few_videos_have_no_correlation() -> None:
    rows = pd.DataFrame({"generator": ["a"] * 5 + ["b"] * 2, "mos": [1, 2, 3, 4, 5, 6, 7.0]})
    rows["score"] = [10, 20, 30, 50, 40, 60, 70.0]
    rows["status"] = "ok"
    first, second = content.generator_rows(rows, PARAMS)
    # Ranks 1 2 3 5 4 against 1 2 3 4 5: 1 - 6 (1 + 1) / (5 * 24).
    assert first["srocc"] == pytest.approx(0.9)
    assert first["low"] <= 0.9 <= first["high"]
    assert (second["generator"], second["n_scored"], second["srocc"], second["low"]) == ("b", 2, None, None)
    assert second["bias"] == pytest.approx((54 + 63) / 2)


def test_generators_are_compared_on_the_prompts_that_all_have(ready: Path) -> None:
    rows = [(name, f"p{place}", 50.0 + step * place) for name, step in (("slow", 1), ("fast", 4)) for place in range(5)]
    test = pd.DataFrame([*rows, ("fast", "alone", 99.0)], columns=["generator", "prompt", "score"])
    first, second = content.compared_generators(test, PARAMS)
    # 50, 54, 58, 62, 66 and 50, 51, 52, 53, 54 are 0, 3, 6, 9, 12 apart: only equal signs of the four are as far.
    assert [(row["name"], row["mean"]) for row in (first, second)] == [("fast", 58), ("slow", 52)]
    assert first["n_prompts"] == second["n_prompts"] == 5
    assert (first["next"].difference, first["next"].win_rate) == (6, 0.9)
    assert first["next"].p_value == 4 / 32
    assert second["next"] is None
    assert content.compared_generators(test[test["generator"] == "fast"], PARAMS) == []
    assert content.compared_generators(test.assign(prompt=None), PARAMS) == []
    make_run()
    assert "Which generator is better" not in report().text
    manifest = read_frame("data/manifest.parquet", schema=MANIFEST)
    manifest["prompt"] = [f"{HOSTILE_PROMPT} {number // 2}" for number in range(N_VIDEOS)]
    write_frame("data/manifest.parquet", manifest, schema=MANIFEST, metadata={"made_by": {}})
    assert "Which generator is better" in report().text


def test_without_audit_ablation_frames_and_git_the_rest_is_there(ready: Path) -> None:
    make_run(audit=False, ablation=False)
    for folder in ("frames", "crops/s2cnet"):
        for path in (Path("data") / folder).iterdir():
            path.unlink()
        (Path("data") / folder).rmdir()
    page = report()
    sections = {attributes["id"] for attributes in page.all("section")}
    assert not {"audit", "ablation"} & sections
    assert page.all("img") == page.all("image") == []
    assert "No other run is in Git to compare with." in page.text


def test_an_ablation_of_other_params_is_not_shown_and_said_so(
    ready: Path, write_params: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    make_run()
    write_params(evaluate={"bootstrap_samples": 100}, engine={"workers": 3})
    assert "ablation" in {attributes["id"] for attributes in report().all("section")}
    write_params(evaluate={"bootstrap_samples": 100}, train={"epochs": 7})
    assert "ablation" not in {attributes["id"] for attributes in report().all("section")}
    assert "ablation.json: of other params than params.yaml, not shown" in capfd.readouterr().err


def test_a_fit_that_failed_and_the_ranks_are_shown(ready: Path) -> None:
    metrics = make_run()
    page = report()
    assert "the fit failed" not in page.text
    assert "Rank1" not in page.text
    write(Path("results/metrics.json"), metrics | {"logistic_converged": 0, "rank1": 0.7123, "rank2": 0.8456})
    page = report()
    assert "Pearson after a logistic fit: the fit failed: this is the plain PLCC" in page.text
    for text in ("Rank1", "0.712", "Rank2", "0.846"):
        assert text in page.text


@pytest.mark.parametrize(
    ("missing", "error", "message"),
    [
        ("results/metrics.json", EvaluationError, "no metrics yet"),
        ("results/predictions.parquet", TableError, "no such table"),
    ],
)
def test_a_run_that_is_not_finished_is_said(ready: Path, missing: str, error: type[Exception], message: str) -> None:
    make_run()
    Path(missing).unlink()
    with pytest.raises(error, match=message):
        report()
    assert not Path("page.html").exists()


def test_another_ending_is_refused(ready: Path) -> None:
    with pytest.raises(DatasetError, match=r"--out page\.txt: allowed endings are \.html and \.htm"):
        cli.call(["report", "--out", "page.txt"])


def test_a_broken_side_file_is_named(ready: Path) -> None:
    make_run()
    Path("results/ablation.json").write_text("[1, 2", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"ablation.json: not JSON"):
        report()
    Path("results/ablation.json").write_text(json.dumps([1]), encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"a JSON object is needed, not list"):
        report()
