"""split: every video of the manifest to train, val or test, seeded, kept in Git as data/split.csv.

By group (prompt): all videos of a prompt go to one part, so that no prompt is known from training. The part of a group
is a function of its name, the seed and the fractions alone: videos that are added, removed or renamed move no others.
By generator: the test part is one generator that training never sees. By dataset: its own lists. Videos that a fixed
list names have the part that stands there.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from models.errors import listed
from stages.datasets.dealing import deal, join_equal_files, units_of
from stages.engine.command import run, stage_arguments
from stages.errors import DatasetError
from stages.io.files import write_text
from stages.io.schemas import MANIFEST
from stages.io.tables import LEFT_OUT, read_frame
from stages.params.load import load_params
from stages.params.schema import Params, SplitParams

PARTS = ("train", "val", "test")
# A generator whose share of a part is off by more standard errors than this is named.
UNEVEN_ERRORS = 3
GENERATORS_SHOWN = 10


def count_joined(manifest: pd.DataFrame, params: SplitParams) -> int:
    """How many groups, or videos, are dealt with another one because they hold a file of equal bytes."""
    if params.by == "dataset":
        return 0
    unit = units_of(manifest, by_video=params.by == "video")
    return int(unit.nunique() - join_equal_files(unit, manifest["sha256"]).nunique())


def count_crossing(manifest: pd.DataFrame, parts: pd.DataFrame) -> int:
    """How many files stand in two parts: lists that are given may say so, and dealing never does."""
    rows = manifest[["video_id", "sha256"]].merge(parts[parts["part"] != LEFT_OUT], on="video_id")
    return int((rows.groupby("sha256")["part"].nunique() > 1).sum())


def deal_rest(manifest: pd.DataFrame, is_test: pd.Series, params: SplitParams) -> pd.Series:
    """A fixed test part; the others are dealt to train and val by group, `val_fraction` of them to val."""
    shares = {"val": params.val_fraction, "train": 1 - params.val_fraction}
    parts = pd.Series("test", index=manifest.index)
    return parts.mask(~is_test, deal(manifest[~is_test], shares, seed=params.seed))


def own_lists(manifest: pd.DataFrame, params: SplitParams) -> pd.Series:
    """The parts of the labels; lists without val (as published splits often are) get it from train, never from test."""
    missing = manifest.loc[manifest["part"].isna(), "video_id"]
    if len(missing):
        raise DatasetError(
            f"split.by is dataset, but {len(missing)} of {len(manifest)} videos have no part in the labels "
            f"(first: {missing.iloc[0]!r}); allowed besides: group, video, generator"
        )
    if (manifest["part"] == "val").any():
        return manifest["part"]
    return deal_rest(manifest, manifest["part"] == "test", params)


def leave_out(manifest: pd.DataFrame, params: SplitParams) -> pd.Series:
    """The videos of the generator `held_out` are the test part; copies of their files are left out.

    Their prompts may be known from other generators, unless `held_out_prompts`. Then a share of the prompts goes to the
    test part, from which training has no video of any generator; of a prompt that the generator shows alone, all do.
    """
    unknown = manifest.loc[manifest["generator"].isna(), "video_id"]
    if len(unknown):
        raise DatasetError(
            f"split.by is generator, but the generator of {len(unknown)} of {len(manifest)} videos is not known "
            f"(first: {unknown.iloc[0]!r}); a column of the labels gives it, or dataset.generator_pattern finds it in "
            "file names"
        )
    known = sorted(set(manifest["generator"]))
    if params.held_out not in known:
        raise DatasetError(f"split.held_out is {params.held_out!r}; the generators here are: {', '.join(known)}")
    is_held = manifest["generator"] == params.held_out
    if not params.held_out_prompts:
        parts = deal_rest(manifest, is_held, params)
        copies = ~is_held & manifest["sha256"].isin(manifest.loc[is_held, "sha256"].dropna())
        return parts.mask(copies, LEFT_OUT)
    unit = join_equal_files(units_of(manifest, by_video=False), manifest["sha256"])
    alone = is_held.groupby(unit).transform("all")
    parts = deal(manifest, three_shares(params), seed=params.seed).mask(alone, "test")
    return parts.mask((parts == "test") != is_held, LEFT_OUT)


def keep_fixed(manifest: pd.DataFrame, fixed: Mapping[str, str], params: SplitParams) -> pd.Series:
    """The parts of a fixed list; videos that it lacks never enter its test part.

    They follow their group: to train or val, or, where the list tests on the group, nowhere. Groups that are new are
    dealt to train and val; a list without val gets it from train.

    Args:
        manifest: The videos.
        fixed: Video -> part.
        params: The section split.
    """
    if params.by in ("dataset", "generator"):
        raise DatasetError(f"split.fixed names parts, and so does split.by = {params.by}; allowed then: group, video")
    given = manifest["video_id"].map(fixed)
    if given.isna().all():
        raise DatasetError(
            f"split.fixed: none of its {len(fixed)} videos is in the manifest (first: {next(iter(fixed))!r})"
        )
    by_video = params.by == "video"
    unit = join_equal_files(units_of(manifest, by_video=by_video), manifest["sha256"])
    parts = given.copy()
    # Whatever a group has in the test part keeps its other videos out; then train, so that val stays what it was.
    for part, follower in (("val", "val"), ("train", "train"), ("test", LEFT_OUT)):
        has = (given == part).groupby(unit).transform("any")
        parts = parts.mask(given.isna() & has, follower)
    shares = {"val": params.val_fraction, "train": 1 - params.val_fraction}
    if "val" in fixed.values():
        return parts.where(parts.notna(), deal(manifest, shares, seed=params.seed, by_video=by_video))
    parts = parts.fillna("train")
    in_train = parts == "train"
    return parts.mask(in_train, deal(manifest[in_train], shares, seed=params.seed, by_video=by_video))


def three_shares(params: SplitParams) -> dict[str, float]:
    """Part -> share, the test part first: a change of `val_fraction` leaves it as it is."""
    train = 1 - params.val_fraction - params.test_fraction
    return {"test": params.test_fraction, "val": params.val_fraction, "train": train}


def deal_parts(manifest: pd.DataFrame, params: SplitParams, *, fixed: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The part of every video. Videos that failed are dealt too: they count as expected.

    Args:
        manifest: Table of the MANIFEST schema.
        params: The section split.
        fixed: Video -> part of those whose part is given.

    Returns:
        Columns video_id, part, sorted by video_id; the part is train, val, test, or `out` of a video that is left out.

    Raises:
        DatasetError: There are no scores, a part would be empty, or the data set's own lists, the generator that is to
            be held out or the videos of the fixed list are not there.
    """
    usable = manifest["status"] == "ok"
    if usable.any() and manifest.loc[usable, "mos"].isna().all():
        raise DatasetError(
            f"none of the {usable.sum()} usable videos has a MOS: there is nothing to train on and nothing to test "
            "with; `aigc-vqa score FOLDER` scores them with a trained model"
        )
    if fixed:
        parts = keep_fixed(manifest, fixed, params)
    elif params.by == "dataset":
        parts = own_lists(manifest, params)
    elif params.by == "generator":
        parts = leave_out(manifest, params)
    else:
        parts = deal(manifest, three_shares(params), seed=params.seed, by_video=params.by == "video")
    empty = [part for part in PARTS if part not in set(parts[usable])]
    if empty:
        raise DatasetError(_why_empty(manifest, empty, params, is_fixed=bool(fixed)))
    return pd.DataFrame({"video_id": manifest["video_id"], "part": parts}).sort_values("video_id")


