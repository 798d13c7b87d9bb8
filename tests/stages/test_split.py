"""split: who goes where, the same whatever other videos there are, no prompt in two parts."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from stages.errors import DatasetError
from stages.io.schemas import MANIFEST
from stages.io.tables import write_frame
from stages.params.schema import SplitParams
from stages.split import PARTS, count_crossing, count_joined, deal_parts, main, uneven_generators


def options(**changes: object) -> SplitParams:
    values = {"by": "group", "held_out": "", "seed": 0, "val_fraction": 0.15, "test_fraction": 0.2}
    values |= {"held_out_prompts": False, "fixed": "fixed.csv"}
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


def part_of_each(parts: pd.DataFrame) -> dict[str, str]:
    return dict(zip(parts["video_id"], parts["part"], strict=True))


def test_a_prompt_stays_in_one_part() -> None:
    manifest = make_manifest()
    parts = deal_parts(manifest, options())
    assert list(parts.columns) == ["video_id", "part"]
    assert parts["video_id"].tolist() == manifest["video_id"].tolist()
    together = manifest.merge(parts, on="video_id")
    assert (together.groupby("group")["part_y"].nunique() == 1).all()


def test_the_seed_decides_and_nothing_else() -> None:
    manifest = make_manifest()
    one = deal_parts(manifest, options(seed=3))
    shuffled = manifest.sample(frac=1, random_state=5)
    pd.testing.assert_frame_equal(
        one.reset_index(drop=True), deal_parts(shuffled, options(seed=3)).reset_index(drop=True)
    )
    other = deal_parts(manifest, options(seed=4))
    assert (one["part"].to_numpy() != other["part"].to_numpy()).mean() > 0.2


@pytest.mark.parametrize("by", ["group", "video"])
def test_adding_removing_and_renaming_videos_moves_no_other(by: str) -> None:
    manifest, params = make_manifest(prompts=200), options(by=by)
    before = part_of_each(deal_parts(manifest, params))
    fewer = manifest[~manifest["group"].isin([f"prompt {number}" for number in range(0, 200, 3)])]
    more = pd.concat([fewer, make_manifest(prompts=90).assign(group=lambda rows: "a new " + rows["group"])])
    more["video_id"] = more["video_id"].where(~more["group"].str.startswith("a new"), "n_" + more["video_id"])
    renamed = more.assign(video_id=more["video_id"].replace({"a_001": "z.mp4"}))
    renamed["generator"] = renamed["generator"].replace({"b": "another name"})
    after = part_of_each(deal_parts(renamed, params))
    stayed = set(before) & set(after)
    assert len(stayed) == len(fewer) - 1
    assert {name: after[name] for name in stayed} == {name: before[name] for name in stayed}
    if by == "group":
        assert after["z.mp4"] == before["a_001"]  # the prompt is the name that counts


def test_another_share_for_val_leaves_the_test_part() -> None:
    manifest = make_manifest(prompts=200)
    one, other = (part_of_each(deal_parts(manifest, options(val_fraction=share))) for share in (0.1, 0.3))
    assert {name for name, part in one.items() if part == "test"} == {
        name for name, part in other.items() if part == "test"
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("val", "test"), [(0.15, 0.2), (0.1, 0.1), (0.3, 0.5)])
@pytest.mark.parametrize("by", ["group", "video"])
def test_the_shares_hold_within_sampling_error(by: str, seed: int, val: float, test: float) -> None:
    """Of n units a share p is missed by a standard error of sqrt(p (1 - p) / n): 4 of them are one draw in 16,000."""
    manifest = make_manifest(prompts=2000)
    params = options(by=by, seed=seed, val_fraction=val, test_fraction=test)
    parts = deal_parts(manifest, params)
    table = manifest.merge(parts, on="video_id").groupby(["generator", "part_y"]).size().unstack()
    for part, share in {"train": 1 - val - test, "val": val, "test": test}.items():
        assert (table[part] / 2000 - share).abs().max() < 4 * (share * (1 - share) / 2000) ** 0.5
    assert [*uneven_generators(manifest, parts, params)] == []
    prompts = manifest.merge(parts, on="video_id").groupby("group")["part_y"].nunique()
    assert (prompts == 1).all() == (by == "group")


def test_a_generator_that_chance_deals_unevenly_is_named() -> None:
    """Each generator has its own 100 prompts; 20 of those of b are taken away from the test part by hand."""
    rows = [make_manifest(prompts=100, generators=name) for name in "abc"]
    manifest = pd.concat([one.assign(group=one["group"] + one["generator"]) for one in rows], ignore_index=True)
    parts = deal_parts(manifest, options())
    assert [*uneven_generators(manifest, parts, options())] == []
    parts["part"] = parts["part"].mask(parts["video_id"].str.startswith("b") & (parts["part"] == "test"), "val")
    lines = [*uneven_generators(manifest, parts, options())]
    n_val = int((parts["video_id"].str.startswith("b") & (parts["part"] == "val")).sum())
    assert lines == [
        "b: 0 of 100 videos are test, 20% were wanted", f"b: {n_val} of 100 videos are val, 15% were wanted",
    ]  # fmt: skip


def test_videos_without_a_group_stand_alone() -> None:
    manifest = make_manifest(prompts=40, generators="ab")
    together = part_of_each(deal_parts(manifest.assign(group=None), options()))
    assert together == part_of_each(deal_parts(manifest, options(by="video")))


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
    assert counts(parts)["test"] == 24
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
    assert counts(parts)["test"] == 40
    assert set(parts["part"]) == set(PARTS)
    rest = both[both["part"] != "test"]
    assert (rest.groupby("group")["part"].nunique() == 1).all()
    other = deal_parts(manifest, options(by="generator", held_out="a"))
    assert set(manifest.merge(other, on="video_id").query("part_y == 'test'")["generator"]) == {"a"}


def test_a_copy_of_a_held_out_file_is_not_trained_on() -> None:
    manifest = make_manifest()
    manifest["sha256"] = manifest["video_id"]
    manifest.loc[manifest["video_id"] == "a_007", "sha256"] = "c_009"
    parts = part_of_each(deal_parts(manifest, options(by="generator", held_out="c")))
    assert [name for name, part in parts.items() if part == "out"] == ["a_007"]


def test_a_generator_is_left_out_with_its_prompts() -> None:
    """a, b and c show 200 prompts, and c ten of its own: tested are c's of a fifth of the 200, and of all the ten."""
    shared, own = make_manifest(prompts=200), make_manifest(prompts=10, generators="c")
    own = own.assign(video_id="own_" + own["video_id"], group="own " + own["group"])
    manifest = pd.concat([shared, own], ignore_index=True)
    params = options(by="generator", held_out="c", held_out_prompts=True)
    both = manifest.merge(deal_parts(manifest, params), on="video_id", suffixes=("_own", ""))
    test, rest = both[both["part"] == "test"], both[both["part"].isin(["train", "val"])]
    assert set(test["generator"]) == {"c"}
    assert set(rest["generator"]) == {"a", "b"}
    assert not set(test["group"]) & set(rest["group"])
    assert (rest.groupby("group")["part"].nunique() == 1).all()
    assert test["video_id"].str.startswith("own_").sum() == 10
    # Every prompt that is shared gives either its video of c, or its videos of a and b.
    tested = len(test) - 10
    assert len(rest) == 2 * (200 - tested)
    assert (both["part"] == "out").sum() == 2 * tested + (200 - tested)
    assert 40 - 4 * 5.7 < tested < 40 + 4 * 5.7  # sqrt(200 x 0.2 x 0.8) is 5.7


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
            "no usable video is left for .*: 3 videos in 1 groups.*; add videos, use split.by=video",
        ),
        (2, "group", "6 videos in 2 groups, dealt by chance with split.seed = 0; .* or another seed before anything"),
        (0, "video", "no usable video is left for train, val, test"),
    ],
)
def test_too_few_groups(prompts: int, by: str, message: str) -> None:
    manifest = make_manifest(prompts=max(prompts, 1))
    manifest = manifest if prompts else manifest.assign(status="failed")
    with pytest.raises(DatasetError, match=message):
        deal_parts(manifest, options(by=by))


