"""split: who goes where, the same for the same seed, no prompt in two parts."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from stages.errors import DatasetError
from stages.io.schemas import MANIFEST
from stages.io.tables import write_frame
from stages.params.schema import SplitParams
from stages.split import PARTS, count_joined, deal_groups, deal_parts, main


def options(**changes: object) -> SplitParams:
    values = {"by": "group", "held_out": "", "seed": 0, "val_fraction": 0.15, "test_fraction": 0.2}
    return SplitParams.model_validate(values | changes)


def make_manifest(*, prompts: int = 40, generators: str = "abc", failed: tuple[str, ...] = ()) -> pd.DataFrame:
    """Every generator shows every prompt, as T2VQA-DB does."""
    rows = [
        {"video_id": f"{name}_{prompt:03d}", "group": f"prompt {prompt}", "generator": name, "part": None}
        for prompt in range(prompts)
        for name in generators
    ]
    frame = pd.DataFrame(rows).sort_values("video_id", ignore_index=True)
    frame["mos"] = 50.0
    frame["sha256"] = None
    frame["status"] = ["failed" if video_id in failed else "ok" for video_id in frame["video_id"]]
    return frame


def counts(parts: pd.DataFrame) -> dict[str, int]:
    return {part: int((parts["part"] == part).sum()) for part in PARTS}


def test_a_prompt_stays_in_one_part_and_the_shares_are_met() -> None:
    manifest = make_manifest()
    parts = deal_parts(manifest, options())
    assert list(parts.columns) == ["video_id", "part"]
    assert parts["video_id"].tolist() == manifest["video_id"].tolist()
    together = manifest.merge(parts, on="video_id")
    assert (together.groupby("group")["part_y"].nunique() == 1).all()
    assert counts(parts) == {"train": 78, "val": 18, "test": 24}  # 0.65, 0.15, 0.2 of 40 prompts, times 3


def test_the_seed_decides_and_nothing_else() -> None:
    manifest = make_manifest()
    one = deal_parts(manifest, options(seed=3))
    shuffled = manifest.sample(frac=1, random_state=5)
    pd.testing.assert_frame_equal(
        one.reset_index(drop=True), deal_parts(shuffled, options(seed=3)).reset_index(drop=True)
    )
    other = deal_parts(manifest, options(seed=4))
    assert counts(other) == counts(one)
    assert (one["part"].to_numpy() != other["part"].to_numpy()).mean() > 0.2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("val", "test"), [(0.15, 0.2), (0.1, 0.1), (0.3, 0.5)])
def test_by_video_every_generator_has_its_shares(seed: int, val: float, test: float) -> None:
    """Dealt within each generator: off by less than two videos from the exact share of 40."""
    manifest = make_manifest()
    parts = deal_parts(manifest, options(by="video", seed=seed, val_fraction=val, test_fraction=test))
    table = manifest.merge(parts, on="video_id").groupby(["generator", "part_y"]).size().unstack()
    for part, share in {"train": 1 - val - test, "val": val, "test": test}.items():
        assert (table[part] - 40 * share).abs().max() < 2
    together = manifest.merge(parts, on="video_id")
    assert (together.groupby("group")["part_y"].nunique() > 1).any()


def test_groups_of_different_generators_are_dealt_by_their_generators() -> None:
    """30 prompts shown by a alone, 30 by b and c: each kind gets its shares."""
    first, second = make_manifest(prompts=30, generators="a"), make_manifest(prompts=30, generators="bc")
    second["group"] = "other " + second["group"]
    manifest = pd.concat([first, second], ignore_index=True)
    parts = manifest.merge(deal_parts(manifest, options(val_fraction=0.2, test_fraction=0.2)), on="video_id")
    table = parts.groupby(["generator", "part_y"]).size().unstack()
    for part, share in {"train": 0.6, "val": 0.2, "test": 0.2}.items():
        assert (table[part] - 30 * share).abs().max() < 2


def test_uneven_groups_meet_the_shares_as_closely_as_they_allow() -> None:
    groups = {f"g{number}": ["a"] * (1 + 7 * (number % 5 == 0)) for number in range(100)}  # 20 of size 8, 80 of size 1
    shares = {"train": 0.65, "val": 0.15, "test": 0.2}
    parts = deal_groups(groups, shares, seed=0)
    sizes = {part: sum(len(groups[group]) for group in groups if parts[group] == part) for part in PARTS}
    assert sum(sizes.values()) == 240
    for part, share in shares.items():
        assert abs(sizes[part] - 240 * share) < 8


def test_videos_without_a_group_stand_alone() -> None:
    manifest = make_manifest(prompts=20, generators="a")
    manifest["group"] = None
    assert counts(deal_parts(manifest, options())) == {"train": 13, "val": 3, "test": 4}


def test_failed_videos_are_dealt_too() -> None:
    """They stay with their prompt and change nothing for the others."""
    failed = ("a_000", "b_007")
    whole, broken = deal_parts(make_manifest(), options()), deal_parts(make_manifest(failed=failed), options())
    pd.testing.assert_frame_equal(whole, broken)
    assert set(failed) <= set(broken["video_id"])


def test_the_data_sets_own_lists() -> None:
    manifest = make_manifest(prompts=4)
    manifest["part"] = ["train", "val", "test"] * 4
    assert deal_parts(manifest, options(by="dataset"))["part"].tolist() == ["train", "val", "test"] * 4
    manifest.loc[1, "part"] = None
    with pytest.raises(
        DatasetError, match=r"split.by is dataset, but 1 of 12 videos have no part .*'a_001'.*: group, video, generator"
    ):
        deal_parts(manifest, options(by="dataset"))


def test_own_lists_without_val_take_it_from_train() -> None:
    """Published splits often have two parts; the epoch must not be chosen on the test part."""
    manifest = make_manifest()
    manifest["part"] = ["train" if int(name[-3:]) < 32 else "test" for name in manifest["video_id"]]
    parts = deal_parts(manifest, options(by="dataset", val_fraction=0.25))
    assert counts(parts) == {"train": 72, "val": 24, "test": 24}  # 32 of 40 prompts, a quarter of them val, times 3
    both = manifest.merge(parts, on="video_id", suffixes=("_own", ""))
    assert (both.loc[both["part"] == "test", "part_own"] == "test").all()
    assert (both.groupby("group")["part"].nunique() == 1).all()
    assert not deal_parts(manifest, options(by="dataset", seed=1)).equals(deal_parts(manifest, options(by="dataset")))
    with pytest.raises(DatasetError, match="own lists give no usable video to train, val"):
        deal_parts(manifest.assign(part="test"), options(by="dataset"))


def test_one_generator_is_left_out() -> None:
    manifest = make_manifest(generators="abcd", failed=("c_003",))
    parts = deal_parts(manifest, options(by="generator", held_out="c", val_fraction=0.25))
    both = manifest.merge(parts, on="video_id", suffixes=("_own", ""))
    assert set(both.loc[both["part"] == "test", "generator"]) == {"c"}
    assert counts(parts) == {"train": 90, "val": 30, "test": 40}  # 30 and 10 of 40 prompts, times 3; all 40 of c
    rest = both[both["part"] != "test"]
    assert (rest.groupby("group")["part"].nunique() == 1).all()
    other = deal_parts(manifest, options(by="generator", held_out="a"))
    assert set(manifest.merge(other, on="video_id").query("part_y == 'test'")["generator"]) == {"a"}


def test_a_generator_that_cannot_be_left_out() -> None:
    manifest = make_manifest(prompts=4)
    with pytest.raises(DatasetError, match=r"split.held_out is 'd'; the generators here are: a, b, c"):
        deal_parts(manifest, options(by="generator", held_out="d"))
    manifest.loc[2, "generator"] = None
    with pytest.raises(DatasetError, match=r"generator of 1 of 12 videos is not known \(first: 'a_002'\)"):
        deal_parts(manifest, options(by="generator", held_out="a"))
    with pytest.raises(DatasetError, match="with 'a' held out no usable video is left for train, val"):
        deal_parts(make_manifest(generators="a"), options(by="generator", held_out="a"))
    with pytest.raises(ValidationError, match="held_out is empty; with by = generator it names"):
        options(by="generator")


def test_videos_without_scores_are_not_split() -> None:
    with pytest.raises(DatasetError, match=r"none of the 120 usable videos has a MOS: .*`aigc-vqa score FOLDER`"):
        deal_parts(make_manifest().assign(mos=None), options())


@pytest.mark.parametrize(
    ("prompts", "by", "message"),
    [
        (
            1,
            "group",
            "no usable video is left for val, test: 3 videos in 1 groups .*; add videos or use split.by=video",
        ),
        (2, "group", "6 videos in 2 groups cannot be dealt to three parts"),
        (0, "video", "no usable video is left for train, val, test"),
    ],
)
def test_too_few_groups(prompts: int, by: str, message: str) -> None:
    manifest = make_manifest(prompts=max(prompts, 1))
    manifest = manifest if prompts else manifest.assign(status="failed")
    with pytest.raises(DatasetError, match=message):
        deal_parts(manifest, options(by=by))


def test_a_part_of_failed_videos_alone_is_empty() -> None:
    manifest = make_manifest(prompts=3, generators="a")
    parts = deal_parts(manifest, options(val_fraction=0.33, test_fraction=0.33)).set_index("video_id")["part"]
    assert sorted(parts) == ["test", "train", "val"]
    victim = parts[parts == "test"].index[0]
    with pytest.raises(DatasetError, match="no usable video is left for test"):
        deal_parts(
            make_manifest(prompts=3, generators="a", failed=(victim,)), options(val_fraction=0.33, test_fraction=0.33)
        )


def test_the_command_writes_a_csv_for_git(
    workplace: Path, write_params: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = make_manifest(prompts=20).reindex(columns=MANIFEST.names)
    manifest.loc[0, "video_id"] = 'a, "b".avi'
    write_frame("m.parquet", manifest, schema=MANIFEST, metadata={})
    write_params(split={"by": "group", "seed": 0, "val_fraction": 0.15, "test_fraction": 0.2})
    main(["--manifest", "m.parquet", "--out", "data/split.csv"])
    assert capsys.readouterr().out == "split: 39 train, 9 val, 12 test\n"
    text = Path("data/split.csv").read_bytes()
    assert text.startswith(b'video_id,part\n"a, ""b"".avi",')
    assert b"\r" not in text
    read = pd.read_csv("data/split.csv", dtype=str)
    assert counts(read) == {"train": 39, "val": 9, "test": 12}
    main(["--manifest", "m.parquet", "--out", "data/split.csv"])
    assert Path("data/split.csv").read_bytes() == text


def test_equal_files_never_stand_in_two_parts() -> None:
    """Ten prompts of two videos; a chain of equal files ties the first five prompts together."""
    rows = make_manifest(prompts=10, generators="ab").sort_values("group", ignore_index=True)
    rows["sha256"] = [f"{number}" for number in range(20)]
    for prompt in range(4):
        rows.loc[2 * prompt + 3, "sha256"] = rows.loc[2 * prompt, "sha256"]
    for by in ("group", "video"):
        params = options(by=by, val_fraction=0.25, test_fraction=0.25)
        part_of = deal_parts(rows, params).set_index("video_id")["part"]
        files = rows.assign(part=rows["video_id"].map(part_of)).groupby("sha256")["part"].nunique()
        assert (files == 1).all()
        assert count_joined(rows, params) == 4
    assert count_joined(rows.assign(sha256=None), options()) == 0
