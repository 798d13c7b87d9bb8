"""List and prune the finished work in `.cache`."""

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token

from stages.engine.cache import cache_root
from stages.engine.command import make_app, misuse
from stages.engine.options import Folder
from stages.engine.pruning import (
    CachedFile,
    check_idle,
    find_entries,
    find_leftovers,
    find_oldest,
    find_unused,
    keys_in_tables,
    remove,
)
from stages.errors import EngineError
from stages.io.outs import DATA, RESULTS

AGES_S = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def read_age(text: str) -> float:
    """Read an age such as 30d.

    Args:
        text: A number and m, h, d or w.

    Returns:
        The age in seconds.

    Raises:
        ValueError: It is no age; the text says what is allowed.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no age; allowed: a number and m, h, d or w, such as 30d")
    return float(match[1]) * AGES_S[match[2]]


def read_size(text: str) -> int:
    """Read a size such as 20G.

    Args:
        text: A number and K, M, G or T, in steps of 1024; a number alone is bytes.

    Returns:
        The size in bytes.

    Raises:
        ValueError: It is no size; the text says what is allowed.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is no size; allowed: a number and K, M, G or T, such as 20G")
    return int(float(match[1]) * SIZES[match[2].upper()])


def _age(_: Any, tokens: Sequence[Token]) -> float:
    return read_age(tokens[0].value)


def _size(_: Any, tokens: Sequence[Token]) -> int:
    return read_size(tokens[0].value)


def show_age(seconds: float) -> str:
    """An age as people say it.

    Args:
        seconds: The age.

    Returns:
        Such as "5 min", "3 h" or "12 d".
    """
    minutes = max(0.0, seconds) / 60
    if minutes < 60:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 60 / 24:.0f} d"


def show_size(size_bytes: float) -> str:
    """A size as people say it.

    Args:
        size_bytes: The size.

    Returns:
        Such as "12.3 MiB".
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def _table(entries: Iterable[CachedFile]) -> str:
    """One row per stage: number of items, size, newest and oldest use."""
    stages: dict[str, list[CachedFile]] = defaultdict(list)
    for entry in entries:
        stages[entry.stage].append(entry)
    everything = [entry for found in stages.values() for entry in found]
    now = time.time()
    lines = [f"{'stage':<10}{'items':>8}{'size':>12}{'last used':>12}{'oldest':>10}"]
    for name, found in (*sorted(stages.items()), ("total", everything)):
        size = show_size(sum(entry.size_bytes for entry in found))
        ages = [now - entry.used_s for entry in found]
        lines.append(f"{name:<10}{len(found):>8}{size:>12}{show_age(min(ages)):>12}{show_age(max(ages)):>10}")
    return "\n".join(lines)


def list_stages() -> None:
    """Show what lies in `.cache`: per stage the number of items, their size, the newest and the oldest use."""
    entries = find_entries(cache_root())
    print(_table(entries) if entries else f"{cache_root()}: empty")


def prune(
    *,
    older_than: Annotated[float | None, Parameter(converter=_age, metavar="AGE")] = None,
    larger_than: Annotated[int | None, Parameter(converter=_size, metavar="SIZE")] = None,
    unused: bool = False,
    dry_run: bool = False,
    data: Folder = DATA,
    results: Folder = RESULTS,
) -> None:
    """Remove finished work; what is needed again is computed again.

    At least one of --older-than, --larger-than and --unused is needed; what any of them names goes, and what killed
    runs left behind. Nothing is asked.

    Args:
        older_than: What was not used for that long, such as 30d (m, h, d, w).
        larger_than: What was used longest ago, until the rest is no larger than that, such as 20G (K, M, G, T).
        unused: What the present run does not use. Of trainings the last one stays, and all items of a stage that has
            no table.
        dry_run: Show what would go, remove nothing.
        data: Folder of the present run's tables.
        results: Folder of the present run's results.

    Raises:
        EngineError: A stage is running, or no table says what is used.
    """
    if older_than is None and larger_than is None and not unused:
        misuse("aigc-vqa cache prune", "one of --older-than, --larger-than and --unused is needed.")
    root = cache_root()
    if not dry_run:
        check_idle(root.parent)
    entries = find_entries(root)
    going: set[CachedFile] = set()
    if older_than is not None:
        before = time.time() - older_than
        going |= {entry for entry in entries if entry.used_s < before}
    if unused:
        keys = keys_in_tables((data, results))
        if not keys:
            raise EngineError(f"no table in {data} and {results} says what is used; `dvc repro` writes them")
        going |= set(find_unused(entries, keys))
    if larger_than is not None:
        going |= set(find_oldest(set(entries) - going, larger_than_bytes=larger_than))
    leftovers = find_leftovers(root)
    if not dry_run:
        remove([*going, *leftovers], root)
    if going:
        print(_table(going))
    if leftovers:
        print(f"temporary files of killed runs: {len(leftovers)}")
    size = show_size(sum(entry.size_bytes for entry in (*going, *leftovers)))
    rest = show_size(sum(entry.size_bytes for entry in entries if entry not in going))
    done = "would be removed" if dry_run else "removed"
    print(f"cache: {len(going)} of {len(entries)} items {done}, {size}; {rest} stay")


cache = make_app("cache", help=__doc__)
cache.command(list_stages, name="list")
cache.command(prune)
