"""Worker processes. Ctrl-C reaches every process of a terminal; the parent alone decides how a run ends."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess


class _Process(SpawnProcess):
    def start(self) -> None:
        # The helper process of multiprocessing, which the first start would create: it unblocks the signal.
        resource_tracker.ensure_running()
        with _interrupts_held():
            super().start()


class WorkerContext(SpawnContext):
    """Spawned processes that SIGINT never reaches, from their first instruction on; started from the main thread."""

    Process = _Process


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of `workers` processes, one thread each, which end when this process does, however it ends."""
    return ProcessPoolExecutor(workers, mp_context=WorkerContext(), initializer=_start_worker)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold SIGINT back until the block ends, and keep it blocked in a process that is started inside."""
    waiting: list[tuple[object, ...]] = []
    # A signal blocked here may still reach another thread, and Python would raise in this one.
    handler = signal.signal(signal.SIGINT, lambda *received: waiting.append(received))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if waiting and callable(handler):
            handler(*waiting[-1])  # type: ignore[arg-type]


def _start_worker() -> None:
    import cv2
    import pyarrow as pa

    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker with its parent: after a kill it would wait for ever, as siblings keep the pool's pipe open."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
