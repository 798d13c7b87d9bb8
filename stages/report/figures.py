"""The report's figures: matplotlib, as SVG inside the page, in colours that follow the page's light or dark theme."""

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from stages.evaluation.drawing import Palette, draw_generators, draw_scatter, shortened

# The colours that matplotlib draws in; in the page each becomes a variable of its style sheet.
THEME = {
    "#101112": "var(--ink)",
    "#202122": "var(--muted)",
    "#303132": "var(--line)",
    "#404142": "var(--accent)",
    "#505152": "var(--warn)",
    "#606162": "var(--surface)",
}
INK, MUTED, LINE, ACCENT, WARN, SURFACE = THEME
PALETTE = Palette(accent=ACCENT, warm=WARN, line=LINE, band=SURFACE)


def scatter_figure(test: pd.DataFrame, marked: Sequence[str], row_of: dict[str, int]) -> str:
    """Predicted score against MOS, each point a link to its row of the page's table.

    Args:
        test: One row per scored test video with the columns video_id, mos and score.
        marked: Ids of the videos to mark.
        row_of: Number of each video's row in the table.

    Returns:
        An <svg> element, like the other figures.
    """
    figure, axes = _figure(5.0, 4.6)
    # Marked points come last, on top of the others.
    shown = test.sort_values("video_id", key=lambda ids: ids.isin(set(marked)), kind="stable")
    points = draw_scatter(axes, shown, palette=PALETTE, marked=marked)
    points.set_urls([f"#video-{row_of[video_id]}" for video_id in shown["video_id"]])
    return _svg(figure, "scatter")


def error_figure(test: pd.DataFrame) -> str:
    """Histogram of the errors (predicted score - MOS)."""
    figure, axes = _figure(5.0, 2.5)
    errors = test["error"].to_numpy()
    limit = max(10.0, 5 * np.ceil(np.abs(errors).max() / 5))
    axes.hist(errors, bins=np.arange(-limit, limit + 1, limit / 15), color=ACCENT, rwidth=0.92)
    axes.axvline(0, color=INK, linewidth=1)
    axes.axvline(errors.mean(), color=WARN, linewidth=1.5, linestyle="--")
    axes.set(xlabel="error: predicted score - MOS, points", ylabel="videos")
    axes.yaxis.get_major_locator().set_params(integer=True)
    return _svg(figure, "errors")


def generator_figure(rows: Sequence[dict[str, Any]], overall: float) -> str:
    """SROCC of each generator with its interval, and the overall SROCC as a line.

    Args:
        rows: With generator, srocc, low and high; None where a value is not defined.
        overall: SROCC of all test videos.
    """
    drawn = [row for row in rows if row["srocc"] is not None][::-1]
    figure, axes = _figure(5.0, 0.9 + 0.32 * len(drawn))
    axes.axvline(overall, color=LINE, linewidth=1.4)
    draw_generators(axes, drawn, "srocc", palette=PALETTE)
    lowest = min([row["low"] if row["low"] is not None else row["srocc"] for row in drawn], default=0.0)
    axes.set(xlim=(min(0.0, lowest - 0.05), 1.0), xlabel="SROCC")
    axes.set_yticks(range(len(drawn)), [shortened(row["generator"]) for row in drawn])
    return _svg(figure, "generators")


def ablation_figure(rows: Sequence[dict[str, Any]]) -> str:
    """The mean of the three correlations of each variant, with one standard deviation to each side.

    Args:
        rows: With label, mean_mean and mean_std; None where a value is not defined.
    """
    rows = [row for row in rows if row["mean_mean"] is not None]
    figure, axes = _figure(5.0, 0.9 + 0.36 * len(rows))
    for place, row in enumerate(reversed(rows)):
        mean, deviation = row["mean_mean"], row["mean_std"] or 0.0
        axes.plot([mean - deviation, mean + deviation], [place, place], color=ACCENT, linewidth=2)
        axes.plot(mean, place, marker="o", color=ACCENT, markersize=6)
    axes.set(ylim=(-0.7, len(rows) - 0.3), xlabel="mean of the three")
    axes.set_yticks(range(len(rows)), [row["label"] for row in reversed(rows)])
    axes.grid(False, axis="y")
    return _svg(figure, "ablation")


def _figure(width_in: float, height_in: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    figure.set_facecolor("none")
    axes = figure.subplots()
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(color=LINE, labelcolor=MUTED, labelsize=9)
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)
    axes.grid(color=LINE, linewidth=0.6, alpha=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Any, name: str) -> str:
    """The figure as an <svg> element: text stays text, equal figures are equal, names are never read as formulas."""
    import matplotlib

    buffer = io.StringIO()
    # The salt makes the ids of one figure differ from those of the others in the page.
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,
        "font.family": "sans-serif",
    }
    with matplotlib.rc_context(settings):
        for text in figure.findobj(lambda artist: hasattr(artist, "set_parse_math")):
            text.set_parse_math(False)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1 aria-hidden="true" focusable="false"', svg, count=1)
    # A link within the page opens in the same tab.
    svg = svg.replace(' target="_blank"', "")
    # The Tab key skips the points, which may be hundreds: the table below lists the same videos.
    svg = svg.replace("<a xlink:href=", '<a tabindex="-1" xlink:href=')
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for color, variable in THEME.items():
        svg = svg.replace(color, variable)
    return svg
