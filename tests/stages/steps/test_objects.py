"""Which frames objects are looked for in."""

import pytest

from stages.steps.objects import key_frames

SMALL, LARGE = (4, 6), (8, 6)


@pytest.mark.parametrize(
    ("every", "expected"), [(1, [0, 1, 2, 3, 4]), (2, [0, 0, 2, 2, 4]), (3, [0, 0, 0, 3, 3]), (9, [0] * 5)]
)
def test_every_kth_frame_from_the_first_on(every: int, expected: list[int]) -> None:
    assert key_frames([SMALL] * 5, every) == expected


def test_a_new_size_starts_anew() -> None:
    # Frames 2 and 5 have another size than the one before; counting goes on from them.
    sizes = [SMALL, SMALL, LARGE, LARGE, LARGE, SMALL]
    assert key_frames(sizes, 2) == [0, 0, 2, 2, 4, 5]


def test_no_frames() -> None:
    assert key_frames([], 3) == []
