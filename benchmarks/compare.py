"""Alternatives timed in turn, so that a machine whose speed drifts slows all of them alike, and their ratios."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from timeit import timeit

import numpy as np
import torch
from tabulate import tabulate

MILLISECONDS = 1000


@dataclass(frozen=True)
class Row:
    """One line of a benchmark's table.

    value: the median over the rounds, or the one figure that there is; low, high: the quartiles. goal: a text such as
    "at most 1.15" whose number the value is held against; empty where there is none.
    """

    what: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str = "ratio"
    goal: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if not self.goal:
            return None
        kind, _, number = self.goal.rpartition(" ")
        return self.value <= float(number) if kind == "at most" else self.value >= float(number)


def time_in_turn(
    cases: Mapping[str, Callable[[], object]], *, rounds: int = 15, warm_up: int = 2, threads: int = 1
) -> dict[str, np.ndarray]:
    """Seconds of one call of each case, (rounds,) each: every round calls every case once, in order.

    threads: of torch's operations.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        seconds = [[timeit(run, number=1) for run in cases.values()] for _ in range(warm_up + rounds)]
    finally:
        torch.set_num_threads(before)
    return dict(zip(cases, np.array(seconds[warm_up:]).T, strict=True))


def duration_row(what: str, seconds: np.ndarray, *, per: int = 1) -> Row:
    """Milliseconds; `per`: the things that one call worked on."""
    low, value, high = np.quantile(seconds, (0.25, 0.5, 0.75)) * MILLISECONDS / per
    return Row(what, value, low, high, unit="ms")


def ratio_row(what: str, over: np.ndarray, under: np.ndarray, *, goal: str = "") -> Row:
    """The ratio round by round: what is timed in one round shares the machine's mood."""
    low, value, high = np.quantile(over / under, (0.25, 0.5, 0.75))
    return Row(what, value, low, high, goal=goal)


def throughput_rows(
    stage: str, *, frames: int, bare_seconds: np.ndarray, stage_seconds: np.ndarray, prefix: str = "", goal: str = ""
) -> list[Row]:
    """A whole stage against the network inside it: frames a second of both, and what the stage keeps of the network's.

    stage: its name in the table. prefix: before every row, where one table has several networks.
    """
    return [
        Row(f"{prefix}network alone", frames / float(np.median(bare_seconds)), unit="frames/s"),
        Row(f"{prefix}{stage} stage", frames / float(np.median(stage_seconds)), unit="frames/s"),
        ratio_row(f"{prefix}throughput, stage / network", bare_seconds, stage_seconds, goal=goal),
    ]


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    words = {True: "met", False: "missed", None: ""}
    cells = [
        (row.what, _number(row.value), _range(row), row.unit, f"{row.goal}: {words[row.met]}" if row.goal else "")
        for row in rows
    ]
    headers = ["", "median", "quartiles", "unit", "goal"]
    return tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)


def _range(row: Row) -> str:
    return "" if row.low is None or row.high is None else f"{_number(row.low)} to {_number(row.high)}"


def _number(value: float) -> str:
    return f"{value:.4g}"
