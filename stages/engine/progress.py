"""Progress bars: on a terminal only, so that logs stay readable; closing lines say there what was done."""

from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

Value = TypeVar("Value")


def progress(
    values: Iterable[Value] | None, *, desc: str, unit: str, total: int | None = None, leave: bool = True
) -> Any:
    """tqdm over `values`, or counted by its `update` without any; its `set_postfix` shows numbers such as the loss."""
    return tqdm(values, desc=desc, unit=unit, total=total, leave=leave, disable=None, dynamic_ncols=True)
