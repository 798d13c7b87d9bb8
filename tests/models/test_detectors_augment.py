"""Changes to training frames."""

import numpy as np

from models.detectors.augment import jitter_color, mirror


def test_mirror_moves_boxes_with_their_pixels() -> None:
    frame = np.zeros((4, 10, 3), np.uint8)
    frame[1:3, 2:5] = 200
    mirrored, boxes = mirror(frame, np.array([[2, 1, 5, 3]], np.float32))
    # Columns 2, 3, 4 of ten become 7, 6, 5: the box ends at 10 - 2 = 8 and begins at 10 - 5 = 5.
    assert boxes.tolist() == [[5, 1, 8, 3]]
    assert boxes.dtype == np.float32
    assert (mirrored[1:3, 5:8] == 200).all()
    assert mirrored.astype(int).sum() == frame.astype(int).sum()
    back, again = mirror(mirrored, boxes)
    assert np.array_equal(back, frame)
    assert again.tolist() == [[2, 1, 5, 3]]


def test_mirror_without_boxes() -> None:
    _, boxes = mirror(np.zeros((2, 2, 3), np.uint8), np.zeros((0, 4), np.float32))
    assert boxes.shape == (0, 4)


def test_no_strength_changes_nothing() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    assert np.array_equal(jitter_color(frame, 0.0, np.random.default_rng(1)), frame)


def test_a_grey_frame_of_one_level_only_changes_brightness() -> None:
    frame = np.full((3, 3, 3), 100, np.uint8)
    factor = np.random.default_rng(7).uniform(0.7, 1.3, 3)[0]
    # Contrast has nothing to spread and saturation nothing to colour.
    assert (jitter_color(frame, 0.3, np.random.default_rng(7)) == round(100 * factor)).all()


def test_same_stream_same_result_within_the_range_of_bytes() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    first, again, other = (jitter_color(frame, 0.5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    # No wrap-around: a brightened white stays white.
    assert (jitter_color(np.full((2, 2, 3), 255, np.uint8), 0.0, np.random.default_rng(1)) == 255).all()
