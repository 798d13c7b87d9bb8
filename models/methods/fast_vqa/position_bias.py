"""Windows of a Video-Swin and what attention adds inside them: position bias, its gate, and the mask of shifts.

Source: FAST-VQA (arXiv 2207.02595, section 3.3, "gated relative position biases") as its public code computes it,
VQAssessment/FAST-VQA-and-FasterVQA at 9f264e4: the gate is the number of patches between two tokens, not 0 or 1.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.errors import ShapeError
from models.methods.fast_vqa.config import ADAPTIVE_REFERENCE, TOKEN_SIZE

Sizes = tuple[int, int, int]
# Added between tokens that only a roll has made neighbours.
MASKED = -100.0


class Windows(NamedTuple):
    """How the tokens of one block are cut into windows. N = tokens of a window, S = those of one time step of it.

    Attributes:
        size: Of a window, tokens: time, height, width.
        shift: Tokens that the map is rolled by before it is cut.
        padded: Size of the map, tokens, filled up to whole windows.
        rows: (N, N) int64, the row of the bias tables for every pair of tokens.
        gate: (windows of a time step, S, S) int64, patches between two tokens, rows plus columns.
        labels: (windows in time, windows of a time step, N) int64; pairs of unlike labels are masked. None without
            shift.
    """

    size: Sizes
    shift: Sizes
    padded: Sizes
    rows: Tensor
    gate: Tensor
    labels: Tensor | None


def fitted_window(base: Sizes, input_size: Sizes) -> Sizes:
    """The adaptive window: in proportion to the input, at least one token.

    Args:
        base: The window at 32 x 224 x 224, tokens.
        input_size: Frames, rows, columns of the fragments.

    Raises:
        ShapeError: The input is so large that the window outgrows the tables, which hold `base`.
    """
    fitted = [width * size // full for width, size, full in zip(base, input_size, ADAPTIVE_REFERENCE, strict=True)]
    if any(new > old for new, old in zip(fitted, base, strict=True)):
        raise ShapeError(
            f"fragments of {input_size} (frames, rows, columns) would need an attention window of {tuple(fitted)} "
            f"tokens; the tables of position bias hold {base}, which is enough for {ADAPTIVE_REFERENCE}"
        )
    time, height, width = (max(1, size) for size in fitted)
    return time, height, width


def cut_windows(tokens: Sizes, *, window: Sizes, base: Sizes, shifted: bool, device: torch.device) -> Windows:
    """The windows of a block.

    Args:
        tokens: Size of the map, tokens: time, height, width.
        window: As `fitted_window` gives it, or `base`.
        base: The window that the tables are made for; half of it is the shift, whatever `window` is.
        shifted: Whether this is one of the blocks with shifted windows.
        device: Of the tensors.
    """
    # An axis that fits into one window is not shifted.
    size = _sizes(min(have, want) for have, want in zip(tokens, window, strict=True))
    shift = _sizes(
        full // 2 if shifted and have > want else 0 for have, want, full in zip(tokens, window, base, strict=True)
    )
    padded = _sizes(-(-have // want) * want for have, want in zip(tokens, size, strict=True))
    return Windows(
        size=size,
        shift=shift,
        padded=padded,
        rows=table_rows(size, base, device=device),
        gate=_patch_distances(padded, size, shift, device),
        labels=_labels(padded, size, shift, device) if any(shift) else None,
    )


def table_rows(window: Sizes, base: Sizes, *, device: torch.device | None = None) -> Tensor:
    """The row of the bias tables for every pair of tokens of a window, from their distance (query - key).

    Args:
        window: At most `base`.
        base: The window that the tables are made for: they have prod(2 base - 1) rows.
        device: Of the result.

    Returns:
        (N, N) int64, queries x keys.
    """
    axes = [torch.arange(size, device=device) for size in window]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)
    distance = places[:, None] - places[None]
    row = distance[..., 0] + base[0] - 1
    for axis in (1, 2):
        row = row * (2 * base[axis] - 1) + distance[..., axis] + base[axis] - 1
    return row


def gated_bias(across: Tensor, inside: Tensor | None, windows: Windows) -> Tensor:
    """The bias of attention: g R + (1 - g) P, with g patches between the tokens; R alone without P.

    Inside a patch it is P, between neighbouring patches R, two patches away 2 R - P.

    Args:
        across: R, (rows, heads), the table between patches.
        inside: P, (rows, heads), the table inside a patch, or None.
        windows: Of the block.

    Returns:
        (windows of a time step, heads, N, N), for every window in time the same.
    """
    bias = _looked_up(across if inside is None else inside, windows.rows)
    places = len(windows.gate)
    if inside is None:
        return bias.expand(places, -1, -1, -1)
    step = _looked_up(across - inside, windows.rows)
    # The gate knows no time: N = (time, S) on both sides.
    spatial = windows.gate.shape[-1]
    split = (-1, windows.size[0], spatial, windows.size[0], spatial)
    gate = windows.gate[:, None, None, :, None, :].to(bias.dtype)
    return torch.addcmul(bias.view(split), gate, step.view(split)).flatten(2, 3).flatten(3, 4)


def shift_mask(labels: Tensor, *, dtype: torch.dtype) -> Tensor:
    """What is added between tokens of unlike labels: (..., N) int64 -> (..., N, N), 0 or -100."""
    unlike = labels[..., :, None] != labels[..., None, :]
    return unlike.to(dtype) * MASKED


def padded_to_tokens(fragments: Tensor) -> Tensor:
    """(B, C, T, H, W) with zeros at the far ends of T, H, W, up to whole tokens."""
    missing = [-size % token for size, token in zip(fragments.shape[2:], TOKEN_SIZE, strict=True)]
    return functional.pad(fragments, (0, missing[2], 0, missing[1], 0, missing[0])) if any(missing) else fragments


def in_windows(values: Tensor, size: Sizes) -> Tensor:
    """(T, H, W) -> (windows in time, windows of a time step, N), T, H and W whole windows."""
    time, height, width = values.shape
    cut = values.view(time // size[0], size[0], height // size[1], size[1], width // size[2], size[2])
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _sizes(values: Iterable[int]) -> Sizes:
    time, height, width = values
    return time, height, width


def _looked_up(table: Tensor, rows: Tensor) -> Tensor:
    """(rows, heads) and (N, N) -> (heads, N, N)."""
    return table.index_select(0, rows.flatten()).view(*rows.shape, -1).permute(2, 0, 1).contiguous()


def _patch_distances(padded: Sizes, size: Sizes, shift: Sizes, device: torch.device) -> Tensor:
    """Patches between the tokens of each window: a map has as many patches per axis as a window has tokens."""
    height, width = padded[1:]
    rows = torch.arange(height, device=device) // (height // size[1])
    columns = torch.arange(width, device=device) // (width // size[2])
    distance = torch.zeros((), dtype=torch.int64, device=device)
    for numbers in (rows[:, None].expand(height, width), columns[None].expand(height, width)):
        rolled = numbers.roll((-shift[1], -shift[2]), (0, 1))
        cut = in_windows(rolled[None], (1, size[1], size[2]))[0]
        distance = distance + (cut[:, :, None] - cut[:, None, :]).abs()
    return distance


def _labels(padded: Sizes, size: Sizes, shift: Sizes, device: torch.device) -> Tensor:
    """Regions of a rolled map whose tokens were neighbours before: up to three per axis, as Swin's (arXiv 2103.14030).

    Window after window from the start; in the last one the part that the roll has brought from there is its own.
    """
    label = torch.zeros(padded, dtype=torch.int64, device=device)
    for axis in range(3):
        if not shift[axis]:
            continue
        places = torch.arange(padded[axis], device=device)
        regions = (places >= padded[axis] - size[axis]).long() + (places >= padded[axis] - shift[axis]).long()
        shape = [1, 1, 1]
        shape[axis] = padded[axis]
        label = label * 3 + regions.view(shape)
    return in_windows(label, size)