def test_a_part_of_failed_videos_alone_is_empty() -> None:
    parts = deal_parts(make_manifest(generators="a"), options())
    failed = tuple(parts.loc[parts["part"] == "test", "video_id"])
    with pytest.raises(DatasetError, match="no usable video is left for test"):
        deal_parts(make_manifest(generators="a", failed=failed), options())


def test_the_command_writes_a_csv_for_git(
    workplace: Path, write_params: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = make_manifest(prompts=20).reindex(columns=MANIFEST.names)
    manifest.loc[0, "video_id"] = 'a, "b".avi'
    write_frame("m.parquet", manifest, schema=MANIFEST, metadata={})
    write_params()
    Path("fixed.csv").write_text("video_id,part\n")
    command = ["--manifest", "m.parquet", "--fixed", "fixed.csv", "--out", "data/split.csv"]
    main(command)
    text = Path("data/split.csv").read_bytes()
    assert text.startswith(b'video_id,part\n"a, ""b"".avi",')
    assert b"\r" not in text
    found = counts(pd.read_csv("data/split.csv", dtype=str))
    assert sum(found.values()) == 60
    assert capsys.readouterr().out == "split: " + ", ".join(f"{found[part]} {part}" for part in PARTS) + "\n"
    main(command)
    assert Path("data/split.csv").read_bytes() == text
    # What is left out is counted, and the list that is kept.
    write_params(split={"by": "generator", "held_out": "c", "held_out_prompts": True, "val_fraction": 0.3})
    main(command)
    read = pd.read_csv("data/split.csv", dtype=str)
    assert f"; {(read['part'] == 'out').sum()} left out, whose" in capsys.readouterr().out.splitlines()[-1]
    write_params()
    Path("fixed.csv").write_text("video_id,part\na_001,test\na_002,val\na_003,train\ngone,test\n")
    main(command)
    assert "; 3 of 4 as fixed.csv says" in capsys.readouterr().out


def test_equal_files_never_stand_in_two_parts() -> None:
    """Forty prompts of two videos; a chain of equal files ties five prompts together."""
    rows = make_manifest(prompts=40, generators="ab").sort_values("group", ignore_index=True)
    rows["sha256"] = [f"{number}" for number in range(80)]
    for prompt in range(4):
        rows.loc[2 * prompt + 3, "sha256"] = rows.loc[2 * prompt, "sha256"]
    for by in ("group", "video"):
        params = options(by=by, val_fraction=0.25, test_fraction=0.25)
        part_of = deal_parts(rows, params).set_index("video_id")["part"]
        files = rows.assign(part=rows["video_id"].map(part_of)).groupby("sha256")["part"].nunique()
        assert (files == 1).all()
        assert count_joined(rows, params) == 4
        assert count_crossing(rows, part_of.reset_index()) == 0
    # Lists that are given are kept, and what they do is counted: the first two prompts share a file.
    own = rows.assign(part=["train", "val"] + ["test"] * 78)
    assert count_crossing(rows, own[["video_id", "part"]]) == 1
    assert count_joined(rows.assign(sha256=None), options()) == 0
