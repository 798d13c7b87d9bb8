"""The gate's verdicts as Markdown, for a terminal and for a comment on a pull request."""

import math
import re
from collections.abc import Sequence

from tabulate import tabulate

from stages.evaluation.metrics import INTERVAL_ENDS, METRICS, label_of
from stages.evaluation.verdicts import Verdict


def markdown(
    verdicts: Sequence[Verdict], baseline: str, *, confidence: float, problems: Sequence[str], notes: Sequence[str]
) -> str:
    """The headline, the problems, the table, and the notes.

    Args:
        verdicts: One per metric, in the order of the table.
        baseline: What the run is compared with.
        confidence: Of the intervals, 0..1, for their column's title.
        problems: What else makes the run fail.
        notes: What could not be done.
    """
    failed = [label_of(verdict.key) for verdict in verdicts if not verdict.passes]
    good = not problems and not failed
    reasons = [*problems, *([f"Failed: {'; '.join(failed)}"] if failed else [])]
    rows = [
        {
            "metric": _cell(label_of(verdict.key)),
            "baseline": _value(verdict.key, verdict.baseline),
            "this run": _value(verdict.key, verdict.now),
            "change": _value(verdict.key, verdict.change, sign=True),
            f"{confidence:.0%} interval of the change": _interval(verdict),
            "allowed": verdict.allowed,
            "verdict": _cell(verdict.text) if verdict.passes else f"**{_cell(verdict.text)}**",
        }
        for verdict in verdicts
        # Ends of intervals are no targets, and would double the table.
        if not verdict.key.endswith(INTERVAL_ENDS) or not verdict.passes
    ]
    align = ("left", "right", "right", "right", "right", "left", "left")
    table = tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True, colalign=align)
    head = f"### Quality gate: {'passed' if good else 'FAILED'}, against {_cell(baseline)}"
    blocks = [head, "\n".join(f"- {_cell(reason)}" for reason in reasons), table, *map(_cell, notes)]
    return "\n\n".join(block for block in blocks if block)


def _interval(verdict: Verdict) -> str:
    if verdict.interval is None:
        unasked = verdict.change is not None and verdict.key in METRICS and METRICS[verdict.key].slow
        return "tolerance alone" if verdict.alone else "only beyond tolerance" if unasked else ""
    return f"{verdict.interval[0]:+.4f} to {verdict.interval[1]:+.4f}"


def _cell(text: str) -> str:
    """Text for a Markdown cell: names of files and keys may contain markup, or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _value(key: str, value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return ""
    form = ".0f" if key.startswith("n_") and math.isfinite(value) else ".4f"
    return f"{value:{'+' if sign else ''}{form}}"
