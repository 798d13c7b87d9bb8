"""Tables on disk: one row group a video, metadata, refusals, the item cache."""

import json
import pickle
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.engine.cache import ItemCache, cache_root, renamed
from stages.errors import DamagedFileError, TableError
from stages.io.digests import digest, library_versions
from stages.io.schemas import FRAME_SCORES, FRAMES, MANIFEST, PROPOSALS
from stages.io.shards import Shards, shard_of, write_shards
from stages.io.tables import METADATA_KEY, read_frame, read_labels, read_table, to_frame, write_frame, write_table

IDS = [f"video {number:02d}" for number in range(20)]


def scores(video_id: str, n_rows: int | None = None) -> pa.Table:
    """Rows that name their video; video 03 and every tenth one has none."""
    number = IDS.index(video_id) if video_id in IDS else 0
    n_rows = (0 if number in (3, 10) else number % 4 + 1) if n_rows is None else n_rows
    rows = [
        {
            "video_id": video_id,
            "frame_index": index,
            "time_s": 0.5 * index,
            "score": number + index / 10,
            "sharpness": 1.0,
        }
        for index in range(n_rows)
    ]
    return pa.Table.from_pylist(rows, schema=FRAME_SCORES)


def write(out: Path, *, ids: list[str] = IDS, n_shards: int = 3, failed: Mapping[str, str] | None = None) -> Path:
    write_shards(
        out,
        {video_id: f"key of {video_id}" for video_id in ids},
        lambda key, video_id: scores(video_id) if key == f"key of {video_id}" else pytest.fail(key),
        schema=FRAME_SCORES,
        n_shards=n_shards,
        made_by={"decode": {"version": 1}, "predict": {"version": 2}},
        failed=failed or {},
    )
    return out


def test_one_row_group_a_video_sorted_by_id(tmp_path: Path) -> None:
    out = write(tmp_path / "t", ids=IDS[::-1])
    paths = sorted(out.iterdir())
    assert [path.name for path in paths] == ["part-000.parquet", "part-001.parquet", "part-002.parquet"]
    for number, path in enumerate(paths):
        file = pq.ParquetFile(path)
        expected = [video_id for video_id in IDS if shard_of(video_id, 3) == number]
        assert expected  # 20 ids over 3 shards: none is empty
        assert file.num_row_groups == len(expected)
        groups = [file.read_row_group(group) for group in range(file.num_row_groups)]
        assert [group.num_rows for group in groups] == [scores(video_id).num_rows for video_id in expected]
        for group, video_id in zip(groups, expected, strict=True):
            assert set(group["video_id"].to_pylist()) <= {video_id}


def test_shards_give_each_video_its_rows_and_the_empty_ones_none(tmp_path: Path) -> None:
    shards = Shards(write(tmp_path / "t", failed={"zz": "no such file", "aa": "empty"}), schema=FRAME_SCORES)
    assert shards.ids == IDS
    assert shards.failed == {"aa": "empty", "zz": "no such file"}
    assert shards.made_by == {"decode": {"version": 1}, "predict": {"version": 2}}
    assert list(shards.made_by) == ["decode", "predict"]
    assert shards.keys == {video_id: f"key of {video_id}" for video_id in IDS}
    for video_id in IDS:
        assert video_id in shards
        assert shards.read(video_id).equals(scores(video_id))
    assert shards.read("video 03").num_rows == 0
    assert shards.read("video 05", columns=["score"]).column_names == ["score"]
    assert "aa" not in shards


def test_reading_one_video_reads_one_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = Shards(write(tmp_path / "t"), schema=FRAME_SCORES)
    read: list[int] = []
    original = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("the whole file was read"))
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda self, i, **kw: (read.append(i), original(self, i, **kw))[1]
    )
    assert shards.read("video 07").num_rows == 4
    assert len(read) == 1


