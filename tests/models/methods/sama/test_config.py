"""Sections: the published numbers, and clips that no ladder of scales fits."""

import pytest
from pydantic import ValidationError

from models.config import problems_of
from models.methods.sama.config import PUBLISHED, SamaParams, ScaledSampling
from tests.configs import shipped_section

SMALL = shipped_section("sama")


@pytest.mark.parametrize(("params", "side", "span"), [(PUBLISHED, 224, 64), (SMALL, 128, 6)])
def test_sections_come_back_from_their_values(params, side, span):
    assert SamaParams.model_validate(params.model_dump(mode="json")) == params
    assert (params.sampling.side_px, params.sampling.span) == (side, span)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "sama-c"}, "clip_frames = 6 must be a multiple of 4 for mode sama-c"),
        ({"mode": "sama+spm"}, "mode = 'sama+spm'"),
    ],
)
def test_sampling_that_cannot_be(changes, words):
    with pytest.raises(ValidationError) as error:
        ScaledSampling.model_validate(SMALL.sampling.model_dump() | changes)
    assert words in problems_of(error.value)
