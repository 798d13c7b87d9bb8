"""`aigc-vqa score`: new videos through decode, propose, crop and predict in one pass, a row a video.

The weights carry the parameters of every stage that made them: a folder with the three files is all that scoring needs,
and a video of the data set gets the score that the pipeline gave it.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import pandas as pd
from cyclopts import Parameter

from models.errors import listed, printable
from stages.datasets.folder import EXTENSIONS, passed_over, scan_folder
from stages.engine.command import NOTHING_DONE
from stages.engine.device import make_deterministic
from stages.engine.options import Count, Device, File, Folder, check_out
from stages.engine.progress import progress
from stages.errors import DatasetError
from stages.io.files import replacing, write_text
from stages.io.outs import WEIGHTS
from stages.params.schema.engine import available_cores
from stages.steps.scorer import Scorer

UNLIKE_MARK = "unlike"
ROWS_ON_SCREEN = 60


def find_videos(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Files as they are given, folders searched for video files, each once, sorted within a folder; and other files.

    Returns:
        The videos, and what was passed over in the folders.
    """
    found: dict[Path, None] = {}
    others: dict[Path, None] = {}
    for path in paths:
        videos, rest = scan_folder(path) if _is_folder(path) else ([path], [])
        found |= dict.fromkeys(videos)
        others |= dict.fromkeys(rest)
    return list(found), list(others)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long: its row says so
        return False


COLUMNS = (
    "path",
    "score",
    "score_raw",
    "low",
    "high",
    "unlike_percent",
    "is_unlike",
    "spread",
    "worst_frame_index",
    "worst_time_s",
    "sharpness",
    "n_frames",
    "status",
    "reason",
)


# The same whether a video failed or not: a missing whole number would make a column of fractions.
TYPES = {
    "low": "float64",
    "high": "float64",
    "unlike_percent": "float64",
    "is_unlike": "boolean",
    "worst_frame_index": "Int64",
    "n_frames": "Int64",
    "reason": "string",
}


# What a spreadsheet takes for the beginning of a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_results(rows: pd.DataFrame, out: Path) -> None:
    """Write rows as .parquet, .csv or .json (a list of objects), whole or not at all."""
    if out.suffix == ".csv":
        # A spreadsheet would compute a cell that begins like a formula; `./` before a path names the same file.
        safe = rows.assign(path=[f"./{path}" if path.startswith(FORMULA_STARTS) else path for path in rows["path"]])
        write_text(out, safe.to_csv(index=False, lineterminator="\n"))
    elif out.suffix == ".json":
        write_text(out, rows.to_json(orient="records", indent=2, force_ascii=False) + "\n")
    else:
        with replacing(out) as temporary:
            rows.to_parquet(temporary, index=False)


def screen_table(
    rows: pd.DataFrame, scale: tuple[float, float], *, confidence: float, shown: int = ROWS_ON_SCREEN
) -> str:
    """The rows for the screen: score with its interval, score on the data set's scale, spread, worst frame."""
    low, high = scale
    # The data set's own scale is worth a column only where it differs.
    raw = "" if (low, high) == (0, 100) else f"  {f'of {low:g}-{high:g}':>10}"
    names = [printable(str(path)) for path in rows["path"].head(shown)]
    width = min(60, max([len(name) for name in names] + [5]))
    lines = []
    for name, row in zip(names, rows.head(shown).to_dict("records"), strict=True):
        short = name if len(name) <= width else "…" + name[-(width - 1) :]
        if row["status"] != "ok":
            lines.append(f"{short:<{width}}  failed: {row['reason']}")
            continue
        own = f"  {row['score_raw']:>10.2f}" if raw else ""
        worst = f"{int(row['worst_frame_index'])} at {row['worst_time_s']:.2f} s"
        ends = UNLIKE_MARK if row["is_unlike"] else f"{row['low']:.0f} to {row['high']:.0f}"
        lines.append(f"{short:<{width}}  {row['score']:>6.2f}  {ends:<10}{own}  {row['spread']:>6.2f}  {worst}")
    head = f"{'video':<{width}}  {'score':>6}  {f'{confidence:.0%} within':<10}{raw}  {'spread':>6}  worst frame"
    table = f"{head}\n" + listed(lines, shown=shown, separator="\n", total=len(rows))
    n_unlike = int(rows["is_unlike"].fillna(False).sum())
    if not n_unlike:
        return table
    return (
        f"{table}\n{UNLIKE_MARK}: {n_unlike} of {len(rows)} videos do not look like those that the model learnt from; "
        "their scores have no valid interval"
    )


def frames_path(out: Path) -> Path:
    """Where the frames of `--frames` go: beside the results, `scores.csv` and `scores.frames.csv`."""
    return out.with_name(f"{out.stem}.frames{out.suffix}")


def score(
    paths: Annotated[list[Path], Parameter(name="PATH...")],
    /,
    *,
    out: File | None = None,
    frames: bool = False,
    model: Folder = WEIGHTS,
    device: Device = "auto",
    workers: Count = 0,
    threads: Count = 1,
) -> int:
    """Score videos with the trained model.

    Folders are searched for videos. Exit status 1 when a video could not be scored, 3 when none
    could.

    Args:
        paths: Video files or folders.
        out: Write the rows as .parquet, .csv or .json.
        frames: Every frame's score too; with --out in NAME.frames.* beside it.
        model: Folder of weights.
        device: Where networks run.
        workers: Decoding processes; 0: one per core.
        threads: Threads of a network on a CPU; 0: one per core.

    Returns:
        The exit status.

    Raises:
        DatasetError: There are no videos, or the file cannot be written.
        WeightsError: The weights are missing or damaged.
    """
    if out is not None:
        check_out(out, endings=(".parquet", ".csv", ".json"))
        check_out(frames_path(out))
    videos, others = find_videos(paths)
    if others:
        print(passed_over(others), file=sys.stderr)
    if not videos:
        places = ", ".join(map(str, paths))
        raise DatasetError(f"no videos in {places} (looked for {', '.join(sorted(EXTENSIONS))})")
    make_deterministic(threads=threads or available_cores())
    scorer = Scorer.load(model, device=device)
    results, parts = [], []
    try:
        for result in progress(
            scorer.score_many(videos, workers=workers), total=len(videos), desc="score", unit="video"
        ):
            results.append({column: getattr(result, column) for column in COLUMNS})
            if frames and result.frames is not None:
                parts.append(result.frames.assign(path=result.path))
    finally:
        # What was scored is kept when the run is interrupted.
        rows = pd.DataFrame(results, columns=COLUMNS).astype(TYPES)
        if out is not None and results:
            write_results(rows, out)
            if parts:
                table = pd.concat(parts)
                write_results(table[["path", *table.columns.drop("path")]], frames_path(out))
    print(screen_table(rows, scorer.quality.mos_scale, confidence=scorer.quality.reliability.confidence))
    if frames and out is None:
        for part in parts:
            line = " ".join(f"{value:.1f}" for value in part["score"])
            print(f"{part['path'].iloc[0]}  frame scores: {line}")
    failed = int((rows["status"] != "ok").sum())
    written = f", written to {out}" if out is not None else ""
    print(f"{len(rows) - failed} of {len(rows)} videos scored, {failed} failed{written}")
    return (NOTHING_DONE if failed == len(rows) else 1) if failed else 0
