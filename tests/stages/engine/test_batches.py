"""Model work in batches across frames and videos: values, memory, failures."""

import errno
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stages.engine.batches import Batched
from stages.engine.cache import ItemCache
from stages.engine.run import Item, Outcome, run_items
from stages.errors import VideoError
from tests.stages.engine.test_run import make_items, table


class Frame:
    """An input that counts how many of it are alive."""

    lock = threading.Lock()
    alive = 0
    most = 0

    def __init__(self, value: float, size: int) -> None:
        self.value, self.size = value, size
        with Frame.lock:
            Frame.alive += 1
            Frame.most = max(Frame.most, Frame.alive)

    def __del__(self) -> None:
        with Frame.lock:
            Frame.alive -= 1


def load(number: int) -> list[Frame]:
    """0 to 4 frames of one of three sizes."""
    return [Frame(10 * number + index, number % 3) for index in range(number % 5)]


def batched(seen: list[list[tuple[int, float]]] | None = None, **options) -> Batched[Frame, float]:
    def infer(batch: list[Frame]) -> list[float]:
        if seen is not None:
            seen.append([(frame.size, frame.value) for frame in batch])
        return [2 * frame.value for frame in batch]

    settings: dict[str, Any] = {
        "load": load,
        "group": lambda frame: frame.size,
        "infer": infer,
        "finish": lambda item, inputs, outputs: table(item.video_id, outputs),
        "batch_size": 4,
    }
    return Batched(**(settings | options))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 1000])
def test_the_batch_size_does_not_matter(tmp_path: Path, batch_size: int) -> None:
    items, cache = make_items(31), ItemCache("toy", tmp_path)
    seen: list = []
    reported = list(batched(seen, batch_size=batch_size)(items, cache))
    assert sorted(item.video_id for item, _ in reported) == [item.video_id for item in items]
    assert {reason for _, reason in reported} == {None}
    for item in items:
        expected = [2 * (10 * item.payload + index) for index in range(item.payload % 5)]
        assert cache.read(item.key).equals(table(item.video_id, expected))
    assert all(len({size for size, _ in batch}) == 1 for batch in seen)
    assert max(map(len, seen)) <= batch_size
    assert sum(map(len, seen)) == sum(number % 5 for number in range(31))
    if batch_size < 7:  # all but the last batch of each of the three sizes are full
        assert sum(len(batch) < batch_size for batch in seen) <= 3


@pytest.mark.parametrize(("group", "most"), [(lambda frame: 0, 4 * 9), (lambda frame: frame.value, 4 * 5 + 16)])
def test_memory_is_bounded_whatever_the_number_of_videos(tmp_path: Path, group: Callable, most: int) -> None:
    """At most 4 frames a video. Alive: 4 videos read ahead and the one in hand, and the videos of waiting frames:
    up to 4 in a batch of 4; up to 4 * 4 = 16 frames when every frame has its own size and waits alone."""
    Frame.most = 0
    for _ in batched(group=group)(make_items(400), ItemCache("toy", tmp_path)):
        pass
    assert 0 < Frame.most <= most
    assert Frame.alive == 0


@pytest.mark.parametrize("n_odd", [0, 1, 2])
def test_a_frame_of_its_own_size_does_not_keep_its_video_waiting(tmp_path: Path, n_odd: int) -> None:
    """8 frames a video, n_odd of them of a size that no other video has. Alive: what waits in four batches of 16, the
    video in hand, and 4 that are read ahead, however many videos there are; full batches stay the rule."""

    def load(number: int) -> list[Frame]:
        return [Frame(8 * number + place, number + 1 if place < n_odd else 0) for place in range(8)]

    Frame.most = 0
    seen: list[list[tuple[int, float]]] = []
    done = list(batched(seen, load=load, batch_size=16)(make_items(300), ItemCache("toy", tmp_path)))
    assert len(done) == 300
    assert Frame.most <= 4 * 16 + 8 + 4 * 8
    assert Frame.alive == 0
    common = [len(batch) for batch in seen if batch[0][0] == 0]
    assert sum(common) == 300 * (8 - n_odd)
    assert sum(size < 16 for size in common) <= 1


