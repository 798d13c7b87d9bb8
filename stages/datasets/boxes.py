"""Precomputed boxes: a Parquet table, or a folder of text files as in S2CNet's release."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from models.detectors.config import DetectionRules
from models.errors import listed
from stages.datasets.box_table import BoxTable
from stages.errors import TableError
from stages.io.digests import digest
from stages.io.schemas import BOX_COLUMNS

COLUMNS = ("video_id", "frame_index", *BOX_COLUMNS, "score")
LABEL = "label"
# Rounding in other tools lets boxes reach past the edge: they are clipped. One that reaches further has wrong units.
EDGE_TOLERANCE_PX = 1.0
MAX_PROBLEMS = 20


class _Rows(NamedTuple):
    """All rows as they are written: video ids (N,); the other columns (N,), boxes (N, 4); the numbers of the rows."""

    videos: NDArray[np.object_]
    frame_index: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    numbers: NDArray[np.int64]


def read_boxes(source: Path, config: DetectionRules) -> BoxTable:
    """Read and check precomputed boxes.

    Equal scores keep the order of the rows. Boxes that reach up to EDGE_TOLERANCE_PX beyond the left or upper edge are
    clipped.

    Args:
        source: A Parquet file with video_id, frame_index, x0, y0, x1, y1, score and, where classes matter, label (from
            1); other columns are ignored. Or a folder with one text file per frame, `VIDEO_ID/FRAME_INDEX.txt`, with
            one line per box, best first: `ymin xmin ymax xmax`, in pixels of the frame; these have score 1, and an
            empty file says that a frame has no objects.
        config: The configuration that the table carries.

    Raises:
        TableError: The file cannot be read, has no boxes, or has rows that cannot be used; the message names them.
    """
    if source.is_dir():
        rows, places = _read_texts(source)
    else:
        rows, places = _read_parquet(source), ((1, source.name),)
    if not len(rows.numbers):
        raise TableError(f"{source}: there are no boxes in it")
    table = _arrange(rows, places, config)
    if problems := sorted(_problems(rows)):
        _stop(problems, table, source)
    return table


def boxes_digest(table: BoxTable, video_id: str) -> str:
    """A name for all boxes of one video; where they stand in the user's file does not matter."""
    part = table.part_of(video_id)
    columns = (table.frame_index, table.boxes_xyxy_px, table.scores, table.labels)
    return digest(*(column[part].tolist() for column in columns))


def described_frames(table: BoxTable) -> dict[str, set[int]]:
    """The frames that the user's files describe, by video: those with boxes, or with an empty text file."""
    frames = {video_id: {*table.frame_index[table.part_of(video_id)].tolist()} for video_id in table.videos}
    for _, name in table.places if is_of_texts(table) else ():
        path = PurePosixPath(name)
        frames.setdefault(path.parent.as_posix(), set()).add(int(path.stem))
    return frames


def is_of_texts(table: BoxTable) -> bool:
    """Whether the boxes come from text files, VIDEO_ID/FRAME_INDEX.txt, in which a frame can be said to have none."""
    return "/" in table.places[0][1]


def show_box(values: Iterable[Any]) -> str:
    """Coordinates with as many digits as it takes to distinguish them from any other."""
    return ", ".join(short if float(short := f"{value:g}") == value else str(value) for value in values)


def _read_parquet(path: Path) -> _Rows:
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        if repeated := [name for name in (*COLUMNS, LABEL) if names.count(name) > 1]:
            raise TableError(f"{path}: more than one column {', '.join(repeated)}")
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            raise TableError(
                f"{path}: no columns {', '.join(missing)}; needed: {', '.join(COLUMNS)}, and {LABEL} for classes"
            )
        table = file.read([name for name in (*COLUMNS, LABEL) if name in file.schema_arrow.names])
        if LABEL not in table.column_names:
            table = table.append_column(LABEL, pa.array(np.ones(table.num_rows, np.int64)))
        empty = [name for name in table.column_names if table[name].null_count]
        if empty:
            row = min(table[name].is_null().to_pylist().index(True) for name in empty) + 1
            raise TableError(f"{path}: row {row} has no value in {', '.join(empty)}")
        types = dict.fromkeys(COLUMNS, pa.float64()) | {"video_id": pa.string(), "frame_index": pa.int64()}
        types |= {LABEL: pa.int64()}
        columns = {name: _cast(table[name], types[name], name, path) for name in table.column_names}
    except FileNotFoundError:
        raise TableError(f"{path}: no such table of boxes") from None
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{path}: not a readable table of boxes ({error}); a Parquet file is needed") from None
    return _Rows(
        np.array(columns["video_id"].to_pylist(), dtype=object),
        columns["frame_index"].to_numpy(),
        np.stack([columns[name].to_numpy() for name in BOX_COLUMNS], axis=1),
        columns["score"].to_numpy(),
        columns[LABEL].to_numpy(),
        np.arange(1, table.num_rows + 1),
    )


def _cast(column: pa.ChunkedArray, wanted: pa.DataType, name: str, path: Path) -> pa.ChunkedArray:
    """The column in the wanted type; raise TableError with the first row whose value has no such form."""
    try:
        return column.cast(wanted)
    except pa.ArrowException:
        needed = "text" if wanted == pa.string() else "a whole number" if wanted == pa.int64() else "a number"
        hint = " from 1; leave the column out where classes do not matter" if name == LABEL else ""
        for row in range(len(column)):
            try:
                column.slice(row, 1).cast(wanted)
            except pa.ArrowException:
                raise TableError(
                    f"{path}: row {row + 1}: {name} is {column[row].as_py()!r}; needed: {needed}{hint}"
                ) from None
        raise


