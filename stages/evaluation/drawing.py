"""What the stage's pictures and the report's figures show alike: scores against MOS, and values of generators.

The callers give axes and colours: PNG files have fixed ones, the page's follow its theme.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

NAME_LENGTH = 26


class Palette(NamedTuple):
    """Colours as matplotlib reads them.

    Attributes:
        accent: Of points and bars.
        warm: Of what is marked.
        line: Of lines to compare with.
        band: Of areas behind the points.
    """

    accent: str
    warm: str
    line: str
    band: str


def draw_scatter(
    axes: Any, videos: pd.DataFrame, *, palette: Palette, marked: Sequence[str] = (), reach: float | None = None
) -> Any:
    """Draw predicted score against MOS, with the line on which they are equal.

    Args:
        axes: Of matplotlib.
        videos: One row per scored video with the columns video_id, mos and score.
        palette: The colours.
        marked: Ids of videos to mark.
        reach: Half the height of the band around the line, points; None: no band.

    Returns:
        The points, in the order of `videos`.
    """
    diagonal = np.array([0.0, 100.0])
    if reach is not None:
        axes.fill_between(diagonal, diagonal - reach, diagonal + reach, color=palette.band, linewidth=0, zorder=1)
    axes.plot(diagonal, diagonal, color=palette.line, linewidth=1.1, zorder=2)
    is_marked = videos["video_id"].isin(set(marked)).to_numpy()
    points = axes.scatter(
        videos["mos"],
        videos["score"],
        s=np.where(is_marked, 34, 22),
        c=np.where(is_marked, palette.warm, palette.accent),
        alpha=0.75,
        linewidths=0,
        zorder=3,
    )
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="MOS (0-100)", ylabel="predicted score (0-100)", aspect="equal")
    return points


def draw_generators(axes: Any, rows: Sequence[Mapping[str, Any]], key: str, *, palette: Palette) -> None:
    """Draw one value per generator as a dot, from the bottom up, with its interval where it has one.

    Args:
        axes: Of matplotlib.
        rows: With the key, which may be None, and `low` and `high` where there is an interval.
        key: What to draw.
        palette: The colours.
    """
    for place, row in enumerate(rows):
        if row[key] is None:
            axes.text(0, place, " none", va="center", fontsize=8, color=palette.line)
            continue
        if row.get("low") is not None:
            axes.plot(
                [row["low"], row["high"]],
                [place, place],
                color=palette.accent,
                linewidth=2,
                solid_capstyle="round",
            )
        axes.plot(row[key], place, marker="o", color=palette.accent, markersize=6)
    axes.set(ylim=(-0.7, max(len(rows), 1) - 0.3))
    axes.grid(visible=False, axis="y")


def shortened(name: str) -> str:
    """A name for a picture, its middle left out where it is long."""
    half = NAME_LENGTH // 2
    return name if len(name) <= NAME_LENGTH else f"{name[:half]}…{name[1 - half :]}"
