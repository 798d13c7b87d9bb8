"""What was drawn into the test part, which is what an interval has to draw again: videos, or whole groups of them.

The parts themselves say how they were dealt, whatever dealt them: by group, by the data set's own lists, by a held-out
generator, with groups joined or not. A group (prompt, source) of which some videos were trained on was not drawn.
"""

import pandas as pd

from models.metrics import N_MIN
from stages.datasets.dealing import join_equal_files, units_of


def drawn_groups(rows: pd.DataFrame, manifest: pd.DataFrame) -> pd.Series | None:
    """The group of every test video, where the test part is made of whole groups.

    Args:
        rows: Columns video_id and part: the videos of all parts.
        manifest: Columns video_id, group and sha256. A video that it lacks, or that has no group, is alone; groups that
            hold a file of equal bytes were dealt as one.

    Returns:
        Group by video id, for the test part; None where a group has videos in the test part and in another one, or no
        two test videos are of one group: then videos were drawn.
    """
    dealt = join_equal_files(units_of(manifest, by_video=False), manifest["sha256"])
    names = groups_of(rows["video_id"], pd.Series(dealt.to_numpy(), index=manifest["video_id"]))
    tested = (rows["part"] == "test").to_numpy()
    own = names[tested]
    if not own.duplicated().any() or own.isin(set(names[~tested])).any():
        return None
    return own


def groups_of(video_ids: pd.Series, groups: pd.Series) -> pd.Series:
    """Group by video id, in the order of the videos; a video without a group is alone, under its own name.

    Args:
        video_ids: Of each video.
        groups: Group by video id; may lack videos, or have none for them.
    """
    return pd.Series(video_ids.map(groups).fillna(video_ids).to_numpy(dtype=object), index=video_ids.to_numpy())


def too_few_to_draw(n_groups: int | None) -> str:
    """Why whole groups give no interval; empty where they do.

    Args:
        n_groups: How many there are among the scored test videos; None: videos are drawn.
    """
    if n_groups is None or n_groups >= N_MIN:
        return ""
    return f"the scored test videos are {n_groups} whole group{'s' * (n_groups != 1)} (prompts), needed are {N_MIN}"
