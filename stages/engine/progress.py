"""Progress bars, on a terminal only, so that logs stay readable."""

from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

Value = TypeVar("Value")


def progress(
    values: Iterable[Value] | None, *, desc: str, unit: str, total: int | None = None, leave: bool = True
) -> Any:
    """A progress bar over `values`, or one that is advanced by its `update`.

    Args:
        values: What is counted; None: nothing, `update` is called instead.
        desc: Text before the bar.
        unit: What one step is called.
        total: How many steps there are; None: the length of `values`, where it has one.
        leave: Whether the bar stays on the terminal when it is done.

    Returns:
        The bar of tqdm; its `set_postfix` shows numbers such as the loss.
    """
    return tqdm(values, desc=desc, unit=unit, total=total, leave=leave, disable=None, dynamic_ncols=True)
