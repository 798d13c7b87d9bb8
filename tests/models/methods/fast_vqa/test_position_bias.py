"""Windows, their gate and their masks, against numbers by hand and slow loops."""

import itertools

import pytest
import torch

from models.errors import ShapeError
from models.methods.fast_vqa.position_bias import (
    cut_windows,
    fitted_window,
    gated_bias,
    in_windows,
    shift_mask,
    table_rows,
)

CPU = torch.device("cpu")
BASE = (8, 7, 7)


def cut(tokens, window, base, *, shifted):
    return cut_windows(tokens, window=window, base=base, shifted=shifted, device=CPU)


def test_rows_of_the_public_index():
    rows = table_rows(BASE, BASE)
    # Of the buffer in the public checkpoints. ((0 + 7) 13 + 0 + 6) 13 + 0 + 6 = 1267, one less a token further right.
    assert rows.shape == (392, 392)
    assert rows[0, :5].tolist() == [1267, 1266, 1265, 1264, 1263]
    assert rows[391, :3].tolist() == [2534, 2533, 2532]
    assert rows.sum().item() == 194_692_288


def test_rows_of_a_smaller_window_keep_the_strides_of_the_tables():
    full = table_rows(BASE, BASE).view(8, 7, 7, 8, 7, 7)
    assert torch.equal(table_rows((4, 5, 6), BASE).view(4, 5, 6, 4, 5, 6), full[:4, :5, :6, :4, :5, :6])


@pytest.mark.parametrize(
    ("base", "size", "window"),
    [
        (BASE, (32, 224, 224), (8, 7, 7)),
        (BASE, (32, 160, 160), (8, 5, 5)),
        (BASE, (16, 224, 224), (4, 7, 7)),
        (BASE, (32, 192, 192), (8, 6, 6)),
        ((4, 4, 4), (16, 128, 128), (2, 2, 2)),
        # 8 * 2 // 32 and 7 * 30 // 224 are 0.
        (BASE, (2, 30, 64), (1, 1, 2)),
    ],
)
def test_the_adaptive_window(base, size, window):
    assert fitted_window(base, size) == window


def test_an_input_whose_window_outgrows_the_tables():
    with pytest.raises(ShapeError, match=r"\(64, 224, 224\).* window of \(16, 7, 7\) tokens; .* hold \(8, 7, 7\)"):
        fitted_window(BASE, (64, 224, 224))


@pytest.mark.parametrize(
    ("tokens", "window", "base", "size", "shift", "padded"),
    [
        ((16, 56, 56), BASE, BASE, (8, 7, 7), (4, 3, 3), (16, 56, 56)),
        # The last stage: one window in space, which is not shifted there.
        ((16, 7, 7), BASE, BASE, (8, 7, 7), (4, 0, 0), (16, 7, 7)),
        # The window shrinks, the shift does not.
        ((16, 40, 40), (8, 5, 5), BASE, (8, 5, 5), (4, 3, 3), (16, 40, 40)),
        # Filled up to whole windows; what fits into one window is one window.
        ((6, 10, 8), BASE, BASE, (6, 7, 7), (0, 3, 3), (6, 14, 14)),
    ],
)
def test_sizes_and_shifts(tokens, window, base, size, shift, padded):
    shifted, plain = cut(tokens, window, base, shifted=True), cut(tokens, window, base, shifted=False)
    assert (shifted.size, shifted.shift, shifted.padded) == (size, shift, padded)
    assert (plain.size, plain.shift, plain.padded, plain.labels) == (size, (0, 0, 0), padded, None)


def test_windows_in_their_order():
    values = torch.arange(2 * 4 * 6).view(2, 4, 6)
    found = in_windows(values, (1, 2, 3))
    assert found.shape == (2, 4, 6)
    # Time step 1, second window of its first row: rows 0 and 1, columns 3 to 5, from 24.
    assert found[1, 1].tolist() == [27, 28, 29, 33, 34, 35]


@pytest.mark.parametrize("shifted", [False, True])
def test_the_gate_counts_patches(shifted):
    """A slow loop: roll the numbers of the patches as the tokens, cut, add the distances of rows and of columns."""
    tokens, window, base = (4, 6, 12), (2, 3, 3), (4, 4, 4)
    windows = cut(tokens, window, base, shifted=shifted)
    by = 2 if shifted else 0
    assert windows.shift == (by, by, by)
    # As many patches per axis as a window has tokens: 3, of 2 x 4 tokens.
    for number, (top, left) in enumerate(itertools.product((0, 3), (0, 3, 6, 9))):
        places = [((top + r + by) % 6 // 2, (left + c + by) % 12 // 4) for r in range(3) for c in range(3)]
        expected = [[abs(r - s) + abs(c - d) for s, d in places] for r, c in places]
        assert windows.gate[number].tolist() == expected


def test_the_gate_within_unmasked_pairs_of_the_published_stages():
    # 2 in the first stage (8 x 8 tokens a patch), 4 in the second, 6 in the third.
    for tokens, most in ((56, 2), (28, 4), (14, 6)):
        windows = cut((16, tokens, tokens), BASE, BASE, shifted=True)
        assert windows.labels is not None
        spatial = windows.labels[0].view(-1, 8, 49)[:, 0]
        together = spatial[:, :, None] == spatial[:, None]
        assert windows.gate[together].max().item() == most


def test_the_bias_between_and_inside_patches():
    windows = cut((1, 2, 4), (1, 2, 2), (1, 2, 2), shifted=False)
    # Patches of 1 x 2 tokens: in the first window both columns are of patch column 0, its rows are two patches.
    assert windows.gate[0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    across, inside = torch.arange(9.0)[:, None], 100 + torch.arange(9.0)[:, None]
    bias = gated_bias(across, inside, windows)
    rows = table_rows((1, 2, 2), (1, 2, 2))
    assert bias.shape == (2, 1, 4, 4)
    assert bias[0, 0].tolist() == torch.where(windows.gate[0] == 1, rows, 100 + rows).tolist()
    # Two patches away: 2 R - P, and so on.
    far = windows._replace(gate=torch.full((1, 4, 4), 3))
    assert gated_bias(across, inside, far)[0, 0].tolist() == (3 * rows - 2 * (100 + rows)).tolist()
    assert torch.equal(gated_bias(across, None, windows), rows.expand(2, 1, 4, 4).float())


@pytest.mark.parametrize(
    ("tokens", "window", "base"),
    [((4, 6, 9), (2, 3, 3), (2, 3, 3)), ((8, 8, 8), (4, 3, 3), (8, 7, 7)), ((4, 4, 6), (2, 2, 2), (4, 4, 4))],
)
def test_only_neighbours_from_before_the_roll_see_each_other(tokens, window, base):
    windows = cut(tokens, window, base, shifted=True)
    mask = shift_mask(windows.labels, dtype=torch.float32)
    assert set(mask.unique().tolist()) <= {-100.0, 0.0}
    padded, shift = windows.padded, windows.shift
    axes = [torch.arange(size) for size in padded]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    rolled = places.roll([-by for by in shift], (0, 1, 2))
    cuts = torch.stack([in_windows(rolled[..., axis].contiguous(), windows.size) for axis in range(3)], dim=-1)
    # In a window after the roll, tokens that were further apart than a window before have met around the border.
    distance = (cuts[..., :, None, :] - cuts[..., None, :, :]).abs()
    apart = (distance >= torch.tensor(windows.size)).any(dim=-1)
    assert torch.equal(mask == -100, apart)
