"""Runs a function over videos: workers, item cache, quarantine, progress, and the closing line of a stage.

DVC deletes a stage's outs before it runs. Per-video results therefore go to the item cache first and the outs are
assembled from it: one added video costs one video, and a killed stage goes on where it was.
"""

import errno
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from models.errors import AigcVqaError, listed
from stages.engine.cache import ItemCache
from stages.engine.progress import progress
from stages.engine.workers import worker_pool
from stages.errors import NO_ROOM, EngineError
from stages.io.tables import write_shards


@dataclass(frozen=True)
class Item:
    """One video's work: `key` names everything that the result depends on, `payload` is what the function needs."""

    video_id: str
    key: str
    payload: Any = None


@dataclass(frozen=True)
class Outcome:
    """What became of a stage's items; `failed` maps video ids to reasons, those of earlier stages included."""

    computed: int
    cached: int
    failed: dict[str, str] = field(default_factory=dict)


class Compute(Protocol):
    """Computes items into the cache and reports each with None, or with the reason why it cannot be computed."""

    def __call__(self, items: Sequence[Item], cache: ItemCache) -> Iterator[tuple[Item, str | None]]: ...


def run_stage(
    stage: str,
    items: Sequence[Item],
    compute: Compute,
    *,
    schema: pa.Schema,
    out: str | Path,
    made_by: Mapping[str, Any],
    failed_before: Mapping[str, str],
    n_shards: int,
    max_failed_fraction: float,
) -> Outcome:
    """Compute what the cache lacks, assemble the shards in `out`, print the closing line.

    Raises EngineError, and writes no shard, when more than `max_failed_fraction` of all videos failed or none is left.
    """
    cache = ItemCache(stage)
    outcome = run_items(stage, items, compute, cache, failed_before=failed_before)
    print(closing_line(stage, outcome))
    check_failures(stage, outcome, max_failed_fraction=max_failed_fraction)
    write_shards(
        out,
        {item.video_id: item.key for item in items if item.video_id not in outcome.failed},
        cache.read_as,
        schema=schema,
        n_shards=n_shards,
        made_by=made_by,
        failed=outcome.failed,
    )
    return outcome


def run_items(
    stage: str,
    items: Sequence[Item],
    compute: Compute,
    cache: ItemCache,
    *,
    failed_before: Mapping[str, str] | None = None,
) -> Outcome:
    """Compute the items that the cache lacks, with a progress bar. Failures are not cached: a later run tries again."""
    missing = [item for item in items if not cache.has(item.key)]
    failed = dict(failed_before or {})
    computed = 0
    if missing:
        results = progress(compute(missing, cache), total=len(missing), desc=stage, unit="video")
        for item, reason in results:
            if reason is None:
                computed += 1
            else:
                failed[item.video_id] = reason
                results.set_postfix(failed=len(failed))
    return Outcome(computed=computed, cached=len(items) - len(missing), failed=failed)


def closing_line(stage: str, outcome: Outcome, *, shown: int = 20) -> str:
    """`decode: 1 computed, 299 cached, 0 failed`, and a line for each failed video."""
    line = f"{stage}: {outcome.computed} computed, {outcome.cached} cached, {len(outcome.failed)} failed"
    failures = [f"{video_id}: {reason}" for video_id, reason in sorted(outcome.failed.items())]
    # The empty item in front starts a line of its own, and none without failures.
    return line + listed(["", *failures], shown=shown + 1, separator="\n  ")


def check_failures(stage: str, outcome: Outcome, *, max_failed_fraction: float) -> None:
    """Raise EngineError when no video is left, or when more failed than `max_failed_fraction` of all."""
    left = outcome.computed + outcome.cached
    total = left + len(outcome.failed)
    if left == 0:
        raise EngineError(f"{stage}: none of {total} videos can be used; the reasons are above")
    if len(outcome.failed) > max_failed_fraction * total:
        raise EngineError(
            f"{stage}: {len(outcome.failed)} of {total} videos failed, more than engine.max_failed_fraction = "
            f"{max_failed_fraction} allows; the reasons are above"
        )


def in_processes(function: Callable[[Any], pa.Table], *, workers: int) -> Compute:
    """Compute items by `function(payload)` in spawned processes, one thread each; the workers write the items.

    An exception is that video's failure; a full disk stops the run. A process that dies (a crash inside a
    decoder) costs only the video that it worked on. When the run stops early, what is being computed is finished
    and what only waits is dropped.
    """

    def compute(items: Sequence[Item], cache: ItemCache) -> Iterator[tuple[Item, str | None]]:
        waiting = deque(items)
        while waiting:
            running: deque[tuple[Item, Future[str | None]]] = deque()
            with worker_pool(min(workers, len(waiting))) as pool:
                try:
                    while waiting or running:
                        while waiting and len(running) < 2 * workers:
                            # A broken pool refuses: the item leaves the queue only when it was taken.
                            future = pool.submit(_compute_one, function, waiting[0], cache)
                            running.append((waiting.popleft(), future))
                        item, future = running[0]
                        reason = future.result()
                        running.popleft()
                        yield item, reason
                except BrokenExecutor:
                    pass
                finally:
                    pool.shutdown(cancel_futures=True)
            # One of these killed its process, and the pool does not say which.
            suspects = []
            for item, future in running:
                if future.done() and not future.cancelled() and future.exception() is None:
                    yield item, future.result()
                else:
                    suspects.append(item)
            yield from _one_by_one(function, suspects, cache)

    return compute


def _one_by_one(
    function: Callable[[Any], pa.Table], items: Sequence[Item], cache: ItemCache
) -> Iterator[tuple[Item, str | None]]:
    """Compute each item alone in a process, so that the one that kills it is known."""
    waiting = deque(items)
    while waiting:
        with worker_pool(1) as pool:
            alive = True
            while waiting and alive:
                item = waiting.popleft()
                try:
                    reason = pool.submit(_compute_one, function, item, cache).result()
                except BrokenExecutor:
                    reason = "the process that worked on it died (the file crashes the decoder, or memory ran out)"
                    alive = False
                yield item, reason


def _compute_one(function: Callable[[Any], pa.Table], item: Item, cache: ItemCache) -> str | None:
    try:
        table = function(item.payload)
    except Exception as error:
        return reason_of(error)
    cache.write(item.key, table)
    return None


def reason_of(error: Exception) -> str:
    """The failure's text for tables; errors that concern the machine and not the video are raised again."""
    if isinstance(error, OSError) and error.errno in (*NO_ROOM, errno.EMFILE, errno.ENFILE):
        raise error
    if isinstance(error, AigcVqaError):
        return str(error)
    return f"unexpected {type(error).__name__}: {error}"
