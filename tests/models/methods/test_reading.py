"""Which decoded frames a method reads."""

import pytest
from pydantic import TypeAdapter, ValidationError

from models.methods import method_names, params_of
from models.methods.reading import AllFrames, FramePlan, SpreadFrames

PLAN: TypeAdapter[FramePlan] = TypeAdapter(FramePlan)


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
        assert section.plan(count=3) in (AllFrames(), SpreadFrames(count=3))
