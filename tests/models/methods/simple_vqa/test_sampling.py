"""Which frames SimpleVQA looks at, and how pixels become inputs: golden figures, and cases by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.errors import ShapeError
from models.methods.simple_vqa.sampling import (
    SimpleVqaInputError,
    frames_per_second,
    key_frames,
    motion_clips,
    segment_plan,
)
from models.methods.simple_vqa.transforms import (
    cut_squares,
    motion_pixels,
    motion_squares,
    normalised_frames,
    resized_frames,
)

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())


def runs(clips: list[list[int]]) -> list[list[int]]:
    """First frame and count of consecutive frames of each clip; what follows must repeat the last of them."""
    found = []
    for clip in clips:
        assert len(clip) == 32
        count = clip[-1] - clip[0] + 1
        assert clip == [*range(clip[0], clip[-1] + 1), *[clip[-1]] * (32 - count)]
        found.append([clip[0], count])
    return found


@pytest.mark.parametrize("case", GOLDEN["indices"], ids=lambda case: f"{case['n_frames']}@{case['fps']}")
def test_golden_indices(case) -> None:
    decoded, fps = case["n_frames"] - case["undecodable_tail"], case["fps"]
    assert key_frames(decoded, fps=fps, minimum=8) == case["key_frames_min8"]
    found = runs(motion_clips(decoded, fps=fps, minimum=8, n_promised=case["n_frames"]))
    assert found == case["motion_first_run_min8"]
    frames = key_frames(decoded, fps=fps, minimum=20)
    assert [len(frames), frames[-1]] == case["key_frames_min20_count_last"]
    clips = runs(motion_clips(decoded, fps=fps, minimum=20, n_promised=case["n_frames"]))
    assert [len(clips), clips[-1]] == case["motion_min20_count_last"]


def test_a_promised_frame_that_was_not_decoded_is_the_last_one() -> None:
    # 60 promised, 50 decoded: two clips, the second from 30 with 20 frames, then frame 49 twelve times.
    assert runs(motion_clips(50, fps=30, minimum=1, n_promised=60)) == [[0, 32], [30, 20]]
    assert runs(motion_clips(50, fps=30, minimum=1)) == [[0, 32]]


def test_frames_and_clips_are_paired_from_the_start() -> None:
    # 241 frames at 30: the ninth frame has no clip of its own; with ten segments the eighth clip goes with three.
    plan = segment_plan(241, fps=29.97, segments=10, with_motion=True)
    assert plan.frames == [0, 30, 60, 90, 120, 150, 180, 210, 240, 240]
    assert [clip[0] for clip in plan.clips] == [0, 30, 60, 90, 120, 150, 180, 210, 210, 210]
    # Of longer videos the start.
    assert segment_plan(241, fps=30, segments=2, with_motion=True).frames == [0, 30]
    assert len(segment_plan(241, fps=30, segments=2, with_motion=True).clips) == 2


def test_videos_below_a_second_have_frames_but_no_clip() -> None:
    assert segment_plan(16, fps=24, segments=3, with_motion=False) == ([0, 0, 0], [])
    with pytest.raises(SimpleVqaInputError, match=r"16 frames at 24 per second; needed .*: one second, 24 frames"):
        segment_plan(16, fps=24, segments=3, with_motion=True)


def test_seconds_are_whole_frames() -> None:
    assert [frames_per_second(fps) for fps in (29.97, 23.976, 8, 0.6)] == [30, 24, 8, 1]
    for fps in (0.0, 0.5, -3.0, float("nan"), float("inf")):
        with pytest.raises(SimpleVqaInputError, match=f"{fps} frames per second"):
            frames_per_second(fps)
    for call in (key_frames, motion_clips):
        with pytest.raises(SimpleVqaInputError, match="n_frames is 0"):
            call(0, fps=30, minimum=8)
        with pytest.raises(SimpleVqaInputError, match="minimum is 0"):
            call(9, fps=30, minimum=0)


def golden_frame(case) -> Tensor:
    shape = (case["H"], case["W"], 3)
    frame = np.random.default_rng(case["seed"]).integers(0, 256, shape, dtype=np.uint8)
    return torch.from_numpy(frame).permute(2, 0, 1)[None]


@pytest.mark.parametrize("case", GOLDEN["pixels"], ids=lambda case: f"{case['W']}x{case['H']}")
def test_golden_pixels_of_frames(case) -> None:
    resized = resized_frames(golden_frame(case), short_side_px=520)
    width, height = case["resized_wh"]
    assert resized.shape == (1, 3, height, width)
    # To the byte, with the pinned OpenCV; smoothing (the demo's way) would give a deviation of 35.5 for 720 rows.
    assert resized.sum().item() == case["resized_sum"]
    cut = cut_squares(resized, size_px=448, random=None)
    assert cut.sum().item() == case["benchmark_uint8_sum"]
    assert cut.double().std(correction=0).item() == pytest.approx(case["benchmark_uint8_std"], abs=1e-3)
    assert cut[0, :, 0, 0].tolist() == case["benchmark_rgb_at_0_0"]
    assert cut[0, :, 200, 300].tolist() == case["benchmark_rgb_at_200_300"]
    normalised = normalised_frames(cut)[0, :, 0, 0]
    assert normalised.tolist() == pytest.approx(case["benchmark_normalised_at_0_0"], abs=1e-5)


@pytest.mark.parametrize("case", GOLDEN["pixels"], ids=lambda case: f"{case['W']}x{case['H']}")
def test_golden_pixels_of_motion(case) -> None:
    squares = motion_squares(golden_frame(case))
    assert squares.shape == (1, 3, 224, 224)
    # PIL's and torch's resizing may differ by a level.
    assert squares.sum().item() == pytest.approx(case["motion_uint8_sum"], rel=1e-5)
    differences = squares[0, :, 0, 0].int() - torch.tensor(case["motion_rgb_at_0_0"])
    assert differences.abs().max() <= 1
    # (x / 255 - 0.45) / 0.225; a level is 1 / 255 / 0.225 = 0.0174.
    pixels = motion_pixels(golden_frame(case))[0, :, 0, 0]
    expected = torch.tensor(case["motion_normalised_at_0_0"]) + differences / 255 / 0.225
    torch.testing.assert_close(pixels, expected, atol=1e-5, rtol=0)


def test_sizes_keep_the_aspect_ratio() -> None:
    frames = torch.zeros(2, 3, 50, 73, dtype=torch.uint8)
    # 20 / 50 * 73 = 29.2; upright the same.
    assert resized_frames(frames, short_side_px=20).shape == (2, 3, 20, 29)
    assert resized_frames(frames.transpose(2, 3), short_side_px=20).shape == (2, 3, 29, 20)
    # 39 / 37 * 37 is 38.99999999999999 in floating point.
    assert int(39 / 37 * 37) == 38
    assert resized_frames(torch.zeros(1, 3, 37, 37, dtype=torch.uint8), short_side_px=39).shape == (1, 3, 39, 39)


def test_crops_are_drawn_for_each_frame_and_stay_inside() -> None:
    # A pixel's value is its place: row * 16 + column.
    frame = torch.arange(160, dtype=torch.uint8).view(1, 1, 10, 16).expand(40, 3, 10, 16)
    cuts = cut_squares(frame, size_px=8, random=np.random.default_rng(0))
    corners = {tuple(divmod(int(corner), 16)) for corner in cuts[:, 0, 0, 0]}
    # 3 x 9 places, of which 40 draws meet more than a third.
    assert len(corners) > 9
    assert {row for row, _ in corners} == {0, 1, 2}
    assert max(column for _, column in corners) <= 8
    again = cut_squares(frame, size_px=8, random=np.random.default_rng(0))
    assert torch.equal(cuts, again)
    # In test the centre of all: row 1, column 4.
    centre = cut_squares(frame, size_px=8, random=None)
    assert set(centre[:, 0, 0, 0].tolist()) == {20}
    # Half a pixel goes to the even place: (10 - 7) / 2 = 1.5 to 2, (16 - 7) / 2 = 4.5 to 4.
    assert cut_squares(frame, size_px=7, random=None)[0, 0, 0, 0] == 2 * 16 + 4


def test_frames_that_do_not_fit() -> None:
    frames = torch.zeros(1, 3, 10, 16, dtype=torch.uint8)
    for call in (motion_squares, lambda wrong: resized_frames(wrong, short_side_px=8)):
        for wrong in (frames.float(), frames[0], frames[:0], frames[:, :2]):
            with pytest.raises(ShapeError, match=r"frames have shape .*needed: \(F, 3, H, W\)"):
                call(wrong)
    with pytest.raises(ShapeError, match=r"\(1, 3, 10, 16\); needed: .* H and W at least 11"):
        cut_squares(frames, size_px=11, random=None)