def uneven_generators(manifest: pd.DataFrame, parts: pd.DataFrame, params: SplitParams) -> Iterator[str]:
    """A line for every generator that the order deals unevenly: by more than chance, or nothing to a part.

    Args:
        manifest: The videos.
        parts: What `deal_parts` made of them.
        params: The section split.
    """
    rows = manifest.merge(parts, on="video_id", suffixes=("_own", ""))
    rows["unit"] = join_equal_files(units_of(rows, by_video=params.by == "video"), rows["sha256"])
    for generator, own in rows.groupby("generator"):
        part_of_unit = own.groupby("unit")["part"].first()
        for part, share in three_shares(params).items():
            count = len(part_of_unit)
            found = int((part_of_unit == part).sum())
            error = math.sqrt(share * (1 - share) / count)
            if found == 0 or abs(found / count - share) > UNEVEN_ERRORS * error:
                videos = int((own["part"] == part).sum())
                yield f"{generator}: {videos} of {len(own)} videos are {part}, {share:.0%} were wanted"


def read_fixed(path: Path) -> dict[str, str]:
    """Video -> part of a list such as data/split.csv; one with a header alone fixes nothing.

    Raises:
        DatasetError: The file is missing or no such list.
    """
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as a list of parts (split.fixed): {error}") from None
    if list(rows.columns) != ["video_id", "part"]:
        raise DatasetError(f"{path}: columns are {', '.join(rows.columns)}; needed: video_id, part (split.fixed)")
    allowed = (*PARTS, LEFT_OUT)
    for number, (video, part) in enumerate(zip(rows["video_id"], rows["part"], strict=True), start=2):
        if part not in allowed:
            raise DatasetError(
                f"{path} line {number}: the part of {video!r} is {part!r}; allowed: {', '.join(allowed)}"
            )
    twice = rows.loc[rows["video_id"].duplicated(), "video_id"]
    if len(twice):
        raise DatasetError(f"{path}: {twice.iloc[0]!r} is listed twice")
    return dict(zip(rows["video_id"], rows["part"], strict=True))


