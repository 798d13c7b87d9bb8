"""Which frames make a clip: the public samplers' indices, and short videos."""

import numpy as np
import pytest
import torch

from models.methods.fast_vqa.clips import (
    FragmentSamplingError,
    clip_indices,
    frame_indices,
    part_choices,
    part_starts,
    spread_starts,
)
from models.methods.fast_vqa.config import SAMPLING_B, SAMPLING_M
from tests.models.methods.fast_vqa.golden import GOLDEN

HEAD = SAMPLING_B.model_copy(update={"starts": "head"})
HEAD_ROWS = GOLDEN["head_parts_frames_interval_n_seed_starts_last"]
LEGACY_ROWS = GOLDEN["legacy_frames_interval_clips_n_seed_starts_last"]


@pytest.mark.parametrize("row", HEAD_ROWS, ids=lambda row: "-".join(map(str, row[:5])))
def test_starts_of_the_later_code(row):
    parts, clip_frames, interval, n_frames, seed, starts, last = row
    choices = part_choices(n_frames, parts=parts, span=clip_frames * interval)
    # The public code draws with NumPy's old generator, and not at all where there is one choice.
    shifts = [0] * parts if seed is None else np.random.RandomState(seed).randint(0, choices, size=parts).tolist()
    assert seed is not None or choices == 1
    assert part_starts(n_frames, shifts=shifts) == starts
    indices = clip_indices(starts, clip_frames=clip_frames, interval=interval, n_frames=n_frames, past_end="wrap")
    assert indices[-1] == last
    assert indices[:clip_frames] == [(starts[0] + interval * k) % n_frames for k in range(clip_frames)]


@pytest.mark.parametrize("row", LEGACY_ROWS, ids=lambda row: "-".join(map(str, row[:5])))
def test_starts_of_the_first_version(row):
    clip_frames, interval, clips, n_frames, seed, starts, last = row
    span = clip_frames * interval
    if clips > 1:
        assert spread_starts(n_frames, clips=clips, span=span) == starts
    else:
        choices = max(1, n_frames - span + 1)
        drawn = 0 if seed is None else int(np.random.RandomState(seed).randint(0, choices))
        assert [drawn] == starts
    indices = clip_indices(starts, clip_frames=clip_frames, interval=interval, n_frames=n_frames, past_end="wrap")
    assert indices[-1] == last


def test_the_clips_of_the_test_are_always_the_same():
    # 240 frames, 4 clips of span 64: (1/2, 3/2, 5/2, 7/2) * 177 / 4 = 22.1, 66.4, 110.6, 154.9.
    indices = frame_indices(240, SAMPLING_B, None)
    assert indices[::32] == [22, 66, 110, 154]
    assert indices[:32] == list(range(22, 22 + 64, 2))
    assert len(frame_indices(240, SAMPLING_M, None)) == 4 * 16
    assert frame_indices(1000, HEAD, None) == frame_indices(1000, HEAD, None)
    other = HEAD.model_copy(update={"test_seed": 1})
    assert frame_indices(1000, HEAD, None) != frame_indices(1000, other, None)


@pytest.mark.parametrize(("starts", "last"), [("v2.0.0", 3), ("head", 2)])
def test_a_training_clip_starts_anywhere_that_it_may(starts, last):
    # 67 frames, span 64: places 0 to 3; the later code leaves the last one out.
    sampling = SAMPLING_B.model_copy(update={"starts": starts})
    generator = torch.Generator().manual_seed(0)
    found = {tuple(frame_indices(67, sampling, generator)) for _ in range(60)}
    assert found == {tuple(range(start, start + 64, 2)) for start in range(last + 1)}


@pytest.mark.parametrize("sampling", [SAMPLING_B, HEAD])
@pytest.mark.parametrize("generator", [None, torch.Generator().manual_seed(0)])
def test_one_frame_is_all_frames(sampling, generator):
    clips = 4 if generator is None else 1
    assert frame_indices(1, sampling, generator) == [0] * 32 * clips
    with pytest.raises(FragmentSamplingError, match="the video has 0 frames; needed: at least 1"):
        frame_indices(0, sampling, generator)


def test_frames_past_the_end():
    values = {"clip_frames": 4, "interval": 2, "n_frames": 5}
    assert clip_indices([0, 3], past_end="wrap", **values) == [0, 2, 4, 1, 3, 0, 2, 4]
    assert clip_indices([0, 3], past_end="last", **values) == [0, 2, 4, 4, 3, 4, 4, 4]
