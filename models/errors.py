"""The errors of the project that do not concern files: one base class, one class per failure, and lists in messages."""

from collections.abc import Sequence


class AigcVqaError(Exception):
    """Base of every error that this project raises on purpose. Its text is meant for the user."""


class ShapeError(AigcVqaError, ValueError):
    """Tensors or arrays whose shapes do not fit together; the text gives every shape."""


class NonFiniteError(AigcVqaError, ArithmeticError):
    """A NaN or an infinity where a finite number is needed; the text says where."""


def printable(text: str) -> str:
    """A text of somebody else for a terminal: control characters are written out as Python escapes.

    Names of files may hold line breaks, which would forge lines, and what moves a cursor or sets a title.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def listed(items: Sequence[str], *, shown: int = 12, separator: str = ", ", total: int | None = None) -> str:
    """Items for a message, the first of them when there are many.

    Args:
        items: What is listed, such as names or problems; shown by `printable`.
        shown: How many are written out.
        separator: What stands between them.
        total: How many there are, where `items` are only the first; None: as many as `items`.

    Returns:
        `a, b, c`, or `a, b, and 7 more`.
    """
    total = len(items) if total is None else total
    rest = [f"and {total - shown} more"] if total > shown else []
    return separator.join([*map(printable, items[:shown]), *rest])