def test_one_large_video_fills_its_batches(tmp_path: Path) -> None:
    """A video of more frames than may wait shares its last batch with the next one."""
    seen: list[list[tuple[int, float]]] = []
    work = batched(seen, load=lambda number: [Frame(100 * number + place, 0) for place in range(18)])
    list(work(make_items(10), ItemCache("toy", tmp_path)))
    assert [len(batch) for batch in seen] == [4] * 45


def test_reading_ahead_stops_at_its_limit(tmp_path: Path) -> None:
    started: list[int] = []
    work = batched(load=lambda number: started.append(number) or [Frame(0, 0)], batch_size=1, read_ahead=3)(
        make_items(50), ItemCache("toy", tmp_path)
    )
    next(work)
    assert len(started) <= 4
    work.close()
    assert len(started) <= 5


@pytest.mark.parametrize(
    ("error", "reason"),
    [(VideoError("cut off"), "cut off"), (ZeroDivisionError("x"), "unexpected ZeroDivisionError: x")],
)
def test_a_video_that_cannot_be_loaded_fails_alone(tmp_path: Path, error: Exception, reason: str) -> None:
    def failing(number: int) -> list[Frame]:
        if number == 5:
            raise error
        return load(number)

    cache = ItemCache("toy", tmp_path)
    outcome = run_items("toy", make_items(9), batched(load=failing), cache)
    assert outcome == Outcome(computed=8, cached=0, failed={"v005": reason})
    assert not cache.has(make_items(9)[5].key)


@pytest.mark.parametrize("part", ["infer", "finish"])
@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_a_video_that_cannot_be_worked_on_fails_alone(tmp_path: Path, part: str, batch_size: int) -> None:
    """Whatever shares its batch: the others' values are what they are without it."""

    def infer(batch: list[Frame]) -> list[float]:
        if any(60 <= frame.value < 70 for frame in batch):
            raise VideoError("too bright")
        return [2 * frame.value for frame in batch]

    def finish(item: Item, inputs: Sequence[Frame], outputs: list[float]) -> pa.Table:
        if item.payload == 6:
            raise ZeroDivisionError("x")
        return table(item.video_id, outputs)

    cache, items = ItemCache("toy", tmp_path), make_items(31)
    changes = {"infer": infer} if part == "infer" else {"finish": finish}
    outcome = run_items("toy", items, batched(batch_size=batch_size, **changes), cache)
    reason = {"infer": "too bright", "finish": "unexpected ZeroDivisionError: x"}[part]
    assert outcome == Outcome(computed=30, cached=0, failed={"v006": reason})
    for item in items:
        if item.payload == 6:
            assert not cache.has(item.key)
        else:
            expected = [2 * (10 * item.payload + index) for index in range(item.payload % 5)]
            assert cache.read(item.key).equals(table(item.video_id, expected))
    assert Frame.alive == 0


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_what_stops_a_run_leaves_the_finished_items(tmp_path: Path, error: BaseException) -> None:
    def failing(batch: list[Frame]) -> list[float]:
        if any(frame.value >= 120 for frame in batch):
            raise error
        return [2 * frame.value for frame in batch]

    items, cache = make_items(30), ItemCache("toy", tmp_path)
    with pytest.raises(type(error)):
        run_items("toy", items, batched(infer=failing, batch_size=2), cache)
    done = [item for item in items if cache.has(item.key)]
    assert 5 <= len(done) <= 12
    outcome = run_items("toy", items, batched(), cache)
    assert (outcome.computed, outcome.cached) == (30 - len(done), len(done))


def test_a_full_disk_while_loading_stops_the_run(tmp_path: Path) -> None:
    def failing(number: int) -> list[Frame]:
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        run_items("toy", make_items(9), batched(load=failing), ItemCache("toy", tmp_path))


def test_outputs_must_match_inputs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        run_items("toy", make_items(9), batched(infer=lambda batch: [0.0]), ItemCache("toy", tmp_path))


def test_values_do_not_depend_on_the_order_of_videos(tmp_path: Path) -> None:
    one, two = ItemCache("one", tmp_path), ItemCache("two", tmp_path)
    items = make_items(20)
    shuffled = [items[position] for position in np.random.default_rng(0).permutation(20)]
    run_items("toy", items, batched(), one)
    run_items("toy", shuffled, batched(), two)
    for item in items:
        assert one.path(item.key).read_bytes() == two.path(item.key).read_bytes()
