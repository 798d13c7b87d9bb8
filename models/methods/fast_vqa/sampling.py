"""FAST-VQA's fragments: patches of raw pixels from the cells of a grid, side by side, in one place over a segment.

Source: arXiv 2207.02595, section 3.1, and facts about VQAssessment/FAST-VQA-and-FasterVQA at 9f264e4. What the release
does to frames below the grid's size (`small_frames: release`) shows only their upper left part, in patches that
overlap; `enlarged` is the repair that SAMA's code has too.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from models.methods.fast_vqa.clips import FragmentSamplingError
from models.methods.fast_vqa.config import FragmentSampling
from models.methods.fast_vqa.patches import (
    PatchPlaces,
    Picture,
    ResizedPatches,
    Resizing,
    copy_patches,
    frame_size,
    placed,
)


def fragments(
    frames: Sequence[Picture], sampling: FragmentSampling, generator: torch.Generator | None
) -> NDArray[np.uint8]:
    """The fragments of clips.

    Args:
        frames: Of the clips, one after the other, (H, W, 3) uint8 RGB of one size; whole segments. The same array may
            stand in several places.
        sampling: Of the method.
        generator: Of the training's random numbers; None: the patches of the test, always the same.

    Returns:
        (3, frames, side, side) uint8.

    Raises:
        FragmentSamplingError: Frames are none, of several sizes, of another type, no whole segments, or, as the
            release would cut them, smaller than a patch.
    """
    height, width = frame_size(frames)
    if len(frames) % sampling.segment_frames:
        raise FragmentSamplingError(
            f"{len(frames)} frames are no whole segments of {sampling.segment_frames} (segment_frames)"
        )
    grid_height, grid_width, _ = enlargement(height, width, sampling)
    segments = len(frames) // sampling.segment_frames
    if generator is not None or sampling.test_offsets == "random":
        random = torch.Generator().manual_seed(sampling.test_seed) if generator is None else generator
        offsets = drawn_offsets(grid_height, grid_width, sampling, segments=segments, generator=random)
    else:
        offsets = centred_offsets(grid_height, grid_width, sampling, segments=segments)
    return cut_fragments(frames, sampling, offsets)


def cut_fragments(
    frames: Sequence[Picture], sampling: FragmentSampling, offsets: Sequence[PatchPlaces]
) -> NDArray[np.uint8]:
    """The fragments of clips at given places.

    Args:
        frames: As for `fragments`.
        sampling: Of the method.
        offsets: For each segment, of the patches inside their cells.

    Returns:
        (3, frames, side, side) uint8.

    Raises:
        FragmentSamplingError: As `fragments` does.
    """
    height, width = frame_size(frames)
    grid_height, grid_width, resizing = enlargement(height, width, sampling)
    cut = np.empty((3, len(frames), sampling.side_px, sampling.side_px), np.uint8)
    # Each patch is written straight to its place in the channels-first result: no frame is copied whole.
    views = cut.transpose(1, 2, 3, 0)
    patch_px = sampling.patch_px
    for segment, of_segment in enumerate(offsets):
        places = placed(grid_height, grid_width, of_segment, patch_px=patch_px)
        first = segment * sampling.segment_frames
        numbers = range(first, first + sampling.segment_frames)
        if resizing is None:
            for number in numbers:
                copy_patches(frames[number], places, patch_px=patch_px, out=views[number])
        else:
            patches = ResizedPatches(height, width, places, resizing=resizing, patch_px=patch_px)
            for number in numbers:
                views[number] = patches.of(frames[number]).astype(np.uint8)
    return cut


def enlargement(height: int, width: int, sampling: FragmentSampling) -> tuple[int, int, Resizing | None]:
    """The frame that the grid is laid over.

    Args:
        height: Of the frames, pixels.
        width: Of the frames, pixels.
        sampling: Of the method.

    Returns:
        Height and width of the grid's frame, and how the frames become it; None where they are large enough.

    Raises:
        FragmentSamplingError: As the release would cut them, frames are smaller than a patch.
    """
    ratio = min(height / sampling.side_px, width / sampling.side_px)
    if ratio >= 1:
        return height, width, None
    if sampling.small_frames == "release":
        if min(height, width) < sampling.patch_px:
            raise FragmentSamplingError(
                f"frames of {height} x {width} pixels are smaller than a patch of {sampling.patch_px}; "
                "small_frames: enlarged takes them"
            )
        return height, width, Resizing(1 / (1 / ratio), 1 / (1 / ratio))
    grid_height, grid_width = round(height / ratio), round(width / ratio)
    return grid_height, grid_width, Resizing(height / grid_height, width / grid_width)


def drawn_offsets(
    height: int, width: int, sampling: FragmentSampling, *, segments: int, generator: torch.Generator
) -> list[PatchPlaces]:
    """Random places of patches in their cells, drawn in the release's order: all vertical ones, then all horizontal.

    Args:
        height: Of the grid's frame, pixels.
        width: Of the grid's frame, pixels.
        sampling: Of the method.
        segments: How many.
        generator: Torch's, on the CPU. Nothing is drawn for an axis whose cells are no larger than a patch.

    Returns:
        One for each segment.
    """
    shape = (sampling.grid, sampling.grid, segments)
    by_axis = []
    for size in (height, width):
        slack = _slack(size, sampling)
        drawn = torch.randint(slack, shape, generator=generator) if slack else torch.zeros(shape, dtype=torch.int64)
        by_axis.append(drawn.numpy())
    return [PatchPlaces(by_axis[0][..., segment], by_axis[1][..., segment]) for segment in range(segments)]


def centred_offsets(height: int, width: int, sampling: FragmentSampling, *, segments: int) -> list[PatchPlaces]:
    """Every patch in the middle of its cell, as SAMA's code cuts fragments at test.

    Args:
        height: Of the grid's frame, pixels.
        width: Of the grid's frame, pixels.
        sampling: Of the method.
        segments: How many.

    Returns:
        One for each segment.
    """
    shape = (sampling.grid, sampling.grid)
    middle = PatchPlaces(*(np.full(shape, _slack(size, sampling) // 2) for size in (height, width)))
    return [middle] * segments


def _slack(size_px: int, sampling: FragmentSampling) -> int:
    """Pixels that a cell is larger than a patch."""
    return max(0, size_px // sampling.grid - sampling.patch_px)
