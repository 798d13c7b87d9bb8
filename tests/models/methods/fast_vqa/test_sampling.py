"""Fragments: the public code's pixels, patches by hand, and frames smaller than the grid."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.methods.fast_vqa.clips import FragmentSamplingError, clip_indices
from models.methods.fast_vqa.config import SAMPLING_B
from models.methods.fast_vqa.network import split_clips
from models.methods.fast_vqa.patches import PatchPlaces, normalised
from models.methods.fast_vqa.sampling import centred_offsets, cut_fragments, drawn_offsets, fragments
from tests.configs import shipped_section
from tests.models.methods.fast_vqa.golden import GOLDEN, golden_frames, sha256

SMALL = shipped_section("fast_vqa")

RELEASE = SAMPLING_B.model_copy(update={"test_offsets": "random", "small_frames": "release"})
# Two patches of 4 pixels per axis, a clip of 2 frames.
TWO = SAMPLING_B.model_copy(update={"grid": 2, "patch_px": 4, "clip_frames": 2, "segment_frames": 2})


@pytest.mark.parametrize("case", GOLDEN["fragments"], ids=lambda case: "x".join(map(str, case["frames_shape_CxTxHxW"])))
def test_pixels_of_the_public_code(case):
    pixels = golden_frames(case["frames_seed"], case["frames_shape_CxTxHxW"])
    assert sha256(pixels) == case["input_sha256"], "another generator makes other frames"
    sampling = RELEASE.model_copy(update={"grid": case["grid"][0], "segment_frames": case["aligned"]})
    generator = torch.Generator().manual_seed(case["torch_seed"])
    found = fragments(list(pixels.transpose(1, 2, 3, 0)), sampling, generator)
    chosen = np.array(case["pixels_c_t_y_x_value"])
    where = tuple(chosen[:, :4].T.astype(int))
    if "upscaled_hw" in case:
        # Truncated to whole numbers: another order of rounding moves some by one.
        np.testing.assert_allclose(found[where].astype(float), chosen[:, 4], atol=1)
        assert found.sum(dtype=np.int64) == pytest.approx(case["output_sum"], rel=1e-5)
    else:
        np.testing.assert_array_equal(found[where], chosen[:, 4])
        assert sha256(found) == case["output_uint8_sha256"]


def test_from_frames_to_the_scores_of_clips(network_b):
    case = GOLDEN["end_to_end"]
    frames = golden_frames(case["frames_seed"], case["frames_shape_TxHxWx3"])
    indices = clip_indices(case["starts"], clip_frames=32, interval=2, n_frames=len(frames), past_end="wrap")
    rows, columns = np.array(case["offsets_h_row_col_clip"]), np.array(case["offsets_w_row_col_clip"])
    offsets = [PatchPlaces(rows[..., clip], columns[..., clip]) for clip in range(4)]
    cut = cut_fragments([frames[index] for index in indices], RELEASE, offsets)
    assert sha256(cut) == case["fragments_uint8_sha256"]
    pixels = normalised(torch.from_numpy(cut)[None])
    assert [pixels.mean().item(), pixels.std().item()] == pytest.approx(case["normalised_mean_std"], rel=1e-5)
    # The last clip alone, which starts anew past the end of the video: four take half a minute.
    with torch.inference_mode():
        score = network_b(split_clips(pixels, clips=4)[3:])
    assert score.shape == (1,)
    assert score.item() == pytest.approx(case["clip_scores"][3], abs=2e-4)


def test_offsets_are_drawn_in_the_order_of_the_public_code():
    case = GOLDEN["end_to_end"]
    generator = torch.Generator().manual_seed(case["torch_seed"])
    offsets = drawn_offsets(240, 320, RELEASE, segments=4, generator=generator)
    assert np.stack([places.rows for places in offsets], axis=-1).tolist() == case["offsets_h_row_col_clip"]
    assert np.stack([places.columns for places in offsets], axis=-1).tolist() == case["offsets_w_row_col_clip"]


def numbered_frames(count: int, height: int, width: int) -> list[np.ndarray]:
    """Frames whose pixels say where they are: row, column, number of the frame."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    frames[..., 0] = np.arange(height)[:, None]
    frames[..., 1] = np.arange(width)
    frames[..., 2] = np.arange(count)[:, None, None]
    return list(frames)


def test_patches_from_the_centre_of_their_cells():
    # Cells of 10 x 7 pixels: patches start 3 and 1 pixels inside.
    found = fragments(numbered_frames(4, 20, 15), TWO, None)
    assert found.shape == (3, 4, 8, 8)
    rows, columns = [3, 4, 5, 6, 13, 14, 15, 16], [1, 2, 3, 4, 8, 9, 10, 11]
    for frame in range(4):
        assert found[0, frame].tolist() == [[row] * 8 for row in rows]
        assert found[1, frame].tolist() == [columns] * 8
        assert (found[2, frame] == frame).all()


def test_patches_stay_in_place_over_a_segment_and_in_their_cells():
    generator = torch.Generator().manual_seed(0)
    found = fragments(numbered_frames(200, 20, 15), TWO, generator).reshape(3, 100, 2, 8, 8)
    assert (found[:2, :, 0] == found[:2, :, 1]).all()
    corners = found[0, :, 0, ::4, ::4]
    # Uniform over {0 .. 10 - 4 - 1} and {0 .. 7 - 4 - 1} past the cells' corners 0, 10 and 0, 7, for each patch alone.
    assert set(np.unique(corners[:, 0])) == set(range(6))
    assert set(np.unique(corners[:, 1])) == set(range(10, 16))
    lefts = found[1, :, 0, ::4, ::4]
    assert set(np.unique(lefts[:, :, 0])) == set(range(3))
    assert set(np.unique(lefts[:, :, 1])) == set(range(7, 10))
    assert (corners[:, 0, 0] != corners[:, 0, 1]).any()


