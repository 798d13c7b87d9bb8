"""split: every video of the manifest to train, val or test, seeded, kept in Git as data/split.csv.

By group (prompt): all videos of a prompt go to one part, so that no prompt is known from training. Groups are dealt
stratified: those with the same set of generators are shuffled together and dealt by the wanted shares.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from stages.command import run
from stages.errors import DatasetError
from stages.io.files import write_text
from stages.io.tables import MANIFEST, read_frame
from stages.params import load_params
from stages.sections import SplitParams

PARTS = ("train", "val", "test")


def deal_groups(groups: Mapping[str, Sequence[str]], params: SplitParams) -> dict[str, str]:
    """Group -> part. `groups` maps a group to the generators of its videos (one entry a video).

    Within a stratum (groups with the same generators) the order is random by seed. Each next group goes to
    the part that lacks most videos of its share, so that the shares are met as closely as whole groups allow.
    """
    shares = {
        "train": 1 - params.val_fraction - params.test_fraction,
        "val": params.val_fraction,
        "test": params.test_fraction,
    }
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for group in sorted(groups):
        strata[tuple(sorted(set(groups[group])))].append(group)
    random = np.random.default_rng(params.seed)
    counts = dict.fromkeys(PARTS, 0)
    parts: dict[str, str] = {}
    for stratum in sorted(strata):
        for group in random.permutation(np.array(strata[stratum], dtype=object)):
            size = len(groups[group])
            total = sum(counts.values()) + size
            part = max(PARTS, key=lambda name: shares[name] * total - counts[name])
            parts[group] = part
            counts[part] += size
    return parts


def split(manifest: pd.DataFrame, params: SplitParams) -> pd.DataFrame:
    """Columns video_id, part, sorted by video_id. Videos that failed are dealt too: they count as expected.

    Raises DatasetError when a part would be empty, or when the data set's own lists are asked for and not there.
    """
    if params.by == "dataset":
        missing = manifest.loc[manifest["part"].isna(), "video_id"]
        if len(missing):
            raise DatasetError(
                f"split.by is dataset, but {len(missing)} of {len(manifest)} videos have no part in the labels "
                f"(first: {missing.iloc[0]!r}); allowed besides: group, video"
            )
        parts = manifest["part"]
    else:
        unit = manifest["video_id"] if params.by == "video" else manifest["group"].fillna(manifest["video_id"])
        groups = {
            str(group): [name or "" for name in rows["generator"]] for group, rows in manifest.groupby(unit, sort=True)
        }
        parts = unit.map(deal_groups(groups, params))
    usable = parts[manifest["status"] == "ok"]
    empty = [part for part in PARTS if part not in set(usable)]
    if empty:
        if params.by == "dataset":
            raise DatasetError(f"the data set's own lists give no usable video to {', '.join(empty)}")
        hint = "add videos or use split.by=video" if params.by == "group" else "add videos"
        raise DatasetError(
            f"no usable video is left for {', '.join(empty)}: {len(manifest)} videos in {len(groups)} "
            f"{params.by}s cannot be dealt to three parts; {hint}"
        )
    return pd.DataFrame({"video_id": manifest["video_id"], "part": parts}).sort_values("video_id")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.split", description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="CSV to write: video_id, part")
    arguments = parser.parse_args(argv)
    parts = split(read_frame(arguments.manifest, schema=MANIFEST), load_params().split)
    write_text(arguments.out, parts.to_csv(index=False, lineterminator="\n"))
    counts = parts["part"].value_counts()
    print("split: " + ", ".join(f"{counts[part]} {part}" for part in PARTS))


if __name__ == "__main__":
    run(main)
