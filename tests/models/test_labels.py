"""Labels and predictions that a loss refuses."""

import math

import pytest
import torch

from models.errors import NonFiniteError, ShapeError
from models.labels import check_labels


def test_shapes_are_equal_and_not_empty() -> None:
    check_labels(torch.zeros(1), torch.zeros(1))
    for scores, mos in (((2,), (2, 1)), ((2, 1), (2, 1)), ((2,), (3,)), ((), ()), ((0,), (0,))):
        with pytest.raises(ShapeError, match=r"scores have shape \(.*\) and mos \(.*\); needed: both \(B,\)"):
            check_labels(torch.zeros(scores), torch.zeros(mos))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_labels_are_finite(value) -> None:
    with pytest.raises(NonFiniteError, match=rf"mos\[1\] is {value}"):
        check_labels(torch.zeros(3), torch.tensor([1.0, value, math.nan]))
