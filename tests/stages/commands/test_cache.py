"""`aigc-vqa cache`: what is listed, what goes and what stays."""

import json
import os
import re
import time
from pathlib import Path

import pyarrow as pa
import pytest

from stages.commands import main as cli
from stages.commands.cache import prune, read_age, read_size, show_age, show_size
from stages.engine.cache import ItemCache, renamed
from stages.engine.run import Item, run_items
from stages.errors import EngineError
from stages.io.digests import digest
from stages.io.shards import write_shards
from stages.io.tables import write_table

SCHEMA = pa.schema([("video_id", pa.string())])
HOUR_S, DAY_S = 3600.0, 24 * 3600.0


def set_age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def add_item(stage: str, name: str, *, age_s: float = 0.0) -> Path:
    """An item of the cache, whose key is a digest of its name."""
    cache = ItemCache(stage)
    cache.write(digest(name), pa.table({"video_id": [name]}))
    set_age(cache.path(digest(name)), age_s)
    return cache.path(digest(name))


def add_training(stage: str, name: str, *, age_s: float, size: int = 10) -> Path:
    path = Path(".cache") / stage / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    set_age(path, age_s)
    return path


def write_run(*names: str) -> None:
    """Tables of a run: shards, as decode writes them, and one file, as prepare does."""
    keys = {name: digest(name) for name in names}
    write_shards(
        "data/frames",
        keys,
        lambda key, name: renamed(ItemCache("decode").read(key), name),
        schema=SCHEMA,
        n_shards=2,
        made_by={},
        failed={},
    )
    table = pa.table({"video_id": list(names)}, schema=SCHEMA)
    write_table("data/manifest.parquet", table, schema=SCHEMA, metadata={"keys": {"a": digest("probe a")}})


