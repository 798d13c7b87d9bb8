"""Pictures of the results: matplotlib PNG to look at, and CSV beside it for `dvc plots`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.errors import EvaluationError
from stages.evaluation.drawing import Palette, draw_generators, draw_scatter, shortened
from stages.io.files import replacing, write_text

# matplotlib is imported where it draws: loading it takes a second.
INK, ACCENT, WARM, GREY, PALE = "#1f2933", "#2f6db5", "#c2410c", "#8a97a6", "#dce6f2"
PALETTE = Palette(accent=ACCENT, warm=WARM, line=GREY, band=PALE)
SHOWN = 3


def plot_scatter(rows: pd.DataFrame, metrics: Mapping[str, float | int], folder: Path, *, confidence: float) -> None:
    """Plot predicted score against MOS: scatter.png, and scatter.csv (mos, score) for `dvc plots`.

    Args:
        rows: One row per test video with the columns status, mos and score.
        metrics: Those of the run, for the title.
        folder: Where the files go.
        confidence: Share of the videos inside the band around "score = MOS", 0..1.
    """
    scored = rows[rows["status"] == "ok"]
    _write_csv(folder / "scatter.csv", scored[["mos", "score"]])
    figure, axes = _figure(5.4, 5.2)
    reach = _reach(scored, confidence)
    draw_scatter(axes, scored, palette=PALETTE, reach=reach)
    # A test part of one or two prompts has none.
    known = "srocc_ci_low" in metrics
    interval = f" [{metrics['srocc_ci_low']:.3f}, {metrics['srocc_ci_high']:.3f}]" if known else ""
    axes.set_title(
        f"{len(scored)} test videos: SROCC {metrics['srocc']:.3f}{interval}, PLCC {metrics['plcc']:.3f}", fontsize=10
    )
    band = f"line: score = MOS; band: ± {reach:.1f}, {confidence:.0%} of the videos"
    axes.text(0.02, 0.98, band, transform=axes.transAxes, va="top", fontsize=8, color=INK)
    save_figure(figure, folder / "scatter.png")


def plot_residuals(rows: pd.DataFrame, folder: Path, *, confidence: float) -> None:
    """Plot score minus MOS against the score: residuals.png, and residuals.csv (video_id, score, residual).

    Against the MOS, every imperfect model would show a slope; against the score, a slope says that scores are too bold
    or too cautious. A histogram shows how often each difference occurs.

    Args:
        rows: One row per test video with the columns video_id, status, mos and score.
        folder: Where the files go.
        confidence: Share of the videos inside the band, 0..1.
    """
    scored = rows[rows["status"] == "ok"]
    residual = (scored["score"] - scored["mos"]).to_numpy(dtype=float)
    _write_csv(folder / "residuals.csv", scored[["video_id", "score"]].assign(residual=residual))
    figure, (axes, side) = _figure(6.6, 3.8, columns=2, width_ratios=(4, 1), sharey=True)
    reach = _reach(scored, confidence)
    limit = 1.08 * max(reach, float(np.abs(residual).max()), 1.0)
    axes.axhspan(-reach, reach, color=PALE, linewidth=0, zorder=1)
    axes.axhline(0, color=GREY, linewidth=1, zorder=2)
    axes.scatter(scored["score"], residual, s=18, color=ACCENT, alpha=0.75, linewidths=0, zorder=3)
    axes.set(xlim=(0, 100), ylim=(-limit, limit), xlabel="predicted score (0-100)", ylabel="score − MOS (points)")
    side.hist(residual, bins=np.linspace(-limit, limit, 22), orientation="horizontal", color=ACCENT, alpha=0.75)
    side.axhline(residual.mean(), color=WARM, linewidth=1.2)
    side.set(xlabel="videos")
    side.tick_params(labelleft=False)
    axes.set_title(
        f"mean {residual.mean():+.1f}, deviation {residual.std():.1f}; band: {confidence:.0%} within ± {reach:.1f}",
        fontsize=10,
    )
    save_figure(figure, folder / "residuals.png")


def plot_generators(generators: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Plot one row per generator, its SROCC and by how much its videos are overrated: generators.png.

    Args:
        generators: Rows with `generator`, `n_scored`, `srocc` and `bias`; None where a value is not defined.
        folder: Where the file goes.
    """
    rows = sorted(generators, key=lambda row: (row["srocc"] is not None, row["srocc"] or 0.0, row["generator"]))
    figure, (left, right) = _figure(6.6, max(1.6, 1.0 + 0.28 * len(rows)), columns=2, sharey=True)
    left.axvline(0, color=GREY, linewidth=1)
    right.axvline(0, color=GREY, linewidth=1)
    draw_generators(left, rows, "srocc", palette=PALETTE)
    draw_generators(right, rows, "bias", palette=PALETTE)
    left.set_xlabel("SROCC among its videos")
    right.set_xlabel("mean of score − MOS (points)")
    left.set_xlim(min(0.0, *(row["srocc"] or 0.0 for row in rows), 0.0), 1)
    left.set_yticks(range(len(rows)), [f"{shortened(row['generator'])} ({row['n_scored']})" for row in rows])
    if not rows:
        left.text(0.5, 0.5, "no generators in this data set", ha="center", transform=left.transAxes, fontsize=9)
    figure.suptitle("generators (test videos)", fontsize=10)
    save_figure(figure, folder / "generators.png")


