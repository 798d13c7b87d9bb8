"""split: a published list is kept, whatever videos come and go."""

from pathlib import Path

import pandas as pd
import pytest

from stages.errors import DatasetError
from stages.split import deal_parts, read_fixed
from tests.stages.test_split import make_manifest, options, part_of_each


def test_listed_videos_keep_their_parts_and_new_ones_stay_out_of_the_test_part() -> None:
    """The list has the first 100 prompts; 60 new ones come, and a fourth generator shows all of them."""
    listed = make_manifest(prompts=100)
    fixed = part_of_each(deal_parts(listed, options(seed=8)))
    manifest = make_manifest(prompts=160, generators="abcd")
    both = manifest.merge(deal_parts(manifest, options(), fixed=fixed), on="video_id", suffixes=("_own", ""))
    given = both[both["video_id"].isin(fixed)]
    assert part_of_each(given) == fixed
    assert set(both.loc[both["part"] == "test", "video_id"]) == {name for name, part in fixed.items() if part == "test"}
    # d's videos follow their prompts, or stand nowhere where those are tested on.
    part_of_prompt = given.groupby("group")["part"].first().replace({"test": "out"})
    followers = both[(both["generator"] == "d") & both["group"].isin(part_of_prompt.index)]
    assert followers["part"].tolist() == part_of_prompt[followers["group"]].tolist()
    # New prompts train and select.
    new = both[~both["group"].isin(part_of_prompt.index)]
    assert set(new["part"]) == {"train", "val"}
    assert (new.groupby("group")["part"].nunique() == 1).all()


def test_a_list_without_val_gets_it_from_train() -> None:
    manifest = make_manifest(prompts=100)
    fixed = {name: "test" if int(name[-3:]) < 20 else "train" for name in manifest["video_id"]}
    both = manifest.merge(deal_parts(manifest, options(), fixed=fixed), on="video_id", suffixes=("_own", ""))
    assert set(both["part"]) == {"train", "val", "test"}
    assert {name for name, part in part_of_each(both).items() if part == "test"} == {
        name for name, part in fixed.items() if part == "test"
    }
    assert (both.groupby("group")["part"].nunique() == 1).all()


def test_a_copy_of_a_listed_test_file_is_left_out() -> None:
    manifest = make_manifest(prompts=40, generators="a")
    manifest["sha256"] = manifest["video_id"]
    fixed = {name: ("test", "val", "train")[int(name[-3:]) % 3] for name in manifest["video_id"][:30]}
    manifest.loc[35, "sha256"] = "a_003"  # tested on
    manifest.loc[36, "sha256"] = "a_005"  # trained on
    for by in ("group", "video"):
        parts = part_of_each(deal_parts(manifest, options(by=by), fixed=fixed))
        assert (parts["a_035"], parts["a_036"]) == ("out", "train")


def test_lists_that_cannot_be_kept(tmp_path: Path) -> None:
    manifest, fixed = make_manifest(prompts=4), {"x": "test"}
    with pytest.raises(DatasetError, match=r"none of its 1 videos is in the manifest \(first: 'x'\)"):
        deal_parts(manifest, options(), fixed=fixed)
    for by in ("dataset", "generator"):
        with pytest.raises(DatasetError, match=f"split.fixed names parts, and so does split.by = {by}; allowed then"):
            deal_parts(manifest, options(by=by, held_out="a"), fixed=fixed)
    with pytest.raises(DatasetError, match=r"the list split\.fixed leaves no usable video for val, test"):
        deal_parts(manifest, options(), fixed=dict.fromkeys(manifest["video_id"], "train"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read as a list of parts"),
        ("", "cannot be read as a list of parts"),
        ("video,part\n", "columns are video, part; needed: video_id, part"),
        ("video_id,part\na,tests\n", "the part of 'a' is 'tests'; allowed: train, val, test, out"),
        ("video_id,part\na,test\nb,val\na,test\n", "'a' is listed twice"),
    ],
)
def test_files_that_are_no_list(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "fixed.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DatasetError, match=rf"fixed.csv( line 2)?: {message}"):
        read_fixed(path)


def test_a_header_alone_fixes_nothing(tmp_path: Path) -> None:
    (tmp_path / "fixed.csv").write_text("video_id,part\n")
    assert read_fixed(tmp_path / "fixed.csv") == {}
    pd.DataFrame({"video_id": ["NA", "a, b"], "part": ["test", "out"]}).to_csv(tmp_path / "fixed.csv", index=False)
    assert read_fixed(tmp_path / "fixed.csv") == {"NA": "test", "a, b": "out"}
