"""Pictures and the tables beside them: the numbers that they show, and data that there is little of."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from stages.errors import EvaluationError
from stages.evaluation.plots import plot_curves, plot_frame_scores, plot_generators, plot_residuals, plot_scatter
from tests.conftest import ROOT

METRICS = {"srocc": 0.9, "plcc": 0.8, "srocc_ci_low": 0.7, "srocc_ci_high": 0.95}


def rows(n: int) -> pd.DataFrame:
    """Video i of n has MOS 10 i and a score 3 above it, the last one failed."""
    mos = 10.0 * np.arange(n)
    table = pd.DataFrame({"video_id": [f"v{i}" for i in range(n)], "mos": mos, "score": mos + 3, "status": "ok"})
    table.loc[n - 1, ["status", "score"]] = ["failed", np.nan]
    return table


def frame_scores(n: int, frames: int = 3) -> pd.DataFrame:
    """Frame f of video i has the score 10 i + f; the rows come in no order."""
    table = pd.DataFrame(
        [
            {"video_id": f"v{i}", "frame_index": f, "time_s": f / 8, "score": 10.0 * i + f}
            for i in range(n)
            for f in range(frames)
        ]
    )
    return table.sample(frac=1, random_state=0)


def write_curves(folder: Path, *, without: str = "") -> Path:
    for part, name in (("train", "loss"), ("train", "mae"), ("train", "bce"), *(("val", n) for n in ("srocc", "plcc"))):
        values = pd.DataFrame({"step": range(3), name: [0.3, 0.2, 0.1]})
        path = folder / "plots/metrics" / part / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        if name != without:
            values.to_csv(path, sep="\t", index=False)
    selection = pd.DataFrame({"step": range(3), "selection": [0.1, 0.9, 0.9]})
    selection.to_csv(folder / "plots/metrics/val/selection.tsv", sep="\t", index=False)
    return folder


def drawn(path: Path) -> np.ndarray:
    """The picture, which holds more than its background."""
    picture = cv2.imread(str(path))
    assert picture is not None
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10
    return picture


def texts(monkeypatch: pytest.MonkeyPatch, plot, *arguments, **options) -> str:
    """All that a picture says: titles, labels, legends."""
    from matplotlib.text import Text

    from stages.evaluation import plots

    said: list[str] = []
    monkeypatch.setattr(
        plots, "save_figure", lambda figure, _: said.extend(text.get_text() for text in figure.findobj(Text))
    )
    plot(*arguments, **options)
    return "\n".join(said)


def test_scatter_and_residuals_hold_the_scored_videos(tmp_path: Path) -> None:
    plot_scatter(rows(5), METRICS, tmp_path, confidence=0.95)
    plot_residuals(rows(5), tmp_path, confidence=0.95)
    assert pd.read_csv(tmp_path / "scatter.csv").to_dict("list") == {"mos": [0, 10, 20, 30], "score": [3, 13, 23, 33]}
    residuals = pd.read_csv(tmp_path / "residuals.csv")
    assert residuals["residual"].tolist() == [3.0] * 4
    assert residuals["score"].tolist() == [3, 13, 23, 33]
    drawn(tmp_path / "scatter.png")
    drawn(tmp_path / "residuals.png")


def test_the_interval_is_the_quantile_of_the_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Errors 0, 1, ... 10: nine tenths of the way through them is 9.
    table = pd.DataFrame({"video_id": [str(i) for i in range(11)], "mos": 50.0, "status": "ok"})
    table["score"] = 50.0 + np.arange(11) * np.where(np.arange(11) % 2, 1, -1)
    said = texts(monkeypatch, plot_scatter, table, METRICS, tmp_path, confidence=0.9)
    assert "line: score = MOS; band: ± 9.0, 90% of the videos" in said
    assert "11 test videos: SROCC 0.900 [0.700, 0.950], PLCC 0.800" in said
    # Sum of the errors: -0 + 1 - 2 + ... + 9 - 10 = -5, over 11.
    assert "mean -0.5" in texts(monkeypatch, plot_residuals, table, tmp_path, confidence=0.9)


@pytest.mark.parametrize(("n", "filled"), [(8, 3), (5, 2), (2, 0)])
def test_timelines_are_those_of_the_best_and_the_worst(tmp_path: Path, n: int, filled: int) -> None:
    plot_frame_scores(rows(n), frame_scores(n), tmp_path)
    table = pd.read_csv(tmp_path / "frame_scores.csv")
    names = [f"{end} {number}" for end in ("best", "worst") for number in (1, 2, 3)]
    assert list(table) == ["frame", *names], "dvc.yaml names these columns"
    for number in range(1, 4):
        # Video n - 1 failed: the best is n - 2, the worst 0; no video is both.
        best, worst = table[f"best {number}"].dropna().tolist(), table[f"worst {number}"].dropna().tolist()
        first = 10.0 * (n - 1 - number)
        assert best == ([first, first + 1, first + 2] if number <= filled else [])
        assert worst == ([10.0 * (number - 1) + f for f in range(3)] if number <= filled else [])
    assert drawn(tmp_path / "frame_scores.png").shape[1] > 500


def test_generators_without_numbers_and_no_generators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = [
        {"generator": "alpha", "n_scored": 9, "srocc": 0.8, "bias": -2.0},
        {"generator": "beta", "n_scored": 1, "srocc": None, "bias": 4.0},
        {"generator": "gamma", "n_scored": 0, "srocc": None, "bias": None},
    ]
    plot_generators(some, tmp_path)
    drawn(tmp_path / "generators.png")
    said = texts(monkeypatch, plot_generators, some, tmp_path)
    assert said.count(" none") == 3
    assert "beta (1)" in said
    assert "no generators in this data set" in texts(monkeypatch, plot_generators, [], tmp_path)


def test_curves_mark_the_epoch_that_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = write_curves(tmp_path / "train")
    plot_curves(training, tmp_path)
    drawn(tmp_path / "curves.png")
    assert "kept: epoch 2" in texts(monkeypatch, plot_curves, training, tmp_path)
    with pytest.raises(EvaluationError, match=r"val/plcc\.tsv: no such training curve"):
        plot_curves(write_curves(tmp_path / "other", without="plcc"), tmp_path)


def test_dvc_yaml_lists_every_picture_and_table() -> None:
    entries = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    named = yaml.safe_dump(entries)
    for name in ("scatter.csv", "residuals.csv", "frame_scores.csv"):
        assert f"results/plots/{name}" in named
    for name in ("scatter", "residuals", "generators", "frame_scores", "curves"):
        assert f"results/plots/{name}.png" in entries
