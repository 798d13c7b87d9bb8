"""Sections: the published numbers, and what cannot be built."""

import pytest
from pydantic import ValidationError

from models.config import problems_of
from models.methods.fast_vqa.config import (
    NETWORK_B,
    PUBLISHED_B,
    PUBLISHED_M,
    SAMPLING_B,
    FastVqaNetwork,
    FastVqaParams,
    FragmentSampling,
)
from models.methods.sama.config import PUBLISHED as PUBLISHED_SAMA
from stages.params.presets import read_preset
from tests.configs import shipped_section
from tests.conftest import ROOT

SMALL = shipped_section("fast_vqa")


@pytest.mark.parametrize(("params", "side", "span"), [(PUBLISHED_B, 224, 64), (PUBLISHED_M, 128, 32), (SMALL, 128, 6)])
def test_sections_come_back_from_their_values(params, side, span):
    assert FastVqaParams.model_validate(params.model_dump(mode="json")) == params
    assert (params.sampling.side_px, params.sampling.span) == (side, span)


@pytest.mark.parametrize(
    ("grid", "adaptive", "window"),
    # FasterVQA-MS has a grid of 5; the window shrinks with it where it may: 7 * 160 // 224 = 5.
    [(5, True, None), (7, False, None), (5, False, "7 x 7"), (14, True, None)],
)
def test_a_gated_window_has_a_token_for_each_patch(grid, adaptive, window):
    values = PUBLISHED_B.model_dump()
    values["network"]["adaptive_window"], values["sampling"]["grid"] = adaptive, grid
    if window is None:
        assert FastVqaParams.model_validate(values).sampling.side_px == 32 * grid
        return
    with pytest.raises(ValidationError) as error:
        FastVqaParams.model_validate(values)
    assert f"network.window is {window} tokens and sampling.grid {grid}" in problems_of(error.value)
    values["network"]["gated_bias"] = False
    FastVqaParams.model_validate(values)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": (3, 6, 12, 23)}, "23 must divide the width of stage 3, 768"),
        ({"heads": (3, 6)}, "must be of one length"),
        ({"window": (8, 7, 0)}, "window.2 = 0: Input should be greater than or equal to 1"),
        ({"drop_path": 1.0}, "drop_path = 1.0"),
        ({"layers": 4}, "layers = 4: Extra inputs are not permitted"),
    ],
)
def test_networks_that_cannot_be_built(changes, words):
    with pytest.raises(ValidationError) as error:
        FastVqaNetwork.model_validate(NETWORK_B.model_dump() | changes)
    assert words in problems_of(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"segment_frames": 5}, "segment_frames = 5 must divide clip_frames = 32"),
        ({"clip_frames": 31, "segment_frames": 31}, "clip_frames = 31 must be a multiple of 2"),
        ({"patch_px": 30}, "patch_px = 30 must be a multiple of 4"),
        ({"starts": "v1"}, "starts = 'v1'"),
    ],
)
def test_clips_that_cannot_be_cut(changes, words):
    with pytest.raises(ValidationError) as error:
        FragmentSampling.model_validate(SAMPLING_B.model_dump() | changes)
    assert words in problems_of(error.value)


@pytest.mark.parametrize(
    ("preset", "name", "published"),
    [
        ("methods/fast_vqa_b", "fast_vqa", PUBLISHED_B),
        ("methods/fast_vqa_m", "fast_vqa", PUBLISHED_M),
        ("methods/sama_published", "sama", PUBLISHED_SAMA),
    ],
)
def test_presets_have_the_published_numbers(preset, name, published):
    params, _ = read_preset(preset, params=ROOT / "params.yaml", folder=ROOT / "presets")
    assert (params.method, params.chosen) == (name, published)