def test_images_lie_as_they_are_and_the_rest_is_packed(tmp_path: Path) -> None:
    """A PNG does not shrink any more: packing it again, or listing its values, only costs the loader time."""
    row = {"video_id": "a", "frame_index": 0, "time_s": 0.0, "width": 8, "height": 8, "encoding": "png", "image": b"x"}
    rows = pa.Table.from_pylist([row], schema=FRAMES)
    write_shards(
        tmp_path / "t", {"a": "key"}, lambda *_: rows, schema=FRAMES, n_shards=1, made_by={}, failed={}
    )  # fmt: skip
    group = pq.ParquetFile(tmp_path / "t" / "part-000.parquet").metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    found = {
        column.path_in_schema: (column.compression, column.has_dictionary_page, column.is_stats_set)
        for column in columns
    }
    assert found.pop("image") == ("UNCOMPRESSED", False, False)
    assert set(found.values()) == {("ZSTD", True, True)}


def test_the_same_input_writes_the_same_bytes(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one"), write(tmp_path / "two", ids=IDS[::-1])
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes()


def test_the_shard_of_a_video_depends_on_its_id_alone() -> None:
    """SHA-256 of "abc" starts with ba7816bf8f01cfea (FIPS 180-2), read as a big-endian number."""
    assert shard_of("abc", 7) == 0xBA7816BF8F01CFEA % 7
    assert {shard_of(video_id, 1) for video_id in IDS} == {0}


def test_more_shards_than_videos(tmp_path: Path) -> None:
    shards = Shards(write(tmp_path / "t", ids=IDS[:2], n_shards=9), schema=FRAME_SCORES)
    assert shards.ids == IDS[:2]
    assert len(list((tmp_path / "t").iterdir())) == 9


def test_shards_travel_to_workers_without_their_open_files(tmp_path: Path) -> None:
    shards = Shards(write(tmp_path / "t"), schema=FRAME_SCORES)
    shards.read("video 05")
    copy = pickle.loads(pickle.dumps(shards))
    assert copy._files == {}
    assert copy.read("video 05").equals(scores("video 05"))


def test_threads_may_read_at_once(tmp_path: Path) -> None:
    """Stages read ahead in two threads; one ParquetFile read from both at once fails now and then."""
    rows = {f"v{number:02d}": scores(f"v{number:02d}", 2000) for number in range(40)}
    write_shards(
        tmp_path / "t",
        dict.fromkeys(rows, "key"),
        lambda _key, video_id: rows[video_id],
        schema=FRAME_SCORES,
        n_shards=1,
        made_by={},
        failed={},
    )
    shards = Shards(tmp_path / "t", schema=FRAME_SCORES)
    with ThreadPoolExecutor(8) as threads:
        read = list(threads.map(shards.read, list(rows) * 10))
    assert all(table.equals(rows[video_id]) for table, video_id in zip(read, list(rows) * 10, strict=True))


def test_a_writer_that_fails_leaves_the_old_table(tmp_path: Path) -> None:
    out = write(tmp_path / "t", ids=IDS[:3])
    with pytest.raises(KeyError):
        write_shards(
            out,
            dict.fromkeys(IDS, ""),
            lambda *_: dict[str, pa.Table]()["no"],
            schema=FRAME_SCORES,
            n_shards=3,
            made_by={},
            failed={},
        )
    assert Shards(out, schema=FRAME_SCORES).ids == IDS[:3]
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_refused_tables(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"nowhere: no tables part-\*.parquet; `dvc repro` writes them"):
        Shards(tmp_path / "nowhere", schema=FRAMES)
    out = write(tmp_path / "t")
    with pytest.raises(
        TableError, match=r"part-000.parquet: columns are video_id, frame_index, time_s, score.*expected .*x0 float"
    ):
        Shards(out, schema=PROPOSALS)
    with pytest.raises(TableError, match="no video 'x'"):
        Shards(out, schema=FRAME_SCORES).read("x")
    (out / "part-001.parquet").write_bytes((out / "part-001.parquet").read_bytes()[:-10])
    with pytest.raises(TableError, match=r"part-001.parquet: not a readable Parquet file"):
        Shards(out, schema=FRAME_SCORES)
    path = tmp_path / "one.parquet"
    with pytest.raises(TableError, match=r"one.parquet: no such table; `dvc repro` writes it"):
        read_table(path, schema=FRAME_SCORES)
    pq.write_table(scores("video 01"), path)
    with pytest.raises(TableError, match=r"one.parquet: not a table of this pipeline .*'aigc_vqa'"):
        read_table(path, schema=FRAME_SCORES)
    pq.write_table(scores("video 01").drop_columns("score"), path)
    with pytest.raises(
        TableError,
        match=r"one.parquet: columns are video_id, frame_index, time_s, deviation, distance, sharpness; expected",
    ):
        read_table(path, schema=FRAME_SCORES)
    refused = {"{": "not JSON", "[" * 100_000: "not JSON", "[1]": "object is needed", '{"made_by": 3}': "made_by"}
    for text, words in refused.items():
        pq.write_table(scores("video 01").replace_schema_metadata({"aigc_vqa": text}), path)
        with pytest.raises(TableError, match=rf"one.parquet: metadata: .*{words}"):
            read_table(path, schema=FRAME_SCORES)
    shard = out / "part-001.parquet"
    pq.write_table(scores("video 01").replace_schema_metadata({"aigc_vqa": '{"keys": {}, "n_shards": "2"}'}), shard)
    with pytest.raises(TableError, match=r"part-001.parquet: metadata: failed, n_shards missing or damaged"):
        Shards(out, schema=FRAME_SCORES)
    path.write_text("text")
    with pytest.raises(TableError, match=r"one.parquet: not a readable Parquet file"):
        read_table(path, schema=FRAME_SCORES)


def test_row_groups_that_are_not_the_videos_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "t"
    out.mkdir()
    metadata = {METADATA_KEY: json.dumps({"made_by": {}, "keys": {"a": "1", "b": "2"}, "failed": {}, "n_shards": 1})}
    pq.write_table(scores("a", 4).replace_schema_metadata(metadata), out / "part-000.parquet", row_group_size=4)
    with pytest.raises(TableError, match=r"part-000.parquet: 1 row groups for 2 videos"):
        Shards(out, schema=FRAME_SCORES)


def test_a_shard_that_is_gone_is_noticed(tmp_path: Path) -> None:
    out = write(tmp_path / "t")
    (out / "part-001.parquet").unlink()
    with pytest.raises(TableError, match="2 of 3 tables"):
        Shards(out, schema=FRAME_SCORES)


def test_single_tables_keep_values_metadata_and_missing_ones(tmp_path: Path) -> None:
    schema = pa.schema([("name", pa.string()), ("mos", pa.float64()), ("n", pa.int64())])
    frame = pd.DataFrame({"n": [1, 2], "name": ['ünï, "q"', None], "mos": [1.5, np.nan], "more": [0, 0]})
    for name in ("a", "b"):
        write_frame(tmp_path / name, frame, schema=schema, metadata={"made_by": {"z": 1, "a": 2}})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    table, metadata = read_table(tmp_path / "a", schema=schema)
    assert metadata == {"made_by": {"z": 1, "a": 2}}
    assert table.to_pylist()[0] == {"name": 'ünï, "q"', "mos": 1.5, "n": 1}
    read = read_frame(tmp_path / "a", schema=schema)
    assert read["name"].tolist() == ['ünï, "q"', None]
    assert read["mos"].isna().tolist() == [False, True]
    assert to_frame(table).equals(read)
    write_table(tmp_path / "c", table.slice(0, 0), schema=schema, metadata={})
    assert read_table(tmp_path / "c", schema=schema)[0].num_rows == 0


def test_items_are_written_whole_and_read_under_another_name(tmp_path: Path) -> None:
    cache = ItemCache("decode", tmp_path)
    key = "ab" + "0" * 30
    assert not cache.has(key)
    cache.write(key, scores("video 05"))
    assert cache.path(key) == tmp_path / "decode" / "ab" / f"{key}.item"
    assert cache.has(key)
    assert cache.read(key).equals(scores("video 05"))
    other = renamed(cache.read(key), "other")
    assert other["video_id"].to_pylist() == ["other", "other"]
    assert other.drop_columns("video_id").equals(scores("video 05").drop_columns("video_id"))
    cache.write(key, scores("video 03"))
    assert renamed(cache.read(key), "other").schema.equals(FRAME_SCORES)


@pytest.mark.parametrize("share", [0, 0.0001, 0.5, 0.999])
def test_an_item_that_a_crash_cut_counts_as_missing(tmp_path: Path, share: float) -> None:
    cache = ItemCache("decode", tmp_path)
    cache.write("k" * 32, scores("video 05"))
    data = cache.path("k" * 32).read_bytes()
    cache.path("k" * 32).write_bytes(data[: int(share * len(data))])
    assert not cache.has("k" * 32)
    cache.path("k" * 32).write_bytes(bytes(len(data)))  # blocks that never reached the disk read as zeros
    assert not cache.has("k" * 32)


def test_an_item_with_any_flipped_bit_or_of_another_key_is_told_when_it_is_read(tmp_path: Path) -> None:
    cache = ItemCache("decode", tmp_path)
    key, other = "k" * 32, "o" * 32
    cache.write(key, scores("video 05"))
    data = cache.path(key).read_bytes()
    for place in [*range(0, len(data) - 8, 97), len(data) - 9]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        cache.path(key).write_bytes(flipped)
        assert cache.has(key)
        with pytest.raises(DamagedFileError, match=f"{key}.item: damaged, or not the file of its name"):
            cache.read(key)
    cache.write(other, scores("video 03"))
    cache.path(key).write_bytes(cache.path(other).read_bytes())
    with pytest.raises(DamagedFileError):
        cache.read(key)
    cache.path(key).write_bytes(data)
    assert cache.read(key).equals(scores("video 05"))


def test_digests_name_values() -> None:
    """sha256 of the canonical JSON text, cut to 32 digits."""
    assert digest("a", 1) == digest("a", 1) != digest("a", 2)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(1) != digest("1")
    assert len(digest()) == 32
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))


