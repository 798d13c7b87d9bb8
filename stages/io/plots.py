"""Pictures of the results: matplotlib PNG to look at, CSV beside it for `dvc plots`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stages.io.files import replacing, write_text

# matplotlib is imported where it draws: it takes a second that stages without pictures need not pay.
INK, ACCENT = "#1f2933", "#2f6db5"


def plot_scatter(rows: pd.DataFrame, metrics: Mapping[str, float | int], folder: Path) -> None:
    """Predicted score against MOS of the scored videos: scatter.png, and scatter.csv (mos, score) for `dvc plots`."""
    scored = rows[rows["status"] == "ok"]
    write_text(folder / "scatter.csv", scored[["mos", "score"]].to_csv(index=False, float_format="%.4f"))
    figure, axes = _figure(5.2, 5.0)
    axes.plot([0, 100], [0, 100], color="#b8c1cc", linewidth=1, zorder=1)
    axes.scatter(scored["mos"], scored["score"], s=18, color=ACCENT, alpha=0.75, linewidths=0, zorder=2)
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="MOS (0-100)", ylabel="predicted score (0-100)", aspect="equal")
    axes.set_title(f"{len(scored)} test videos: SROCC {metrics['srocc']:.3f}, PLCC {metrics['plcc']:.3f}", fontsize=10)
    save_figure(figure, folder / "scatter.png")


def plot_frame_scores(rows: pd.DataFrame, scores: pd.DataFrame, folder: Path, *, shown: int = 4) -> None:
    """Frame scores over time of the steadiest and the most inconsistent videos: frame_scores.png."""
    scored = rows[rows["status"] == "ok"].sort_values("spread", kind="stable")
    figure, axes = _figure(6.4, 3.6)
    ends = ((scored.head(shown), "#8a97a6", "steadiest"), (scored.tail(shown), "#c2410c", "most uneven"))
    for group, color, label in ends:
        for position, video_id in enumerate(group["video_id"]):
            one = scores[scores["video_id"] == video_id].sort_values("frame_index")
            axes.plot(
                one["time_s"],
                one["score"],
                color=color,
                marker="o",
                markersize=3,
                linewidth=1.2,
                label=label if position == 0 else None,
            )
    axes.set(ylim=(0, 100), xlabel="time (s)", ylabel="frame score (0-100)")
    axes.set_title("frame scores of test videos", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="best")
    save_figure(figure, folder / "frame_scores.png")


def _figure(width_in: float, height_in: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(color="#eef1f4", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def save_figure(figure: Any, path: Path) -> None:
    """Write a matplotlib figure as PNG, whole or not at all; equal pictures are equal bytes."""
    with replacing(path) as temporary:
        # Without the Software entry equal pictures are equal bytes under every matplotlib that draws them equally.
        figure.savefig(temporary, format="png", dpi=144, metadata={"Software": None})