def test_the_list_has_a_row_per_stage(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_item("decode", "a", age_s=2 * HOUR_S)
    add_item("decode", "b", age_s=12 * DAY_S)
    add_training("train", "0123.pt", age_s=5 * 60, size=3 * 2**20)
    assert cli.call(["cache", "list"]) is None
    head, *rows = [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()]
    assert head == ["stage", "items", "size", "last used", "oldest"]
    size = sum(path.stat().st_size for path in Path(".cache/decode").rglob("*.item"))
    assert rows == [
        ["decode", "2", show_size(size), "2 h", "12 d"],
        ["train", "1", "3.0 MiB", "5 min", "5 min"],
        ["total", "3", show_size(size + 3 * 2**20), "5 min", "12 d"],
    ]


def test_an_empty_cache_is_said_to_be_empty(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.call(["cache", "list"])
    assert capsys.readouterr().out == ".cache: empty\n"
    prune(older_than=0)
    assert capsys.readouterr().out == "cache: 0 of 0 items removed, 0 B; 0 B stay\n"


def test_old_work_goes_and_its_empty_folders(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, young = add_item("decode", "a", age_s=31 * DAY_S), add_item("decode", "b", age_s=29 * DAY_S)
    training = add_training("cropper", "0123.result.pt", age_s=40 * DAY_S)
    cli.call(["cache", "prune", "--older-than", "30d", "--dry-run"])
    assert "cache: 2 of 3 items would be removed" in capsys.readouterr().out
    assert old.exists()
    cli.call(["cache", "prune", "--older-than", "30d"])
    assert "cache: 2 of 3 items removed" in capsys.readouterr().out
    assert [path for path in Path(".cache").rglob("*") if path.is_file()] == [young]
    assert not old.parent.exists()
    assert not training.parent.exists()


def test_the_oldest_go_until_the_rest_is_small_enough(workplace: Path) -> None:
    paths = [add_training("train", f"{age}.pt", age_s=age * HOUR_S, size=1024) for age in (4, 3, 2, 1)]
    cli.call(["cache", "prune", "--larger-than", "2.5K"])
    assert [path.exists() for path in paths] == [False, False, True, True]
    prune(larger_than=2048)
    assert [path.exists() for path in paths] == [False, False, True, True]
    prune(larger_than=0)
    assert not any(path.exists() for path in paths)


def test_what_the_present_tables_name_is_used(workplace: Path) -> None:
    used = [add_item("decode", "a"), add_item("decode", "b"), add_item("prepare", "probe a", age_s=DAY_S)]
    stale = [add_item("decode", "old a"), add_item("prepare", "old probe")]
    # No table of predict is there: a run that was killed goes on from its items.
    kept = [add_item("predict", "a of a killed run")]
    write_run("a", "b")
    prune(unused=True)
    assert all(path.exists() for path in used + kept)
    assert not any(path.exists() for path in stale)


def test_of_trainings_the_one_used_last_is_kept(workplace: Path) -> None:
    add_item("decode", "a")
    write_run("a")
    kept = [
        add_training("detector", "aa.pt", age_s=9 * HOUR_S),
        add_training("detector", "bb.validation.pt", age_s=9 * HOUR_S),
        add_training("train", "cc.pt", age_s=DAY_S),
    ]
    gone = [
        add_training("detector", "dd.pt", age_s=10 * HOUR_S),
        add_training("detector", "ee.validation.pt", age_s=11 * HOUR_S),
        add_training("train", "ff.pt", age_s=2 * DAY_S),
    ]
    prune(unused=True)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in gone)


def test_without_tables_nothing_is_known_to_be_unused(workplace: Path) -> None:
    path = add_item("decode", "a")
    with pytest.raises(EngineError, match="no table in data and results says what is used"):
        prune(unused=True)
    assert path.exists()


def test_a_use_makes_an_item_young(workplace: Path) -> None:
    path = add_item("decode", "a", age_s=100 * DAY_S)
    item = Item("a", digest("a"))
    outcome = run_items("decode", [item], lambda items, cache: iter(()), ItemCache("decode"))
    assert outcome.cached == 1
    prune(older_than=DAY_S)
    assert path.exists()


def test_temporary_files_of_killed_runs_go_and_those_of_a_running_stage_stay(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_item("decode", "a")
    left, written = Path(".cache/decode/12/.12ab.item.x.tmp"), Path(".cache/train/.34cd.pt.y.tmp")
    for path, age_s in ((left, 25 * HOUR_S), (written, 23 * HOUR_S)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        set_age(path, age_s)
    prune(older_than=DAY_S)
    assert not left.exists()
    assert written.exists()
    assert "temporary files of killed runs: 1" in capsys.readouterr().out


@pytest.mark.parametrize("place", [".dvc/tmp/rwlock", ".dvc/tmp/exps/tmpabc/.dvc/tmp/rwlock"])
def test_nothing_goes_while_dvc_runs_a_stage(workplace: Path, place: str) -> None:
    path = add_item("decode", "a", age_s=DAY_S)
    lock = Path(place)
    lock.parent.mkdir(parents=True)
    holder = {"pid": os.getpid(), "cmd": "dvc repro"}
    lock.write_text(json.dumps({"data/frames": {"read": [], "write": holder}}), encoding="utf-8")
    with pytest.raises(EngineError, match=r"`dvc repro` runs \(process \d+\); prune when it has ended"):
        prune(older_than=0)
    prune(older_than=0, dry_run=True)
    assert path.exists()
    # A run that was killed leaves its lock behind.
    lock.write_text(json.dumps({"data/frames": {"write": holder | {"pid": 2**22 + 1}}}), encoding="utf-8")
    prune(older_than=0)
    assert not path.exists()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--older-than", "3x"], "--older-than: '3x' is no age; allowed: a number and m, h, d or w, such as 30d."),
        (["--larger-than", "much"], "--larger-than: 'much' is no size; allowed: a number and K, M, G or T"),
        (["--larger-than=-1G"], "--larger-than: '-1G' is no size"),
        ([], "one of --older-than, --larger-than and --unused is needed."),
    ],
)
def test_wrong_options_are_one_line(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.call(["cache", "prune", *words])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert problem in message
    assert message.count("\n") == 1


def test_ages_and_sizes_are_read_and_shown() -> None:
    assert [read_age(text) for text in ("90m", "1.5h", "30d", "2w")] == [5400, 5400, 30 * DAY_S, 14 * DAY_S]
    assert [read_size(text) for text in ("0", "20G", "1.5k", "3MiB", "2TB")] == [
        0, 20 * 2**30, 1536, 3 * 2**20, 2 * 2**40,
    ]  # fmt: skip
    assert [show_age(seconds) for seconds in (0, 59 * 60, 3600, 47 * HOUR_S, 48 * HOUR_S)] == [
        "0 min", "59 min", "1 h", "47 h", "2 d",
    ]  # fmt: skip
    assert [show_size(size) for size in (0, 1023, 1536, 2**30, 2**41)] == [
        "0 B", "1023 B", "1.5 KiB", "1.0 GiB", "2.0 TiB",
    ]  # fmt: skip
