"""The engine without processes: cache, failures, the closing line, and model work in batches."""

import errno
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stages.batches import Batched
from stages.engine import Compute, Item, Outcome, check_failures, closing_line, run_items, run_stage
from stages.errors import EngineError, VideoError
from stages.io.items import ItemCache, digest
from stages.io.tables import FRAME_SCORES, Shards


def table(video_id: str, values: Sequence[float]) -> pa.Table:
    rows = [
        {"video_id": video_id, "frame_index": index, "time_s": 0.0, "score": float(value), "sharpness": 0.0}
        for index, value in enumerate(values)
    ]
    return pa.Table.from_pylist(rows, schema=FRAME_SCORES)


def make_items(n: int) -> list[Item]:
    return [Item(f"v{number:03d}", digest("toy", number), number) for number in range(n)]


def one_after_another(function: Callable[[int], Sequence[float]]) -> Compute:
    """The simplest engine: what the others are compared with."""

    def compute(items: Sequence[Item], cache: ItemCache) -> Iterator[tuple[Item, str | None]]:
        for item in items:
            try:
                values = function(item.payload)
            except VideoError as error:
                yield item, str(error)
            else:
                cache.write(item.key, table(item.video_id, values))
                yield item, None

    return compute


def refuse(*numbers: int) -> Callable[[int], Sequence[float]]:
    def function(number: int) -> Sequence[float]:
        if number in numbers:
            raise VideoError(f"reason {number}")
        return [number]

    return function


def stage(items: Sequence[Item], compute: Compute, *, allowed: float = 0.1, **options) -> Outcome:
    settings: dict[str, Any] = {"failed_before": {}, "n_shards": 2, "made_by": {}} | options
    return run_stage("toy", items, compute, schema=FRAME_SCORES, out="out", max_failed_fraction=allowed, **settings)


def test_one_added_video_costs_one_video(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = make_items(300)
    stage(items[:299], one_after_another(refuse()))
    assert capsys.readouterr().out == "toy: 299 computed, 0 cached, 0 failed\n"
    called: list[int] = []
    stage(items, one_after_another(lambda number: called.append(number) or [number]))
    assert capsys.readouterr().out == "toy: 1 computed, 299 cached, 0 failed\n"
    assert called == [299]
    shards = Shards("out", schema=FRAME_SCORES)
    assert [shards.read(item.video_id)["score"].to_pylist() for item in items] == [[n] for n in range(300)]


def test_failures_are_named_not_cached_and_tried_again(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = make_items(12)
    outcome = stage(items, one_after_another(refuse(7)), failed_before={})
    assert capsys.readouterr().out == "toy: 11 computed, 0 cached, 1 failed\n  v007: reason 7\n"
    assert outcome == Outcome(computed=11, cached=0, failed={"v007": "reason 7"})
    shards = Shards("out", schema=FRAME_SCORES)
    assert shards.failed == {"v007": "reason 7"}
    assert "v007" not in shards
    stage(items, one_after_another(refuse()))
    assert capsys.readouterr().out == "toy: 1 computed, 11 cached, 0 failed\n"
    assert "v007" in Shards("out", schema=FRAME_SCORES)


def test_videos_that_failed_before_are_carried_on(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage(make_items(9), one_after_another(refuse()), failed_before={"bad": "the file is empty"})
    assert capsys.readouterr().out == "toy: 9 computed, 0 cached, 1 failed\n  bad: the file is empty\n"
    assert Shards("out", schema=FRAME_SCORES).failed == {"bad": "the file is empty"}


@pytest.mark.parametrize(
    ("n_failed", "allowed", "stops"), [(1, 0.1, False), (2, 0.1, True), (1, 0, True), (9, 0.9, False)]
)
def test_more_failures_than_allowed_stop_the_stage(workplace: Path, n_failed: int, allowed: float, stops: bool) -> None:
    compute = one_after_another(refuse(*range(n_failed)))
    if not stops:
        assert len(stage(make_items(10), compute, allowed=allowed).failed) == n_failed
        return
    with pytest.raises(
        EngineError, match=f"toy: {n_failed} of 10 videos failed, more than engine.max_failed_fraction = {allowed}"
    ):
        stage(make_items(10), compute, allowed=allowed)
    assert not Path("out").exists()


@pytest.mark.parametrize("n", [0, 3])
def test_no_video_left_stops_the_stage_whatever_is_allowed(workplace: Path, n: int) -> None:
    with pytest.raises(EngineError, match=f"toy: none of {n} videos can be used"):
        stage(make_items(n), one_after_another(refuse(0, 1, 2)), allowed=1)
    assert not Path("out").exists()


def test_failures_count_against_all_videos() -> None:
    outcome = Outcome(computed=2, cached=6, failed={"a": "", "b": ""})
    check_failures("s", outcome, max_failed_fraction=0.2)
    with pytest.raises(EngineError, match="2 of 10"):
        check_failures("s", outcome, max_failed_fraction=0.19)


def test_the_closing_line_shows_twenty_failures_and_counts_the_rest() -> None:
    outcome = Outcome(computed=1, cached=299, failed={f"v{number:02d}": "why" for number in range(22, -1, -1)})
    lines = closing_line("decode", outcome).splitlines()
    assert lines[0] == "decode: 1 computed, 299 cached, 23 failed"
    assert lines[1:21] == [f"  v{number:02d}: why" for number in range(20)]
    assert lines[21:] == ["  and 3 more"]


def test_equal_videos_share_an_item_and_keep_their_ids(workplace: Path) -> None:
    twins = [Item("a", digest("same"), 4), Item("b", digest("same"), 4)]
    stage(twins, one_after_another(refuse()))
    shards = Shards("out", schema=FRAME_SCORES)
    for video_id in ("a", "b"):
        assert shards.read(video_id)["video_id"].to_pylist() == [video_id]
        assert shards.read(video_id)["score"].to_pylist() == [4]


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


@pytest.mark.parametrize(("group", "most"), [(lambda frame: 0, 4 * 9), (lambda frame: frame.value, 4 * (5 + 16))])
def test_memory_is_bounded_whatever_the_number_of_videos(tmp_path: Path, group: Callable, most: int) -> None:
    """At most 4 frames a video. Alive: 4 videos read ahead and the one in hand, and the videos of waiting frames:
    up to 4 in a batch of 4; up to 4 * 4 = 16 when every frame has its own size and waits alone."""
    Frame.most = 0
    for _ in batched(group=group)(make_items(400), ItemCache("toy", tmp_path)):
        pass
    assert 0 < Frame.most <= most
    assert Frame.alive == 0


def test_reading_ahead_stops_at_its_limit(tmp_path: Path) -> None:
    started: list[int] = []
    work = batched(load=lambda number: started.append(number) or [Frame(0, 0)], batch_size=1, read_ahead=3)(
        make_items(50), ItemCache("toy", tmp_path)
    )
    next(work)
    assert len(started) <= 4
    work.close()  # type: ignore[attr-defined]
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
