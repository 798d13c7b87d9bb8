"""Groups to parts by a hash: a function of the name, the seed and the shares, and of nothing else."""

import numpy as np
import pandas as pd
import pytest

from stages.datasets.dealing import deal, join_equal_files, part_of, position, units_of

SHARES = {"test": 0.2, "val": 0.15, "train": 0.65}


def test_the_position_of_a_name() -> None:
    """The first 16 digits of `printf '0 a red fox' | sha256sum`, and of seed 7, as fractions of 2^64."""
    assert position("a red fox", seed=0) == 0xC61E945D6338B2AF / 2**64
    assert position("a red fox", seed=7) == 0x9B5B24DA450D221D / 2**64


def test_positions_are_spread_evenly() -> None:
    """10,000 names: their empirical distribution is off by 1.95 / sqrt(n) in one draw of 1,000 (Kolmogorov-Smirnov)."""
    for seed in range(3):
        found = np.sort([position(f"prompt {number}", seed=seed) for number in range(10_000)])
        assert np.abs(found - (np.arange(10_000) + 0.5) / 10_000).max() < 1.95 / 100


@pytest.mark.parametrize(
    ("shares", "part"),
    [
        # The position of this name is 0.774.
        ({"test": 0.77, "val": 0.01, "train": 0.22}, "val"),
        ({"test": 0.78, "val": 0.01, "train": 0.21}, "test"),
        (SHARES, "train"),
        ({"val": 0.7, "train": 0.07}, "train"),  # shares that miss 1 by rounding leave nobody without a part
    ],
)
def test_the_stretches_stand_in_the_order_of_the_shares(shares: dict[str, float], part: str) -> None:
    assert part_of("a red fox", shares, seed=0) == part


def test_rows_of_one_group_have_its_part() -> None:
    rows = pd.DataFrame({"video_id": ["a", "b", "c"], "group": ["a red fox", None, "a red fox"], "sha256": None})
    assert units_of(rows, by_video=False).tolist() == ["a red fox", "b", "a red fox"]
    assert units_of(rows, by_video=True).tolist() == ["a", "b", "c"]
    b = part_of("b", SHARES, seed=0)
    assert deal(rows, SHARES, seed=0).tolist() == ["train", b, "train"]


def test_joined_units_have_the_name_that_sorts_first() -> None:
    """c and b hold the file x, b and d the file y; a and e are alone, and no file counts as equal to no file."""
    unit = pd.Series(["c", "b", "b", "d", "a", "e"])
    files = pd.Series(["x", "x", "y", "y", None, None])
    assert join_equal_files(unit, files).tolist() == ["b", "b", "b", "b", "a", "e"]
    assert join_equal_files(unit[:0], files[:0]).tolist() == []
