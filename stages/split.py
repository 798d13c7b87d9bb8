"""split: every video of the manifest to train, val or test, seeded, kept in Git as data/split.csv.

By group (prompt): all videos of a prompt go to one part, so that no prompt is known from training. Groups are dealt
stratified: those with the same set of generators are shuffled together and dealt by the wanted shares. By generator:
the test part is one generator that training never sees. By dataset: its own lists.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from stages.engine.command import run, stage_arguments
from stages.errors import DatasetError
from stages.io.files import write_text
from stages.io.schemas import MANIFEST
from stages.io.tables import read_frame
from stages.params.load import load_params
from stages.params.schema import Params, SplitParams

PARTS = ("train", "val", "test")


def deal_groups(groups: Mapping[str, Sequence[str]], shares: Mapping[str, float], *, seed: int) -> dict[str, str]:
    """Group -> part. `groups` maps a group to the generators of its videos (one entry a video), `shares` part to share.

    Within a stratum (groups with the same generators) the order is random by seed. Each next group goes to
    the part that lacks most videos of its share, so that the shares are met as closely as whole groups allow.
    """
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for group in sorted(groups):
        strata[tuple(sorted(set(groups[group])))].append(group)
    random = np.random.default_rng(seed)
    counts = dict.fromkeys(shares, 0)
    parts: dict[str, str] = {}
    for stratum in sorted(strata):
        for group in random.permutation(np.array(strata[stratum], dtype=object)):
            size = len(groups[group])
            total = sum(counts.values()) + size
            part = max(shares, key=lambda name: shares[name] * total - counts[name])
            parts[group] = part
            counts[part] += size
    return parts


def deal(manifest: pd.DataFrame, shares: Mapping[str, float], *, seed: int, by_video: bool = False) -> pd.Series:
    """A part for every row, whole groups (or single videos) together."""
    unit = join_equal_files(_units(manifest, by_video=by_video), manifest["sha256"])
    groups = {
        str(group): [name or "" for name in rows["generator"]] for group, rows in manifest.groupby(unit, sort=True)
    }
    return unit.map(deal_groups(groups, shares, seed=seed))


def join_equal_files(unit: pd.Series, sha256: pd.Series) -> pd.Series:
    """Units that hold files of equal bytes become one, under the first of their names: no content in two parts.

    Args:
        unit: What is dealt as one, of every row.
        sha256: Of every row's file; missing where there is none.
    """
    names, unit_of = np.unique(unit.to_numpy(dtype=str), return_inverse=True)
    hashed = sha256.notna().to_numpy()
    _, file_of = np.unique(sha256[hashed].to_numpy(dtype=str), return_inverse=True)
    size = len(names) + (file_of.max() + 1 if len(file_of) else 0)
    edges = unit_of[hashed], len(names) + file_of
    graph = coo_array((np.ones(len(file_of)), edges), shape=(size, size))
    component = connected_components(graph, directed=False)[1]
    first = {part: name for name, part in zip(names[::-1], component[: len(names)][::-1], strict=True)}
    return pd.Series([first[component[index]] for index in unit_of], index=unit.index)


def count_joined(manifest: pd.DataFrame, params: SplitParams) -> int:
    """How many groups, or videos, are dealt with another one because they hold a file of equal bytes."""
    if params.by == "dataset":
        return 0
    unit = _units(manifest, by_video=params.by == "video")
    return int(unit.nunique() - join_equal_files(unit, manifest["sha256"]).nunique())


def deal_rest(manifest: pd.DataFrame, is_test: pd.Series, params: SplitParams) -> pd.Series:
    """A fixed test part; the others are dealt to train and val by group, `val_fraction` of them to val."""
    shares = {"train": 1 - params.val_fraction, "val": params.val_fraction}
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
    """All videos of the generator `held_out` are the test part; their prompts may be known from other generators."""
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
    return deal_rest(manifest, manifest["generator"] == params.held_out, params)


def deal_parts(manifest: pd.DataFrame, params: SplitParams) -> pd.DataFrame:
    """Columns video_id, part, sorted by video_id. Videos that failed are dealt too: they count as expected.

    Raises DatasetError when there are no scores, when a part would be empty, or when the data set's own lists or the
    generator that is to be held out are not there.
    """
    usable = manifest["status"] == "ok"
    if usable.any() and manifest.loc[usable, "mos"].isna().all():
        raise DatasetError(
            f"none of the {usable.sum()} usable videos has a MOS: there is nothing to train on and nothing to test "
            "with; `aigc-vqa score FOLDER` scores them with a trained model"
        )
    if params.by == "dataset":
        parts = own_lists(manifest, params)
    elif params.by == "generator":
        parts = leave_out(manifest, params)
    else:
        shares = {
            "train": 1 - params.val_fraction - params.test_fraction,
            "val": params.val_fraction,
            "test": params.test_fraction,
        }
        parts = deal(manifest, shares, seed=params.seed, by_video=params.by == "video")
    empty = [part for part in PARTS if part not in set(parts[usable])]
    if empty:
        raise DatasetError(_why_empty(manifest, empty, params))
    return pd.DataFrame({"video_id": manifest["video_id"], "part": parts}).sort_values("video_id")


def _units(manifest: pd.DataFrame, *, by_video: bool) -> pd.Series:
    """What is dealt as one: the group of a video, or the video."""
    return manifest["video_id"] if by_video else manifest["group"].fillna(manifest["video_id"])


def _why_empty(manifest: pd.DataFrame, empty: Sequence[str], params: SplitParams) -> str:
    names = ", ".join(empty)
    if params.by == "dataset":
        return f"the data set's own lists give no usable video to {names}"
    if params.by == "generator":
        return f"with {params.held_out!r} held out no usable video is left for {names}; add videos or generators"
    count = _units(manifest, by_video=params.by == "video").nunique()
    hint = "add videos or use split.by=video" if params.by == "group" else "add videos"
    return (
        f"no usable video is left for {names}: {len(manifest)} videos in {count} {params.by}s cannot be dealt to three "
        f"parts; {hint}"
    )


def split(params: Params, *, manifest: Path, out: Path) -> None:
    """Deal the videos to train, val and test.

    Args:
        params: The checked params.
        manifest: Table of videos (Parquet).
        out: Table to write: video_id, part (CSV).

    Raises:
        DatasetError: The videos cannot be dealt as asked for.
        TableError: The manifest is missing or another table.
    """
    videos = read_frame(manifest, schema=MANIFEST)
    parts = deal_parts(videos, params.split)
    write_text(out, parts.to_csv(index=False, lineterminator="\n"))
    counts = parts["part"].value_counts()
    joined = count_joined(videos, params.split)
    text = f"; {joined} joined with another one that holds an equal file" if joined else ""
    print("split: " + ", ".join(f"{counts[part]} {part}" for part in PARTS) + text)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage.

    Args:
        argv: The words after `python -m stages.split`; None: those of the process.
    """
    arguments = stage_arguments(split, argv)
    split(load_params(), **arguments)


if __name__ == "__main__":
    run(main)
