"""Which decoded frames a method reads."""

import pytest
from pydantic import TypeAdapter, ValidationError

from models.methods import method_names, params_of
from models.methods.reading import AllFrames, FramePlan, SpreadFrames

PLAN: TypeAdapter[FramePlan] = TypeAdapter(FramePlan)


def test_frames_by_hand() -> None:
    assert AllFrames().indices(4) == [0, 1, 2, 3]
    # 0, 2.33, 4.67 and 7, rounded.
    assert SpreadFrames(count=4).indices(8) == [0, 2, 5, 7]
    # A shorter video has each of its frames once.
    assert SpreadFrames(count=4).indices(2) == [0, 1]
    assert SpreadFrames(count=1).indices(5) == [2]


@pytest.mark.parametrize("plan", [AllFrames(), SpreadFrames(count=3)])
def test_plans_come_back_from_their_values(plan: FramePlan) -> None:
    assert PLAN.validate_python(plan.model_dump()) == plan


@pytest.mark.parametrize("values", [{"kind": "some"}, {"kind": "spread", "count": 0}, {"kind": "all", "count": 3}])
def test_other_plans_are_none(values: dict) -> None:
    with pytest.raises(ValidationError):
        PLAN.validate_python(values)


def test_every_method_says_what_it_reads() -> None:
    for name in method_names():
        section = params_of(name)
        assert section.needs
        assert 0 in section.plan(count=3).indices(9)
