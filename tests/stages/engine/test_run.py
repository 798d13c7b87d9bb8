"""The engine without processes: cache, failures, the closing line."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from stages.engine.cache import ItemCache
from stages.engine.run import Compute, Item, Outcome, check_failures, closing_line, run_stage
from stages.errors import EngineError, VideoError
from stages.io.digests import digest
from stages.io.schemas import FRAME_SCORES
from stages.io.shards import Shards


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


def test_a_damaged_item_is_computed_anew_with_a_word(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items, cache = make_items(30), ItemCache("toy")
    stage(items, one_after_another(refuse()))
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    capsys.readouterr()
    flipped = bytearray(cache.path(items[4].key).read_bytes())
    flipped[40] ^= 1
    cache.path(items[4].key).write_bytes(flipped)
    cache.path(items[9].key).write_bytes(cache.path(items[8].key).read_bytes())
    called: list[int] = []
    stage(items, one_after_another(lambda number: called.append(number) or [number]))
    out = capsys.readouterr().out
    assert sorted(called) == [4, 9]
    assert out.count("damaged, or not the file of its name; computed anew") == 2
    assert "toy: v009: " in out
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before
    cache.path(items[4].key).write_bytes(flipped)
    with pytest.raises(EngineError, match="v004: its damaged item cannot be computed anew: reason 4"):
        stage(items, one_after_another(refuse(4)))


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
