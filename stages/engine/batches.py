"""How the engine runs networks: batches across frames and videos, while background threads load the next videos."""

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

import pyarrow as pa

from stages.engine.cache import ItemCache
from stages.engine.run import Item, reason_of

Input = TypeVar("Input")
Output = TypeVar("Output")

# Inputs that waiting videos may hold in memory, in full batches; a single video may hold more by itself.
HELD_BATCHES = 4


@dataclass(frozen=True)
class Batched(Generic[Input, Output]):
    """Model work in batches across frames and videos, while background threads load the next videos.

    An exception is a failure of its video. When it occurs inside a batch of several videos, each of them is tried again
    on its own. A video keeps all its inputs until the last of them has its output; so batches that are not full run
    early when the waiting videos hold more than HELD_BATCHES batches. Memory therefore depends neither on the number of
    videos nor on the number of groups.

    Attributes:
        load: Gives the inputs of one video from its payload; runs in a background thread.
        group: Names the group of an input; only inputs of one group share a batch, such as frames of one size.
        infer: Gives the outputs of a batch, in order.
        finish: Makes the table of one video from its item, inputs and outputs.
        batch_size: Most inputs of a batch.
        read_ahead: Videos that are loaded before they are needed.
    """

    load: Callable[[Any], Sequence[Input]]
    group: Callable[[Input], Hashable]
    infer: Callable[[list[Input]], Sequence[Output]]
    finish: Callable[[Item, Sequence[Input], list[Output]], pa.Table]
    batch_size: int
    read_ahead: int = 4

    def __call__(self, items: Sequence[Item], cache: ItemCache) -> Iterator[tuple[Item, str | None]]:
        """Compute items into the cache.

        Args:
            items: The videos to compute.
            cache: Where their tables go.

        Yields:
            Each item with None, or with the reason why it failed, in the order in which they are done.
        """
        batches: dict[Hashable, list[tuple[_Work, int]]] = {}
        for item, loaded in _read_ahead(self.load, items, self.read_ahead):
            if isinstance(loaded, str):
                yield item, loaded
                continue
            work = _Work(item, loaded, [None] * len(loaded))
            if not loaded:
                yield from self._close([work], cache)
            for position, value in enumerate(loaded):
                batch = batches.setdefault(self.group(value), [])
                batch.append((work, position))
                if len(batch) == self.batch_size:
                    yield from self._close(self._infer(batches.pop(self.group(value))), cache)
            while self._holds_too_much(batches.values()):
                yield from self._close(self._infer(batches.pop(_most_freeing(batches))), cache)
        for batch in batches.values():
            yield from self._close(self._infer(batch), cache)

    def _holds_too_much(self, batches: Iterable[Sequence[tuple["_Work", int]]]) -> bool:
        held = {id(work): len(work.inputs) for batch in batches for work, _ in batch}
        return len(held) > 1 and sum(held.values()) > HELD_BATCHES * self.batch_size

    def _infer(self, batch: list[tuple["_Work", int]]) -> list["_Work"]:
        """Run a batch and store its outputs; returns the videos that are done, successfully or not."""
        works = list({id(work): work for work, _ in batch}.values())
        try:
            outputs = self.infer([work.inputs[position] for work, position in batch])
        except Exception as error:
            reason = reason_of(error)
            if len(works) == 1:
                works[0].reason = works[0].reason or reason
                outputs = []
            else:
                for single in works:
                    self._infer([(work, position) for work, position in batch if work is single])
                return [work for work in works if work.left == 0]
        else:
            for (work, position), output in zip(batch, outputs, strict=True):
                work.outputs[position] = output
        for work, _ in batch:
            work.left -= 1
        return [work for work in works if work.left == 0]

    def _close(self, works: Iterable["_Work"], cache: ItemCache) -> Iterator[tuple[Item, str | None]]:
        for work in works:
            if work.reason is None:
                try:
                    table = self.finish(work.item, work.inputs, work.outputs)
                except Exception as error:
                    work.reason = reason_of(error)
                else:
                    cache.write(work.item.key, table)
            yield work.item, work.reason


@dataclass
class _Work:
    item: Item
    inputs: Sequence[Any]
    outputs: list[Any]
    left: int = field(init=False)
    reason: str | None = None

    def __post_init__(self) -> None:
        self.left = len(self.inputs)


def _most_freeing(batches: Mapping[Hashable, Sequence[tuple[_Work, int]]]) -> Hashable:
    """The group whose outputs free the most inputs; where none frees any, the fullest one."""

    def freed(group: Hashable) -> tuple[int, int]:
        batch = batches[group]
        waiting = Counter(id(work) for work, _ in batch)
        done = {id(work): len(work.inputs) for work, _ in batch if work.left == waiting[id(work)]}
        return sum(done.values()), len(batch)

    return max(batches, key=freed)


def _read_ahead(
    load: Callable[[Any], Sequence[Input]], items: Sequence[Item], ahead: int
) -> Iterator[tuple[Item, Sequence[Input] | str]]:
    """Load items in order in background threads, at most `ahead` of them before they are used."""

    def guarded(item: Item) -> Sequence[Input] | str:
        try:
            return load(item.payload)
        except Exception as error:
            return reason_of(error)

    with ThreadPoolExecutor(2) as threads:
        waiting = iter(items)
        running = deque((item, threads.submit(guarded, item)) for item in islice(waiting, ahead))
        while running:
            item, future = running.popleft()
            loaded = future.result()
            running.extend((upcoming, threads.submit(guarded, upcoming)) for upcoming in islice(waiting, 1))
            yield item, loaded
