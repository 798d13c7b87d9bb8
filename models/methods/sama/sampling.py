"""SAMA's input: fragments in which every pair of frames comes from a smaller version of the video, and its masks.

Source: arXiv 2401.02614 and facts about Sissuire/SAMA at 38c02bf (its code is for education and research only; nothing
here is taken from it). The public drivers reach `sama` alone, which is what the released weights are trained on.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ShapeError
from models.methods.fast_vqa.clips import FragmentSamplingError, clip_indices, part_choices, part_starts
from models.methods.fast_vqa.config import TOKEN_SIZE
from models.methods.fast_vqa.patches import PatchPlaces, Picture, ResizedPatches, Resizing, frame_size, placed
from models.methods.sama.config import Mode, ScaledSampling

PAIR = TOKEN_SIZE[0]
# Side of the blocks that a mask in patches is made of: half of each comes from the frames at full size.
BLOCK_PX = 8
CENTRE = 0.5


class CellShares(NamedTuple):
    """Where patches lie in their cells, as a share of the room that they have there, 0 to 1; all scales have the same.

    Attributes:
        rows: (grid, grid, clips) float32.
        columns: (grid, grid, clips) float32.
    """

    rows: NDArray[np.float32]
    columns: NDArray[np.float32]


def frame_indices(n_frames: int, sampling: ScaledSampling, generator: torch.Generator | None) -> list[int]:
    """The frames that SAMA sees of a video.

    Args:
        n_frames: Of the video.
        sampling: Of the method.
        generator: Of the training's random numbers: one clip. None: the clips of the test, each in the middle of its
            part.

    Returns:
        clips * clip_frames decoded indices, one clip after the other; the last frame stands for those past the end.

    Raises:
        FragmentSamplingError: The video has no frame.
    """
    if generator is None:
        clips = sampling.test_clips
        shifts = [max(0, n_frames // clips - sampling.span) // 2] * clips
    else:
        choices = part_choices(n_frames, parts=1, span=sampling.span)
        shifts = torch.randint(choices, (1,), generator=generator).tolist()
    return clip_indices(
        part_starts(n_frames, shifts=shifts),
        clip_frames=sampling.clip_frames,
        interval=sampling.interval,
        n_frames=n_frames,
        past_end="last",
    )


def scaled_fragments(
    frames: Sequence[Picture], sampling: ScaledSampling, generator: torch.Generator | None
) -> NDArray[np.float32]:
    """The fragments of clips.

    Args:
        frames: Of the clips, one after the other, (H, W, 3) uint8 RGB of one size; whole clips.
        sampling: Of the method.
        generator: Of the training's random numbers; None: every patch in the middle of its cell.

    Returns:
        (3, frames, side, side) float32, 0..255.

    Raises:
        FragmentSamplingError: Frames are none, of several sizes, of another type, or no whole clips.
    """
    clips = _clips(frames, sampling)
    shares = centred_shares(sampling, clips=clips)
    if generator is not None:
        shares = drawn_shares(sampling, clips=clips, generator=generator)
    return cut_scaled(frames, sampling, shares)


def cut_scaled(frames: Sequence[Picture], sampling: ScaledSampling, shares: CellShares) -> NDArray[np.float32]:
    """The fragments of clips at given places.

    Args:
        frames: As for `scaled_fragments`.
        sampling: Of the method.
        shares: Where patches lie in their cells.

    Returns:
        (3, frames, side, side) float32, 0..255.

    Raises:
        FragmentSamplingError: As `scaled_fragments` does.
    """
    clips = _clips(frames, sampling)
    sizes = pair_sizes(*frame_size(frames), sampling)
    # Only the pixels of patches are computed: resized frames of a whole video are gigabytes.
    cut = np.empty((3, len(frames), sampling.side_px, sampling.side_px), np.float32)
    views = cut.transpose(1, 2, 3, 0)
    mask = full_size_mask(sampling.mode, sampling)
    # Masks show the full size at the places of the first clip, in all clips.
    full = None if mask is None else _patches(frames, sizes[0], shares, clip=0, sampling=sampling)
    for clip in range(clips):
        for pair, size in enumerate(sizes):
            patches = _patches(frames, size, shares, clip=clip, sampling=sampling)
            first = clip * sampling.clip_frames + PAIR * pair
            for number in range(first, first + PAIR):
                views[number] = patches.of(frames[number])
                if full is not None:
                    views[number][mask] = full.of(frames[number])[mask]
    return cut


def pair_scales(ratio: float, *, pairs: int, mode: Mode) -> list[float]:
    """The scale of every pair of frames of a clip.

    Args:
        ratio: Short side of the frame over the side of the fragments; below 1 the frame is enlarged and all scales
            are 1.
        pairs: Of a clip.
        mode: Of the sampling.
    """
    if ratio < 1:
        return [1.0] * pairs
    if mode == "sama-c":
        return [1.0, 1 / ratio] * (pairs // 2)
    if mode == "sama-mix":
        return [float(scale) for scale in np.linspace(1, 1 / ratio, pairs // 2)] * 2
    return [float(scale) for scale in np.linspace(1, 1 / ratio, pairs)]


def pair_sizes(height: int, width: int, sampling: ScaledSampling) -> list[tuple[int, int]]:
    """Height and width of the resized frames of every pair of a clip, pixels.

    Args:
        height: Of the frames.
        width: Of the frames.
        sampling: Of the method.
    """
    ratio = min(height / sampling.side_px, width / sampling.side_px)
    if ratio < 1:
        height, width = round(height / ratio), round(width / ratio)
    scales = pair_scales(ratio, pairs=sampling.clip_frames // PAIR, mode=sampling.mode)
    return [(round(height * scale), round(width * scale)) for scale in scales]


def scaled_places(size: tuple[int, int], shares: CellShares, *, clip: int, patch_px: int) -> PatchPlaces:
    """The patches in a resized frame.

    Args:
        size: Its height and width, pixels.
        shares: Where patches lie in their cells.
        clip: Number of the clip.
        patch_px: Side of a patch.
    """
    grid = len(shares.rows)
    offsets = [
        (share[..., clip] * np.float32(side // grid - patch_px)).astype(np.int64)
        for share, side in zip(shares, size, strict=True)
    ]
    return placed(*size, PatchPlaces(*offsets), patch_px=patch_px)


def drawn_shares(sampling: ScaledSampling, *, clips: int, generator: torch.Generator) -> CellShares:
    """Random places, drawn in the release's order: all vertical ones, then all horizontal.

    Args:
        sampling: Of the method.
        clips: How many.
        generator: Torch's, on the CPU.
    """
    shape = (sampling.grid, sampling.grid, clips)
    return CellShares(*(torch.rand(shape, generator=generator).numpy() for _ in range(2)))


def centred_shares(sampling: ScaledSampling, *, clips: int) -> CellShares:
    """Every patch in the middle of its cell.

    Args:
        sampling: Of the method.
        clips: How many.
    """
    middle = np.full((sampling.grid, sampling.grid, clips), CENTRE, np.float32)
    return CellShares(middle, middle)


def full_size_mask(mode: Mode, sampling: ScaledSampling) -> NDArray[np.bool_] | None:
    """Which pixels of the fragments come from the frames at full size.

    Args:
        mode: Of the sampling.
        sampling: Of the method.

    Returns:
        (side, side), or None without a mask. sama-spm: the upper left and the lower right quarter of every block of
        8 x 8. sama-swm: the patches whose row and column add up to an even number.
    """
    cell = {"sama-spm": BLOCK_PX // 2, "sama-swm": sampling.patch_px}.get(mode)
    if cell is None:
        return None
    numbers = np.arange(sampling.side_px) // cell
    mask: NDArray[np.bool_] = (numbers[:, None] + numbers[None]) % 2 == 0
    return mask


def training_score(quality_map: Tensor) -> Tensor:
    """The score that SAMA learns by: the mean over a frame's places, summed over time.

    At test it is the mean over all. The correlation loss sees no difference, the rank loss weighs more.

    Args:
        quality_map: (B, 1, t, h, w).

    Returns:
        (B,).

    Raises:
        ShapeError: The map has another shape.
    """
    if quality_map.ndim != 5 or quality_map.shape[1] != 1:
        raise ShapeError(f"the quality map has shape {tuple(quality_map.shape)}; needed: (B, 1, t, h, w)")
    return quality_map.mean(dim=(3, 4)).sum(dim=(1, 2))


def _clips(frames: Sequence[Picture], sampling: ScaledSampling) -> int:
    clips, rest = divmod(len(frames), sampling.clip_frames)
    if rest or not clips:
        raise FragmentSamplingError(f"{len(frames)} frames are no whole clips of {sampling.clip_frames} (clip_frames)")
    return clips


def _patches(
    frames: Sequence[Picture], size: tuple[int, int], shares: CellShares, *, clip: int, sampling: ScaledSampling
) -> ResizedPatches:
    height, width = frame_size(frames[:1])
    return ResizedPatches(
        height,
        width,
        scaled_places(size, shares, clip=clip, patch_px=sampling.patch_px),
        resizing=Resizing(height / size[0], width / size[1]),
        patch_px=sampling.patch_px,
    )
