"""What S²CNet trains on: scaling, batches of one size, augmentation that keeps the boxes' meaning."""

import numpy as np
import torch

from stages.datasets.gaic import read_gaic
from stages.training.loaders.augment import mirror_boxes
from stages.training.loaders.cropper import (
    Example,
    augment,
    collate,
    gather_examples,
    make_batches,
)
from tests.stages.datasets.test_gaic import write_image


def example(number: int, *, height: int = 32, width: int = 64) -> Example:
    pixels = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(number))
    boxes = torch.tensor([[0.0, 0.0, 20.0, 30.0], [10.0, 5.0, 64.0, 32.0]])
    return Example(pixels.to(torch.uint8), boxes, boxes[:1], torch.tensor([1.0, 2.0]), f"{number}.png")


def test_images_and_boxes_are_brought_to_one_size(tmp_path):
    # 20x30 px to a short side of 32: 32x64 (48 is one and a half times 32 and goes to the even multiple).
    # Factors 64 / 30 across, 32 / 20 down. (2, 1, 22, 11) -> 4.27, 1.6, 46.93, 17.6 -> 4, 1, 47, 18.
    write_image(tmp_path, "a", "1 2 11 22 3.5\n0 0 20 30 2.25\n")
    seen = []

    def find(images, frames):
        seen.extend((image.path.name, frame.shape) for image, frame in zip(images, frames, strict=True))
        return [np.array([[3.0, 5.0, 15.0, 10.0]], np.float32) for _ in frames]

    (found,) = gather_examples(read_gaic(tmp_path), find, short_side_px=32)
    assert seen == [("a.png", (20, 30, 3))]
    assert found.pixels.shape == (32, 64, 3)
    assert found.candidates.tolist() == [[4, 1, 47, 18], [0, 0, 64, 32]]
    assert found.objects.tolist() == [[6, 8, 32, 16]]
    assert found.mos.tolist() == [3.5, 2.25]
    assert found.name == "a.png"


def test_batches_hold_one_size_and_every_example_once():
    examples = [example(i, width=64 if i % 3 else 32) for i in range(11)]
    for random in (None, torch.Generator().manual_seed(0)):
        batches = make_batches(examples, batch_images=3, random=random)
        assert sorted(index for batch in batches for index in batch) == list(range(11))
        assert all(len({examples[index].pixels.shape for index in batch}) == 1 for batch in batches)
        assert max(map(len, batches)) == 3
    first = make_batches(examples, batch_images=3, random=torch.Generator().manual_seed(0))
    assert first == batches
    assert first != make_batches(examples, batch_images=3, random=torch.Generator().manual_seed(1))


def test_mirrored_boxes_hold_the_same_pixels():
    batch = collate([example(i) for i in range(8)])
    found = augment(batch, flip=True, jitter=0.0, random=np.random.default_rng(0))
    mirrored = 0
    for index in range(8):
        if torch.equal(found.pixels[index], batch.pixels[index]):
            assert torch.equal(found.candidates[index], batch.candidates[index])
            continue
        mirrored += 1
        for name in ("candidates", "objects"):
            before, after = getattr(batch, name)[index], getattr(found, name)[index]
            for old, new in zip(before.int().tolist(), after.int().tolist(), strict=True):
                old_pixels = batch.pixels[index, old[1] : old[3], old[0] : old[2]]
                new_pixels = found.pixels[index, new[1] : new[3], new[0] : new[2]]
                assert torch.equal(new_pixels, old_pixels.flip(1))
    assert 0 < mirrored < 8


def test_mirroring_twice_changes_nothing():
    boxes = example(0).candidates
    assert mirror_boxes(torch.tensor([[1.0, 2.0, 5.0, 9.0]]), 20).tolist() == [[15, 2, 19, 9]]
    assert torch.equal(mirror_boxes(mirror_boxes(boxes, 64), 64), boxes)


def test_colours_shift_within_their_bounds_and_boxes_stay():
    batch = collate([example(i) for i in range(6)])
    found = augment(batch, flip=False, jitter=0.3, random=np.random.default_rng(0))
    assert not torch.equal(found.pixels, batch.pixels)
    assert 0 <= found.pixels.min() <= found.pixels.max() <= 255
    assert all(map(torch.equal, found.candidates, batch.candidates))
    assert all(map(torch.equal, found.objects, batch.objects))
    again = augment(batch, flip=False, jitter=0.3, random=np.random.default_rng(0))
    assert torch.equal(found.pixels, again.pixels)


def test_a_grey_image_changes_by_brightness_alone():
    # Contrast and saturation move pixels away from the mean and from grey: of a plain grey image neither does.
    grey = example(0)._replace(pixels=torch.full((32, 64, 3), 100, dtype=torch.uint8))
    found = augment(collate([grey]), flip=False, jitter=0.2, random=np.random.default_rng(3)).pixels
    torch.testing.assert_close(found, found[:, :1, :1, :1].expand_as(found), atol=1e-2, rtol=0)
    assert 80 <= float(found.mean()) <= 120


def test_images_are_read_a_few_at_a_time(tmp_path):
    for number in range(20):
        write_image(tmp_path, f"{number:02d}", "1 2 11 22 3.5\n0 0 20 30 2.25\n")
    sizes = []

    def find(images, frames):
        sizes.append(len(frames))
        return [np.zeros((0, 4), np.float32) for _ in frames]

    found = list(gather_examples(read_gaic(tmp_path), find, short_side_px=32))
    assert sizes == [16, 4]
    assert [each.name for each in found] == [f"{number:02d}.png" for number in range(20)]
    assert np.all([each.objects.shape == (0, 4) for each in found])
