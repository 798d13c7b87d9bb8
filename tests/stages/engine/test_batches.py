"""Model work in batches across frames and videos: values, memory, failures."""

import errno
import threading
from collections.abc import Sequence
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
    # The frames of a video lie in one decade of values.
    assert all(len({value // 10 for _, value in batch}) == 1 for batch in seen)


def test_what_a_video_gets_depends_on_no_other(tmp_path: Path) -> None:
    """Outputs that tell the size of their batch, as the last bits of a network's do."""
    cache, alone = ItemCache("toy", tmp_path), ItemCache("alone", tmp_path)
    items = make_items(9)
    work = batched(infer=lambda batch: [len(batch) / 7] * len(batch), load=lambda number: [Frame(0, 0)] * (1 + number))
    list(work(items, cache))
    for item in items:
        list(work([item], alone))
        assert alone.path(item.key).read_bytes() == cache.path(item.key).read_bytes()


def test_memory_is_bounded_whatever_the_number_of_videos(tmp_path: Path) -> None:
    """At most 4 frames a video: 4 videos are read ahead, beside the one in hand and the one that takes its place."""
    Frame.most = 0
    for _ in batched()(make_items(400), ItemCache("toy", tmp_path)):
        pass
    assert 0 < Frame.most <= 4 * 6
    assert Frame.alive == 0


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
    outcome = run_items("toy", make_items(9), batched(infer=lambda batch: [0.0]), ItemCache("toy", tmp_path))
    # 0, 1 or more frames a video.
    assert sorted(outcome.failed) == ["v002", "v003", "v004", "v007", "v008"]
    assert outcome.failed["v004"].startswith("unexpected ValueError: zip()")


def test_values_do_not_depend_on_the_order_of_videos(tmp_path: Path) -> None:
    one, two = ItemCache("one", tmp_path), ItemCache("two", tmp_path)
    items = make_items(20)
    shuffled = [items[position] for position in np.random.default_rng(0).permutation(20)]
    run_items("toy", items, batched(), one)
    run_items("toy", shuffled, batched(), two)
    for item in items:
        assert one.path(item.key).read_bytes() == two.path(item.key).read_bytes()