def plot_frame_scores(rows: pd.DataFrame, scores: pd.DataFrame, folder: Path) -> None:
    """Plot the frame scores over time of the videos with the best and the worst scores: frame_scores.png.

    Writes frame_scores.csv for `dvc plots`: one row per frame, one column per video ("best 1" is the best, "worst 1"
    the worst), empty where a video has fewer frames or there are fewer videos.

    Args:
        rows: One row per test video with the columns video_id, status, mos and score.
        scores: One row per frame with the columns video_id, frame_index, time_s and score.
        folder: Where the files go.
    """
    scored = rows[rows["status"] == "ok"].sort_values(["score", "video_id"], kind="stable")
    shown = min(SHOWN, len(scored) // 2)
    columns: dict[str, pd.Series] = {}
    figure, axes = _figure(7.2, 3.9)
    ends = (("best", scored.iloc[::-1], ACCENT), ("worst", scored, WARM))
    for name, ordered, color in ends:
        for number in range(1, SHOWN + 1):
            columns[f"{name} {number}"] = pd.Series(dtype=float)
            if number > shown:
                continue
            video = ordered.iloc[number - 1]
            curve = scores[scores["video_id"] == video["video_id"]].sort_values("frame_index")
            columns[f"{name} {number}"] = curve["score"].reset_index(drop=True)
            label = f"{name} {number}: {shortened(video['video_id'])}, MOS {video['mos']:.0f}"
            strength = 1 - 0.28 * (number - 1)
            axes.plot(
                curve["time_s"],
                curve["score"],
                color=color,
                alpha=strength,
                marker="o",
                markersize=3,
                linewidth=1.4,
                label=label,
            )
    table = pd.DataFrame(columns)
    _write_csv(folder / "frame_scores.csv", table.rename_axis("frame").reset_index())
    axes.set(ylim=(0, 100), xlabel="time (s)", ylabel="frame score (0-100)")
    axes.set_title("frame scores of the best and the worst test videos", fontsize=10)
    if shown:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save_figure(figure, folder / "frame_scores.png")


def plot_curves(training: Path, folder: Path) -> None:
    """Plot training losses and validation correlations, epoch by epoch: curves.png.

    Args:
        training: The folder that the train stage wrote.
        folder: Where the file goes.

    Raises:
        EvaluationError: A curve is missing.
    """
    figure, (left, right) = _figure(7.2, 3.4, columns=2)
    terms = sorted(path.stem for path in (training / "plots/metrics/train").glob("*.tsv") if path.stem != "loss")
    for name, color in zip(["loss", *terms], (INK, ACCENT, WARM, GREY), strict=False):
        values = _curve(training, "train", name)
        label = "training loss" if name == "loss" else name.upper()
        left.plot(_epochs(values), values, color=color, linewidth=1.4, marker="o", markersize=2.5, label=label)
    left.set(yscale="log", xlabel="epoch", ylabel="mean over the training videos")
    for name, label, color in (("srocc", "SROCC", ACCENT), ("plcc", "PLCC", WARM)):
        values = _curve(training, "val", name)
        right.plot(_epochs(values), values, color=color, linewidth=1.4, marker="o", markersize=2.5, label=label)
    kept = int(np.argmax(_curve(training, "val", "selection"))) + 1
    right.axvline(kept, color=GREY, linewidth=1, linestyle="--", label=f"kept: epoch {kept}")
    right.set(xlabel="epoch", ylabel="correlation on validation", ylim=(None, 1))
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, fontsize=8, loc="best")
    figure.suptitle("training", fontsize=10)
    save_figure(figure, folder / "curves.png")


def _curve(training: Path, part: str, name: str) -> np.ndarray:
    path = training / "plots" / "metrics" / part / f"{name}.tsv"
    if not path.is_file():
        raise EvaluationError(f"{path}: no such training curve; `dvc repro` writes it")
    values: np.ndarray = pd.read_csv(path, sep="\t")[name].to_numpy(dtype=float)
    return values


def _epochs(values: np.ndarray) -> np.ndarray:
    return np.arange(1, len(values) + 1)


def _reach(scored: pd.DataFrame, confidence: float) -> float:
    """The distance between score and MOS that `confidence` of the videos stay within, in points."""
    return float(np.quantile(np.abs((scored["score"] - scored["mos"]).to_numpy(dtype=float)), confidence))


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, float_format="%.4f", lineterminator="\n"))


def _figure(width_in: float, height_in: float, *, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    if "width_ratios" in options:
        options["gridspec_kw"] = {"width_ratios": options.pop("width_ratios")}
    every = figure.subplots(1, columns, **options)
    for axes in np.atleast_1d(every):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=8)
        axes.grid(color="#eef1f4", linewidth=0.8)
        axes.set_axisbelow(True)
    return figure, every


def save_figure(figure: Any, path: Path) -> None:
    """Write a matplotlib figure as PNG, whole or not at all; equal pictures are equal bytes."""
    with replacing(path) as temporary:
        # Without the Software entry equal pictures are equal bytes under every matplotlib that draws them equally.
        figure.savefig(temporary, format="png", dpi=144, metadata={"Software": None})
