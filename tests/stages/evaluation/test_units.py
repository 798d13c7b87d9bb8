"""What was drawn into the test part is read off the parts themselves."""

import pandas as pd
import pytest

from stages.evaluation.units import drawn_groups, too_few_to_draw

IDS = list("abcdef")


def parts(text: str) -> pd.DataFrame:
    names = {"t": "train", "v": "val", "T": "test"}
    return pd.DataFrame({"video_id": IDS, "part": [names[letter] for letter in text]})


def manifest(groups: list[str | None], sha256: list[str | None] | None = None) -> pd.DataFrame:
    return pd.DataFrame({"video_id": IDS, "group": groups, "sha256": sha256 or [None] * 6}, dtype=object)


PAIRS: list[str | None] = ["p", "p", "q", "q", "r", "r"]


def test_whole_groups_are_drawn_where_none_stands_in_two_parts() -> None:
    found = drawn_groups(parts("TTTTtv"), manifest(PAIRS))
    assert found is not None
    assert found.to_dict() == {"a": "p", "b": "p", "c": "q", "d": "q"}


def test_videos_are_drawn_where_a_group_was_trained_on_or_selected_by() -> None:
    assert drawn_groups(parts("TTTttv"), manifest(PAIRS)) is None
    assert drawn_groups(parts("TTTvtv"), manifest(PAIRS)) is None
    # Groups of one video are videos; so are videos without a group.
    assert drawn_groups(parts("TTTTtv"), manifest(list(IDS))) is None
    assert drawn_groups(parts("TTTTtv"), manifest([None] * 6)) is None


def test_a_video_without_a_group_is_alone() -> None:
    found = drawn_groups(parts("TTTTtv"), manifest(["p", "p", None, "q", "r", "r"]).iloc[[0, 1, 2, 4, 5]])
    assert found is not None
    # c has no group; d is not in the manifest.
    assert found.to_dict() == {"a": "p", "b": "p", "c": "c", "d": "d"}


def test_groups_that_share_a_file_were_dealt_as_one() -> None:
    found = drawn_groups(parts("TTTTtv"), manifest(PAIRS, ["1", "2", "2", "3", "4", "5"]))
    assert found is not None
    assert set(found) == {"p"}
    # The copy of a test video was trained on: its group was not drawn whole.
    assert drawn_groups(parts("TTTTtv"), manifest(PAIRS, ["1", "2", "3", "4", "4", "5"])) is None


@pytest.mark.parametrize(
    ("n_groups", "reason"),
    [
        (None, ""),
        (3, ""),
        (2, "the scored test videos are 2 whole groups (prompts), needed are 3"),
        (1, "the scored test videos are 1 whole group (prompts), needed are 3"),
    ],
)
def test_one_or_two_groups_are_too_few(n_groups: int | None, reason: str) -> None:
    assert too_few_to_draw(n_groups) == reason
