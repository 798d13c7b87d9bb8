"""How the engine runs networks: the frames of a video in batches, while background threads load the next videos."""

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

import pyarrow as pa

from stages.engine.cache import ItemCache
from stages.engine.run import Item, reason_of

Input = TypeVar("Input")
Output = TypeVar("Output")


@dataclass(frozen=True)
class Batched(Generic[Input, Output]):
    """Model work video by video, in batches, while background threads load the next videos.

    The last bits of a network's output depend on the size of its batch. So no batch holds inputs of two videos: what a
    video gets has the same bytes whatever else is computed in a run, interrupted or not. An exception is a failure of
    its video. Memory depends on the longest videos, not on their number.

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
            Each item with None, or with the reason why it failed, in order.
        """
        for item, loaded in _read_ahead(self.load, items, self.read_ahead):
            if isinstance(loaded, str):
                yield item, loaded
                continue
            try:
                table = self.finish(item, loaded, self._infer(loaded))
            except Exception as error:
                yield item, reason_of(error)
                continue
            cache.write(item.key, table)
            yield item, None

    def _infer(self, inputs: Sequence[Input]) -> list[Output]:
        """The outputs of one video's inputs, in their order."""
        groups: dict[Hashable, list[int]] = {}
        for place, value in enumerate(inputs):
            groups.setdefault(self.group(value), []).append(place)
        found: dict[int, Output] = {}
        for places in groups.values():
            for start in range(0, len(places), self.batch_size):
                batch = places[start : start + self.batch_size]
                found |= dict(zip(batch, self.infer([inputs[place] for place in batch]), strict=True))
        return [found[place] for place in range(len(inputs))]


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
