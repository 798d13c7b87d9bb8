"""KVQ's rated pairs: a workbook, read as in metric_score.py of lixinustc/KVQ-Challenge-CVPR-NTIRE2024 8607a4d.

Its sheets are `source` (pairs that show one source, processed in two ways) and `nonsource` (two sources). A sheet has a
header row and three columns, identified by their position: video 1, video 2, rank (1: the first is better, 2: the
second).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stages.datasets.cells import opened_workbook
from stages.datasets.labels import refuse, video_id_of
from stages.errors import DatasetError

SHEETS: tuple[Literal["source", "nonsource"], ...] = ("source", "nonsource")


@dataclass(frozen=True)
class RatedPair:
    """Two videos that raters compared.

    Attributes:
        kind: Whether they show one source or two.
        first: Id of one video.
        second: Id of the other.
        first_is_better: Whether raters preferred the first.
    """

    kind: Literal["source", "nonsource"]
    first: str
    second: str
    first_is_better: bool

    @property
    def better(self) -> str:
        """Id of the video that raters preferred."""
        return self.first if self.first_is_better else self.second


def read_pairs(workbook: Path, *, ids: Collection[str]) -> list[RatedPair]:
    """Every pair of the workbook.

    Args:
        workbook: The xlsx file.
        ids: Ids of the videos of the labels.

    Raises:
        DatasetError: The file is missing or no workbook, lacks a sheet or a header, or has rows that cannot be used:
            without a value, with another rank, naming one video twice or a video that the labels lack, or repeating the
            pair of another row of either sheet. The message names sheets and rows.
    """
    known = frozenset(ids)
    pairs: dict[str, RatedPair] = {}
    problems: list[str] = []
    with opened_workbook(workbook, missing="no such workbook of pairs (dataset.root, dataset.pairs)") as book:
        missing = [name for name in SHEETS if name not in book.sheetnames]
        if missing:
            raise DatasetError(
                f"{workbook}: no sheet {', '.join(missing)} (found: {', '.join(book.sheetnames)}; needed: "
                f"{', '.join(SHEETS)})"
            )
        for kind in SHEETS:
            for number, row in enumerate(book[kind].iter_rows(max_col=3, values_only=True), start=1):
                place = f"{workbook.name} sheet {kind} row {number}"
                if number == 1:
                    if not _is_header(row, known):
                        problems.append(f"{place}: {_shown(row)} is not a header of three columns")
                elif any(cell is not None for cell in row):
                    pair = _pair(kind, row, known)
                    if isinstance(pair, str):
                        problems.append(f"{place}: {pair}")
                    else:
                        pairs[place] = pair
    refuse(workbook, "pairs that cannot be used", [*problems, *_repeated(pairs)])
    return [*pairs.values()]


def _is_header(row: Sequence[Any], known: frozenset[str]) -> bool:
    """Whether a first row holds names of columns: neither videos nor any rank."""
    first, second, rank = _texts(row)
    try:
        float(rank)
    except ValueError:
        return known.isdisjoint((video_id_of(first), video_id_of(second)))
    return False


def _repeated(pairs: Mapping[str, RatedPair]) -> Iterator[str]:
    """What is wrong with rows (place -> pair) that repeat the two videos of an earlier row: they would count twice."""
    seen: dict[frozenset[str], str] = {}
    for place, pair in pairs.items():
        before = seen.setdefault(frozenset((pair.first, pair.second)), place)
        if before != place:
            other = ", with the other one better" if pair.better != pairs[before].better else ""
            yield f"{place}: {pair.first!r} and {pair.second!r} are paired in {before} too{other}"


def _texts(row: Sequence[Any]) -> list[str]:
    """The three cells as text, empty where there is none."""
    return [str(cell).strip() if cell is not None else "" for cell in (*row, None, None, None)[:3]]


def _pair(kind: Literal["source", "nonsource"], row: Sequence[Any], known: frozenset[str]) -> RatedPair | str:
    """The pair of a row, or what is wrong with it."""
    first, second, rank = _texts(row)
    if not (first and second and rank):
        return f"{_shown(row)} lacks a value; needed: video 1, video 2, rank"
    if rank not in ("1", "2", "1.0", "2.0"):
        return f"the rank is {rank!r}; allowed: 1 (the first is better), 2"
    first, second = video_id_of(first), video_id_of(second)
    if unknown := [name for name in (first, second) if name not in known]:
        return f"the labels have no video {', '.join(map(repr, unknown))}"
    if first == second:
        return f"{first!r} is paired with itself"
    return RatedPair(kind, first, second, first_is_better=rank.startswith("1"))


def _shown(row: Sequence[Any]) -> str:
    return ", ".join("(empty)" if cell is None else repr(cell) for cell in row) or "(empty)"
