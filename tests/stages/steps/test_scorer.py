"""The Python interface: one call per video, a stream of many, and what a foreign history says."""

from pathlib import Path
from typing import Any

import pytest

from stages.errors import WeightsError
from stages.io.weights import load_weights, save_weights
from stages.steps import Scorer
from tests.conftest import noise_clip, write_clip
from tests.stages.commands.test_score import model  # noqa: F401 (a fixture)


def with_history(folder: Path, change: Any) -> Path:
    """The quality model with another history in its metadata."""
    path = folder / "quality.safetensors"
    state, config = load_weights(path)
    save_weights(path, state, config | {"made_by": change(config["made_by"])})
    return folder


@pytest.fixture
def weights(model: Path, tmp_path: Path) -> Path:  # noqa: F811
    for path in model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_one_call_scores_a_video(weights: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.avi", noise_clip(0))
    scorer = Scorer.load(weights, device="cpu")
    result = scorer.score(clip)
    assert (result.path, result.status, result.reason, result.n_frames) == (str(clip), "ok", None, 8)
    assert result.frames is not None
    # The fixture's scale is 1-5; three frames of eight are scored: 0, 3.5 (rounded up) and 7.
    assert result.frames["frame_index"].tolist() == [0, 4, 7]
    assert result.score == pytest.approx(result.frames["score"].mean())
    assert result.score_raw == pytest.approx(1 + 4 * (result.score or 0) / 100)
    assert result.worst_frame_index == result.frames["frame_index"][int(result.frames["score"].argmin())]
    # The whole doubt: bins of each frame, and between frames; half of it to each side.
    assert result.low is not None
    assert result.high is not None
    deviations, scores = result.frames["deviation"], result.frames["score"]
    doubt = ((deviations**2).mean() + scores.var(ddof=0)) ** 0.5
    assert result.high - result.low == pytest.approx(doubt)
    assert (result.unlike_percent, result.is_unlike) == (0.0, False)


def test_a_file_that_cannot_be_scored_has_its_reason(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    result = Scorer.load(weights, device="cpu").score(tmp_path / "empty.mp4")
    assert (result.status, result.reason, result.score, result.frames) == ("failed", "the file is empty", None, None)


def test_many_videos_stream_in_order_with_the_scores_that_each_gets_alone(weights: Path, tmp_path: Path) -> None:
    paths = [write_clip(tmp_path / f"{seed}.avi", noise_clip(seed)) for seed in range(3)]
    scorer = Scorer.load(weights, device="cpu")
    stream = scorer.score_many([paths[0], tmp_path / "missing.mp4", *paths[1:]], workers=1)
    first = next(stream)
    assert first.path == str(paths[0])
    rest = list(stream)
    assert [each.status for each in rest] == ["failed", "ok", "ok"]
    assert [each.score for each in (first, *rest[1:])] == [scorer.score(path).score for path in paths]


def test_a_model_with_blind_crops_is_one_file(weights: Path, tmp_path: Path) -> None:
    """No detector, no cropper, neither loaded nor asked for; the crops are those of the whole frame."""
    clip = write_clip(tmp_path / "a.avi", noise_clip(0))
    for name in ("detector", "s2cnet"):
        (weights / f"{name}.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"detector\.safetensors, .*s2cnet\.safetensors missing"):
        Scorer.load(weights, device="cpu")

    def blindly(made: dict[str, Any]) -> dict[str, Any]:
        kept = {name: each for name, each in made.items() if name != "propose"}
        return kept | {"crop": {"params": made["crop"]["params"] | {"method": "full"}}}

    scorer = Scorer.load(with_history(weights, blindly), device="cpu")
    assert (scorer.detector, scorer.cropper) == (None, None)
    analysis = scorer.analyse_file(clip)
    assert analysis.scores[["x0", "y0", "x1", "y1"]].drop_duplicates().to_numpy().tolist() == [[0, 0, 48, 32]]
    assert [len(each.scores) for each in analysis.objects] == [0, 0, 0]
    assert scorer.score(clip).score == pytest.approx(analysis.scores["score"].mean())


@pytest.mark.parametrize(
    ("change", "places"),
    [
        (lambda made: {}, "prepare, decode"),
        (lambda made: None, "all of it"),
        (lambda made: ["a", "list"], "all of it"),
        (lambda made: {name: each for name, each in made.items() if name != "propose"}, "propose"),
        (lambda made: made | {"crop": {"params": made["crop"]["params"]}}, "crop.weights"),
        (lambda made: made | {"crop": made["crop"] | {"params": {"method": "s2cnet"}}}, "crop.params"),
        (lambda made: made | {"decode": made["decode"] | {"params": {"frames": 10**9}}}, "decode.params.frames"),
        (lambda made: made | {"decode": made["decode"] | {"plan": {"kind": "some"}}}, "decode.plan"),
        (lambda made: made | {"prepare": {"params": {"mos_min": None}}}, "prepare.params.mos_min"),
    ],
)
def test_a_foreign_history_gives_one_clear_line(weights: Path, change: Any, places: str) -> None:
    """Empty, of another version, or of another program: never a KeyError."""
    with pytest.raises(WeightsError) as caught:
        Scorer.load(with_history(weights, change), device="cpu")
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{weights / 'quality.safetensors'}: its history does not say how to score")
    assert places in text