def test_places_at_test_are_always_the_same():
    frames = numbered_frames(4, 20, 15)
    random = TWO.model_copy(update={"test_offsets": "random"})
    first, again = fragments(frames, random, None), fragments(frames, random, None)
    np.testing.assert_array_equal(first, again)
    other = fragments(frames, random.model_copy(update={"test_seed": 1}), None)
    assert (first != other).any()


def test_a_frame_that_stands_in_several_places_is_read_where_it_is():
    frames = numbered_frames(2, 20, 15)
    found = fragments([frames[1], frames[0], frames[1], frames[1]], TWO, None)
    assert found[2, :, 0, 0].tolist() == [1, 0, 1, 1]


def check_truncated(found: np.ndarray, expected: torch.Tensor) -> None:
    """Whole numbers below the expected ones, where float32 may have rounded to either side of one."""
    assert np.abs(found - np.floor(expected.numpy())).max() <= 1
    np.testing.assert_allclose(found, expected - 0.5, atol=0.501)


def test_small_frames_are_enlarged_first():
    """Against torch's resize of the whole frame, from which patches are then cut."""
    frames = list(golden_frames(3, [2, 6, 5, 3]))
    pixels = torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2) / 255
    # 6 x 5 to cover 8 x 8: by 8 / 5 to 10 x 8, so cells of 5 x 4 with patches at rows 0 and 5, columns 0 and 4.
    large = functional.interpolate(pixels, size=(10, 8), mode="bilinear") * 255
    check_truncated(fragments(frames, TWO, None), large[:, :, [0, 1, 2, 3, 5, 6, 7, 8]])


def test_small_frames_as_the_release_cuts_them():
    frames = list(golden_frames(3, [2, 6, 5, 3]))
    pixels = torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2) / 255
    # The cells are those of 6 x 5: 3 x 2 pixels, patches at rows 0 and 6 - 4 = 2, columns 0 and 5 - 4 = 1.
    large = functional.interpolate(pixels, scale_factor=8 / 5, mode="bilinear") * 255
    expected = large[:, :, [0, 1, 2, 3, 2, 3, 4, 5]][..., [0, 1, 2, 3, 1, 2, 3, 4]]
    check_truncated(fragments(frames, TWO.model_copy(update={"small_frames": "release"}), None), expected)


def test_flat_frames_stay_flat_when_they_are_enlarged():
    frames = [np.full((30, 41, 3), value, np.uint8) for value in (255, 128)] * 3
    found = fragments(frames, SMALL.sampling, None)
    assert found.shape == (3, 6, 128, 128)
    # Truncation may take one off where float32 rounds down.
    assert set(np.unique(found[:, ::2])) <= {254, 255}
    assert set(np.unique(found[:, 1::2])) <= {127, 128}


def test_one_pixel_and_one_frame():
    found = fragments([np.full((1, 1, 3), 7, np.uint8)] * 2, TWO, None)
    assert set(np.unique(found)) <= {6, 7}


@pytest.mark.parametrize(
    ("frames", "sampling", "words"),
    [
        ([], TWO, "frames have the shapes none; needed"),
        (numbered_frames(3, 20, 15), TWO, r"3 frames are no whole segments of 2 \(segment_frames\)"),
        ([*numbered_frames(1, 20, 15), *numbered_frames(1, 20, 16)], TWO, r"\(20, 15, 3\), \(20, 16, 3\); needed"),
        ([frame[..., 0] for frame in numbered_frames(2, 9, 9)], TWO, r"the shapes \(9, 9\); needed: \(H, W, 3\)"),
        ([frame / 255 for frame in numbered_frames(2, 9, 9)], TWO, "frames are float64; needed: uint8"),
        (
            numbered_frames(32, 31, 99),
            RELEASE,
            "31 x 99 pixels are smaller than a patch of 32; small_frames: enlarged takes them",
        ),
    ],
)
def test_frames_that_cannot_be_cut(frames, sampling, words):
    with pytest.raises(FragmentSamplingError, match=words):
        fragments(frames, sampling, None)


def test_offsets_of_the_centre():
    places = centred_offsets(20, 15, TWO, segments=3)
    assert len(places) == 3
    assert places[0].rows.tolist() == [[3, 3], [3, 3]]
    assert places[0].columns.tolist() == [[1, 1], [1, 1]]
    # Cells smaller than a patch leave no room.
    assert centred_offsets(7, 6, TWO, segments=1)[0].rows.tolist() == [[0, 0], [0, 0]]


def test_pixels_are_normalised_by_channel():
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(2, 3, 1, 1, 2)
    # -123.675 / 58.395, (128 - 116.28) / 57.12, (255 - 103.53) / 57.375.
    expected = torch.tensor([-2.117904, 0.205182, 2.640000]).view(3, 1, 1, 1).expand(2, 3, 1, 1, 2)
    torch.testing.assert_close(normalised(pixels), expected, atol=1e-6, rtol=0)