def _read_texts(folder: Path) -> tuple[_Rows, tuple[tuple[int, str], ...]]:
    places: list[tuple[int, str]] = []
    names: dict[tuple[str, int], str] = {}
    videos, indices, boxes, numbers = [], [], [], []
    first = 1
    for path in sorted(folder.rglob("*.txt")):
        name = path.relative_to(folder)
        if len(name.parts) < 2 or not re.fullmatch(r"[0-9]{1,9}", path.stem):
            raise TableError(f"{path}: a frame's boxes lie in VIDEO_ID/FRAME_INDEX.txt, such as clip.mp4/12.txt")
        places.append((first, name.as_posix()))
        frame = name.parent.as_posix(), int(path.stem)
        if frame in names:
            raise TableError(f"{folder}: {names[frame]} and {name.as_posix()} are of one frame; one file is needed")
        names[frame] = name.as_posix()
        lines = _lines(path)
        for offset, values in lines:
            y0, x0, y1, x1 = values
            videos.append(frame[0])
            indices.append(frame[1])
            boxes.append((x0, y0, x1, y1))
            numbers.append(first + offset)
        first = max([first, *(first + offset for offset, _ in lines)]) + 1
    if not places:
        raise TableError(f"{folder}: no boxes (text files VIDEO_ID/FRAME_INDEX.txt)")
    count = len(numbers)
    rows = _Rows(
        np.array(videos, dtype=object),
        np.array(indices, dtype=np.int64),
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.ones(count),
        np.ones(count, dtype=np.int64),
        np.array(numbers, dtype=np.int64),
    )
    return rows, tuple(places)


def _lines(path: Path) -> list[tuple[int, list[float]]]:
    """(offset, four numbers) of every line that is not empty."""
    result = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not a text file ({error})") from None
    for offset, line in enumerate(lines):
        try:
            values = [float(word) for word in line.split()]
        except ValueError:
            values = []
        if line.strip() and len(values) != 4:
            raise TableError(f"{path}, row {offset + 1}: {line!r} is not four numbers: ymin xmin ymax xmax")
        if values:
            result.append((offset, values))
    return result


def _arrange(rows: _Rows, places: tuple[tuple[int, str], ...], config: DetectionRules) -> BoxTable:
    """Videos by name, their frames in order, the boxes of a frame best first."""
    names, video = np.unique(rows.videos.astype(str), return_inverse=True)
    order = np.lexsort((rows.numbers, -rows.scores, rows.frame_index, video))
    return BoxTable(
        config=config,
        videos=tuple(names.tolist()),
        places=places,
        starts=torch.from_numpy(np.searchsorted(video[order], np.arange(len(names) + 1))),
        frame_index=torch.from_numpy(rows.frame_index[order]),
        boxes_xyxy_px=torch.from_numpy(_in_frame(rows.boxes[order])),
        scores=torch.from_numpy(rows.scores[order].astype(np.float32)),
        labels=torch.from_numpy(rows.labels[order]),
        rows=torch.from_numpy(rows.numbers[order]),
    )


def _in_frame(boxes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Float32, clipped at the left and upper edge; numbers beyond float32 become infinite."""
    with np.errstate(over="ignore"):
        return boxes.astype(np.float32).clip(min=0)


def _stop(problems: Sequence[tuple[int, str]], table: BoxTable, source: Path) -> None:
    place_of = {row: place for place, row in enumerate(table.rows.tolist())}
    lines = [f"{table.name_row(place_of[row])}: {problem}" for row, problem in problems[:MAX_PROBLEMS]]
    shown = listed(lines, shown=MAX_PROBLEMS, separator="\n  ", total=len(problems))
    raise TableError(f"{source}: the boxes cannot be used\n  {shown}")


def _problems(rows: _Rows) -> Iterator[tuple[int, str]]:
    """(number of the row, what is wrong with it)."""
    boxes = _in_frame(rows.boxes)
    finite: Any = (np.isfinite(boxes) & np.isfinite(rows.boxes)).all(axis=1)
    x0, y0, x1, y1 = np.where(finite[:, None], boxes, np.array([0, 0, 1, 1], dtype=np.float32)).T
    texts: Sequence[tuple[Any, str]] = (
        (~finite, "coordinates that are not finite"),
        ((x1 <= x0) | (y1 <= y0), "a box without area in its frame, in float32 (needed: x0 < x1 and y0 < y1)"),
        ((rows.boxes < -EDGE_TOLERANCE_PX).any(axis=1) & finite, "coordinates outside of the frame"),
        (~((rows.scores >= 0) & (rows.scores <= 1)), "a score outside of 0 to 1"),
        (rows.frame_index < 0, "a frame_index below 0"),
        (rows.labels < 1, "a label below 1"),
    )
    for wrong, text in texts:
        for place in np.flatnonzero(wrong):
            where = f"{rows.videos[place]}, frame {rows.frame_index[place]}"
            yield int(rows.numbers[place]), f"{text}: {where}, {show_box(rows.boxes[place])}"