def _why_empty(manifest: pd.DataFrame, empty: Sequence[str], params: SplitParams, *, is_fixed: bool) -> str:
    names = ", ".join(empty)
    if is_fixed:
        return f"the list split.fixed leaves no usable video for {names}"
    if params.by == "dataset":
        return f"the data set's own lists give no usable video to {names}"
    if params.by == "generator":
        return f"with {params.held_out!r} held out no usable video is left for {names}; add videos or generators"
    count = units_of(manifest, by_video=params.by == "video").nunique()
    hint = "add videos, use split.by=video" if params.by == "group" else "add videos"
    return (
        f"no usable video is left for {names}: {len(manifest)} videos in {count} {params.by}s, dealt by chance with "
        f"split.seed = {params.seed}; {hint}, or set a larger fraction or another seed before anything is trained"
    )


def split(params: Params, *, manifest: Path, fixed: Path, out: Path) -> None:
    """Deal the videos to train, val and test.

    Args:
        params: The checked params.
        manifest: Table of videos (Parquet).
        fixed: List of videos whose part is given: video_id, part (CSV); its header alone where there are none.
        out: Table to write: video_id, part (CSV).

    Raises:
        DatasetError: The videos cannot be dealt as asked for.
        TableError: The manifest is missing or another table.
    """
    videos, given = read_frame(manifest, schema=MANIFEST), read_fixed(fixed)
    parts = deal_parts(videos, params.split, fixed=given)
    write_text(out, parts.to_csv(index=False, lineterminator="\n"))
    counts = parts["part"].value_counts()
    texts = [", ".join(f"{counts[part]} {part}" for part in PARTS)]
    if left_out := int(counts.get(LEFT_OUT, 0)):
        texts.append(f"{left_out} left out, whose prompt or file stands on the other side")
    if given:
        texts.append(f"{len(set(given) & set(videos['video_id']))} of {len(given)} as {fixed} says")
    if joined := count_joined(videos, params.split):
        texts.append(f"{joined} joined with another one that holds an equal file")
    if crossing := count_crossing(videos, parts):
        texts.append(f"equal files in two parts, as the lists say: {crossing}")
    print("split: " + "; ".join(texts))
    is_dealt = params.split.by in ("group", "video") and not given
    if is_dealt and (uneven := [*uneven_generators(videos, parts, params.split)]):
        print("split: " + listed(uneven, shown=GENERATORS_SHOWN, separator="\nsplit: "))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage.

    Args:
        argv: The words after `python -m stages.split`; None: those of the process.
    """
    arguments = stage_arguments(split, argv)
    split(load_params(), **arguments)


if __name__ == "__main__":
    run(main)
