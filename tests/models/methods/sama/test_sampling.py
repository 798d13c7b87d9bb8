"""SAMA's frames, scales, places and pixels against golden values, and by hand."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.methods.fast_vqa.clips import FragmentSamplingError, clip_indices, part_choices, part_starts
from models.methods.fast_vqa.config import SAMPLING_B
from models.methods.fast_vqa.sampling import fragments
from models.methods.sama.config import PUBLISHED
from models.methods.sama.sampling import (
    CellShares,
    centred_shares,
    cut_scaled,
    drawn_shares,
    frame_indices,
    full_size_mask,
    pair_scales,
    pair_sizes,
    scaled_fragments,
    scaled_places,
)
from tests.models.methods.fast_vqa.golden import golden_frames, sha256
from tests.models.methods.sama.golden import GOLDEN

SAMPLING = PUBLISHED.sampling
CASES = [case for case in GOLDEN["sampling"] if case["mode"] != "fragments"]
FRAGMENTS = [case for case in GOLDEN["sampling"] if case["mode"] == "fragments"]
# Two patches of 4 pixels per axis, a clip of two pairs.
TWO = SAMPLING.model_copy(update={"grid": 2, "patch_px": 4, "clip_frames": 4})


def case_name(case):
    return "-".join([case["mode"], *map(str, case["frames_shape_CxTxHxW"]), "train" if case["train"] else "test"])


def case_frames(case):
    pixels = golden_frames(case["frames_seed"], case["frames_shape_CxTxHxW"])
    assert sha256(pixels) == case["input_sha256"], "another generator makes other frames"
    return list(pixels.transpose(1, 2, 3, 0))


def case_generator(case):
    return torch.Generator().manual_seed(case["torch_seed"]) if case["train"] else None


def check_pixels(found, case, *, atol):
    chosen = np.array(case["pixels_c_t_y_x_value"])
    np.testing.assert_allclose(found[tuple(chosen[:, :4].T.astype(int))].astype(float), chosen[:, 4], atol=atol)
    pairs = found[:, :32].reshape(3, 16, 2, 224, 224).astype(np.float64)
    np.testing.assert_allclose(pairs.mean(axis=(0, 2, 3, 4)), case["mean_of_first_16_pairs"], rtol=1e-4)
    np.testing.assert_allclose(pairs.std(axis=(0, 2, 3, 4)), case["std_of_first_16_pairs"], rtol=1e-4)
    assert found.mean(dtype=np.float64) == pytest.approx(case["mean"], rel=1e-4)


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_golden_pixels(case):
    sampling = SAMPLING.model_copy(update={"mode": case["mode"]})
    # 2e-2 of 255 is the golden file's tolerance: float32 places of the resize in another order.
    check_pixels(scaled_fragments(case_frames(case), sampling, case_generator(case)), case, atol=2e-2)


@pytest.mark.parametrize("case", [case for case in CASES if "pair_hw" in case], ids=case_name)
def test_golden_sizes_and_places(case):
    _, n_frames, height, width = case["frames_shape_CxTxHxW"]
    clips = n_frames // 32
    sizes = pair_sizes(height, width, SAMPLING)
    assert [list(size) for size in sizes] == case["pair_hw"]
    shares = centred_shares(SAMPLING, clips=clips)
    if case["train"]:
        shares = drawn_shares(SAMPLING, clips=clips, generator=case_generator(case))
    for pair, expected in case["patch_origin_of_pair"].items():
        places = scaled_places(sizes[int(pair)], shares, clip=0, patch_px=32)
        # At test the file has one number for each row and each column of the grid.
        rows, columns = np.array(expected["rows"]), np.array(expected["cols"])
        np.testing.assert_array_equal(places.rows, rows if case["train"] else np.tile(rows[:, None], 7))
        np.testing.assert_array_equal(places.columns, columns if case["train"] else np.tile(columns, (7, 1)))


@pytest.mark.parametrize("case", FRAGMENTS, ids=case_name)
def test_golden_fragments_without_scales(case):
    """SAMA's version of FAST-VQA's fragments, with centres at test and small frames enlarged, is our default there."""
    found = fragments(case_frames(case), SAMPLING_B, case_generator(case))
    small = min(case["frames_shape_CxTxHxW"][2:]) < 224
    check_pixels(found, case, atol=1 if small else 0)
    assert small or sha256(found) == case["output_uint8_sha256"]


@pytest.mark.parametrize(
    "row", GOLDEN["temporal_clips_train_n_seed_starts_last_clip"], ids=lambda row: "-".join(map(str, row[:4]))
)
def test_golden_clips(row):
    clips, train, n_frames, seed, starts, last_clip = row
    if train:
        choices = part_choices(n_frames, parts=clips, span=64)
        # The public code draws with NumPy's old generator.
        shifts = np.random.RandomState(seed).randint(0, choices, size=clips).tolist()
        found = part_starts(n_frames, shifts=shifts)
        indices = clip_indices(found, clip_frames=32, interval=2, n_frames=n_frames, past_end="last")
    else:
        indices = frame_indices(n_frames, SAMPLING.model_copy(update={"test_clips": clips}), None)
        found = indices[::32]
    assert found == starts
    last = indices[-32:]
    assert [last[0], last[16], last[-1]] == last_clip


def test_a_training_clip_starts_anywhere_that_it_may():
    generator = torch.Generator().manual_seed(0)
    found = {tuple(frame_indices(67, SAMPLING, generator)) for _ in range(60)}
    # 67 - 64 = 3 places, the last possible one left out as the public code does.
    assert found == {tuple(range(start, start + 64, 2)) for start in range(3)}


@pytest.mark.parametrize("generator", [None, torch.Generator().manual_seed(0)])
def test_one_frame_is_all_frames(generator):
    assert frame_indices(1, SAMPLING, generator) == [0] * 32 * (4 if generator is None else 1)
    with pytest.raises(FragmentSamplingError, match="the video has 0 frames"):
        frame_indices(0, SAMPLING, generator)


def test_scales_by_hand():
    # 1 to 1 / 2 in steps of 1/6, in turn, and twice in one step.
    assert pair_scales(2, pairs=4, mode="sama") == pytest.approx([1, 5 / 6, 2 / 3, 1 / 2])
    assert pair_scales(2, pairs=4, mode="sama-c") == [1, 0.5, 1, 0.5]
    assert pair_scales(2, pairs=4, mode="sama-mix") == [1, 0.5, 1, 0.5]
    assert pair_scales(2, pairs=6, mode="sama-mix") == [1, 0.75, 0.5, 1, 0.75, 0.5]
    assert pair_scales(0.5, pairs=2, mode="sama-c") == [1, 1]


@pytest.mark.parametrize(("height", "width"), [(24, 20), (8, 30), (5, 6)], ids=["large", "flat", "small"])
def test_pixels_are_those_of_the_resized_frame(height, width):
    """Against torch's resize of the whole frame, pair by pair, and patches cut from it."""
    frames = list(golden_frames(5, [8, height, width, 3]))
    found = scaled_fragments(frames, TWO, torch.Generator().manual_seed(2))
    shares = drawn_shares(TWO, clips=2, generator=torch.Generator().manual_seed(2))
    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float()
    for clip, pair in itertools.product(range(2), range(2)):
        size = pair_sizes(height, width, TWO)[pair]
        first = 4 * clip + 2 * pair
        resized = functional.interpolate(pixels[first : first + 2], size=size, mode="bilinear")
        for row, column in itertools.product(range(2), range(2)):
            top = row * (size[0] // 2) + int(shares.rows[row, column, clip] * (size[0] // 2 - 4))
            left = column * (size[1] // 2) + int(shares.columns[row, column, clip] * (size[1] // 2 - 4))
            patch = found[:, first : first + 2, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            expected = resized[:, :, top : top + 4, left : left + 4].transpose(0, 1)
            np.testing.assert_allclose(patch, expected, atol=1e-3)


def test_masks_show_the_full_size():
    blocks = full_size_mask("sama-spm", TWO)
    assert blocks is not None
    # Blocks of 8 x 8 in quarters of 4 x 4; with patches of 4 the mask by patches is the same.
    assert blocks[::4, ::4].tolist() == [[True, False], [False, True]]
    np.testing.assert_array_equal(blocks, np.kron(blocks[::4, ::4], np.ones((4, 4), bool)))
    np.testing.assert_array_equal(blocks, full_size_mask("sama-swm", TWO))
    wide = full_size_mask("sama-swm", SAMPLING)
    assert wide is not None
    assert wide[::32, ::32].tolist() == [[(row + column) % 2 == 0 for column in range(7)] for row in range(7)]
    assert full_size_mask("sama", TWO) is None


def test_the_full_size_has_the_places_of_the_first_clip():
    frames = list(golden_frames(5, [8, 24, 20, 3]))
    shares = drawn_shares(TWO, clips=2, generator=torch.Generator().manual_seed(2))
    masked = cut_scaled(frames, TWO.model_copy(update={"mode": "sama-swm"}), shares)
    scaled = cut_scaled(frames, TWO, shares)
    first = CellShares(*(np.repeat(share[..., :1], 2, axis=-1) for share in shares))
    full = cut_scaled(frames, TWO.model_copy(update={"mode": "sama-c"}), first)
    # The second clip's first pair is at full size: in the mask at the first clip's places, elsewhere at its own.
    np.testing.assert_array_equal(masked[:, 4:6, :4, :4], full[:, 4:6, :4, :4])
    np.testing.assert_array_equal(masked[:, 4:6, :4, 4:], scaled[:, 4:6, :4, 4:])
    assert (masked[:, 4:6, :4, :4] != scaled[:, 4:6, :4, :4]).any()


@pytest.mark.parametrize("count", [0, 3, 6])
def test_frames_that_are_no_clips(count):
    frames = [np.zeros((9, 9, 3), np.uint8)] * count
    with pytest.raises(FragmentSamplingError, match=f"{count} frames are no whole clips of 4"):
        scaled_fragments(frames, TWO, None)


def test_one_pixel():
    found = scaled_fragments([np.full((1, 1, 3), 7, np.uint8)] * 4, TWO, None)
    np.testing.assert_allclose(found, np.full((3, 4, 8, 8), 7), atol=1e-4)
