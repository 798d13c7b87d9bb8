"""Changes to training frames."""

import numpy as np
import pytest
import torch

from stages.training.loaders.augment import jitter_color, mirror, mirror_clips, zoom


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


def test_only_the_clips_that_are_named_are_mirrored() -> None:
    clips = torch.arange(2 * 2 * 3 * 4 * 5, dtype=torch.uint8).reshape(2, 2, 3, 4, 5)
    mirrored = mirror_clips(clips, torch.tensor([True, False]))
    # Columns 0 to 4 of every frame and channel become 4 to 0.
    assert torch.equal(mirrored[0], clips[0][..., [4, 3, 2, 1, 0]])
    assert torch.equal(mirrored[1], clips[1])


def pixels_of(seed: int = 0, size: tuple[int, int] = (8, 9)) -> torch.Tensor:
    return torch.randint(0, 256, (*size, 3), generator=torch.Generator().manual_seed(seed)).byte()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_no_strength_changes_nothing(dtype: torch.dtype) -> None:
    found = jitter_color(pixels_of().to(dtype), 0.0, np.random.default_rng(1))
    assert found.dtype == torch.float32
    # Through fractions and back: a rounding of float32 at 255.
    torch.testing.assert_close(found, pixels_of().float(), atol=1e-4, rtol=0)


def test_a_grey_frame_of_one_level_only_changes_brightness() -> None:
    factor = np.random.default_rng(7).uniform(0.7, 1.3, 3)[0]
    found = jitter_color(torch.full((3, 3, 3), 100.0), 0.3, np.random.default_rng(7))
    # Contrast has nothing to spread and saturation nothing to colour; v2's weights of R, G, B add up to 0.9999.
    torch.testing.assert_close(found, torch.full((3, 3, 3), 100 * float(factor)), atol=0.01, rtol=0)


def test_colours_change_in_the_order_of_the_docstring() -> None:
    brightness, contrast, saturation = np.random.default_rng(3).uniform(0.9, 1.1, 3)
    pixels = pixels_of().double() / 2 + 60  # far from both ends, where nothing is cut off
    # RGB to grey as in ITU-R BT.601; contrast moves away from the image's mean grey, saturation from the pixel's own.
    weights = torch.tensor([0.2989, 0.587, 0.114], dtype=torch.float64)
    expected = pixels * brightness
    expected = contrast * expected + (1 - contrast) * (expected @ weights).mean()
    expected = saturation * expected + (1 - saturation) * (expected @ weights)[..., None]
    found = jitter_color(pixels.float(), 0.1, np.random.default_rng(3))
    torch.testing.assert_close(found, expected.float(), atol=1e-3, rtol=0)


def test_same_stream_same_result_within_the_range_of_bytes() -> None:
    first, again, other = (jitter_color(pixels_of(), 0.5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0 <= first.min() <= first.max() <= 255


def test_zooming_in_cuts_boxes_and_drops_what_is_outside() -> None:
    """Whatever the window: what a box holds is the same pixels as before, where it was not cut."""
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    boxes = np.array([[2, 3, 6, 8], [20, 10, 28, 18], [0, 0, 30, 20]], np.float32)
    labels = np.array([1, 2, 3])
    sizes = []
    for seed in range(60):
        seen, moved, kept = zoom(frame, boxes, labels, 0.5, np.random.default_rng(seed))
        height, width = seen.shape[:2]
        sizes.append(height)
        # A factor of 0.5 to 2, of both sides alike.
        assert 10 <= height <= 40
        assert abs(width - 1.5 * height) <= 1
        assert (moved >= 0).all()
        assert (moved <= [width, height] * 2).all()
        for box, label in zip(moved.astype(int), kept, strict=True):
            before = boxes[label - 1].astype(int)
            inside = seen[box[1] : box[3], box[0] : box[2]]
            if inside.shape == (before[3] - before[1], before[2] - before[0], 3):
                assert np.array_equal(inside, frame[before[1] : before[3], before[0] : before[2]])
            else:
                assert (2 * np.array(inside.shape[:2]) >= (before[3:1:-1] - before[1::-1]) - 1).all()
    # As often larger as smaller: 60 draws, each with probability one half.
    assert 18 <= sum(height > 20 for height in sizes) <= 42


def test_zooming_out_shows_the_whole_frame_on_grey() -> None:
    frame = np.full((10, 10, 3), 255, np.uint8)
    for seed in range(20):
        seen, boxes, labels = zoom(
            frame, np.array([[0, 0, 10, 10]], np.float32), np.array([4]), 0.5, np.random.default_rng(seed)
        )
        if seen.shape[0] > 10:
            x0, y0, x1, y1 = boxes[0].astype(int)
            assert (x1 - x0, y1 - y0) == (10, 10)
            assert (seen == 255).all(axis=2).sum() == 100
            assert (seen[y0:y1, x0:x1] == 255).all()
            assert labels.tolist() == [4]


def test_no_zoom_and_no_boxes() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    seen, boxes, labels = zoom(frame, *none, 0.0, np.random.default_rng(1))
    assert np.array_equal(seen, frame)
    assert boxes.shape == (0, 4)
    assert labels.shape == (0,)
    single = zoom(frame[:1, :1], *none, 0.9, np.random.default_rng(2))[0]
    assert min(single.shape[:2]) >= 1
