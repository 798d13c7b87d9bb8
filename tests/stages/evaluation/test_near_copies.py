"""Perceptual hashes: copies in other bytes are near, other pictures are not."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.evaluation.near_copies import BLOCK, MAX_BITS, N_FRAMES, evenly_spaced, first_near_copies, frame_hash


def scene(seed: int, height: int = 240, width: int = 320) -> NDArray[np.uint8]:
    """Smooth random colours, such as a blurred photo has."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def n_bits(first: int, second: int) -> int:
    return (first ^ second).bit_count()


@pytest.mark.parametrize("seed", range(5))
def test_a_smaller_recoded_copy_is_near_and_another_scene_is_not(seed: int) -> None:
    frame = scene(seed)
    done, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 20])
    assert done
    coded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    copies = [
        np.asarray(cv2.resize(coded, (160, 120), interpolation=cv2.INTER_AREA), dtype=np.uint8),
        np.clip(coded.astype(int) + 6, 0, 255).astype(np.uint8),
    ]
    for copy in copies:
        assert n_bits(frame_hash(frame), frame_hash(copy)) <= MAX_BITS
    assert n_bits(frame_hash(frame), frame_hash(scene(seed + 100))) > 2 * MAX_BITS


def test_a_hash_has_64_bits_half_of_them_set() -> None:
    value = frame_hash(scene(3))
    assert 0 <= value < 2**64
    assert value.bit_count() == 32  # signs against the median


def test_evenly_spaced_frames_keep_both_ends_and_short_videos_repeat() -> None:
    assert evenly_spaced(list(range(15))) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert evenly_spaced([5]) == [5] * N_FRAMES


def test_the_first_video_that_shows_the_same_is_named() -> None:
    """Bits by hand: a mean of MAX_BITS a frame is near, one bit more in all is not."""
    base = np.zeros(N_FRAMES, dtype=np.uint64)
    near = np.full(N_FRAMES, 2**MAX_BITS - 1, dtype=np.uint64)
    far = near.copy()
    far[0] |= np.uint64(1 << 63)
    other = np.full(N_FRAMES, 2**40 - 1, dtype=np.uint64)
    # `far` is one bit from `near` and comes before it, but `near` meets `base` first.
    table = np.stack([base, other, far, near, *[other] * BLOCK, base, far])
    assert first_near_copies(table).tolist() == [-1, -1, -1, 0, *[1] * BLOCK, 0, 2]


def test_the_middle_frame_has_a_bound_of_its_own() -> None:
    table = np.zeros((3, N_FRAMES), dtype=np.uint64)
    table[1, N_FRAMES // 2] = 2**17 - 1
    table[2, 0] = 2**17 - 1
    assert first_near_copies(table).tolist() == [-1, -1, 0]


def test_no_videos_are_no_copies() -> None:
    assert first_near_copies(np.empty((0, N_FRAMES), dtype=np.uint64)).tolist() == []