def test_the_cache_of_a_temporary_experiment_is_the_repositorys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert cache_root() == Path(".cache")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert cache_root() == tmp_path / ".cache"
    assert ItemCache("decode").folder == tmp_path / ".cache" / "decode"


def test_library_versions_are_sorted_and_real() -> None:
    versions = library_versions("pyarrow", "numpy")
    assert list(versions) == ["numpy", "pyarrow"]
    assert versions["pyarrow"] == pa.__version__


def test_labels_are_those_of_videos_that_are_not_left_out(tmp_path: Path) -> None:
    rows = pd.DataFrame({"video_id": ["NA", "b", "c"], "part": "train"}).reindex(columns=MANIFEST.names)
    write_frame(tmp_path / "m.parquet", rows, schema=MANIFEST, metadata={})
    (tmp_path / "split.csv").write_text("video_id,part\nNA,test\nb,out\nc,val\n")
    found = read_labels(tmp_path / "m.parquet", tmp_path / "split.csv")
    assert found[["video_id", "part"]].to_numpy().tolist() == [["NA", "test"], ["c", "val"]]
    (tmp_path / "split.csv").write_text("video_id,part\nNA,test\nc,val\n")
    with pytest.raises(TableError, match=r"split.csv: not the split of .*m.parquet"):
        read_labels(tmp_path / "m.parquet", tmp_path / "split.csv")
