"""Runs a function over videos in processes of this machine."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from typing import Any

import pyarrow as pa

from stages.engine.cache import ItemCache
from stages.engine.run import Compute, Item, reason_of
from stages.engine.workers import worker_pool


def in_processes(function: Callable[[Any], pa.Table], *, workers: int) -> Compute:
    """A `Compute` that runs a function in spawned processes, one thread each; the workers write the items.

    An exception is that video's failure; a full disk stops the run. A process that dies (a crash inside a decoder)
    costs only the video that it worked on. When the run stops early, videos in progress are finished and waiting ones
    are dropped.

    Args:
        function: Gives a video's table from its payload; it must be picklable.
        workers: Most processes at a time.
    """

    def compute(items: Sequence[Item], cache: ItemCache) -> Iterator[tuple[Item, str | None]]:
        waiting = deque(items)
        while waiting:
            running: deque[tuple[Item, Future[str | None]]] = deque()
            with worker_pool(min(workers, len(waiting))) as pool:
                try:
                    while waiting or running:
                        while waiting and len(running) < 2 * workers:
                            # A broken pool raises: the item leaves the queue only after it was accepted.
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
            suspects: list[Item] = []
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
