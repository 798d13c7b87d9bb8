"""Training batches of object images."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.datasets.coco import ObjectImage
from stages.errors import DatasetError
from stages.training.loaders.detector import ObjectBatch, ObjectBatches


@pytest.fixture
def images(tmp_path: Path) -> list[ObjectImage]:
    """23 images of two shapes; image i is of level 10 i, with a box at its left edge that is i + 1 px wide."""
    found = []
    for number in range(23):
        height, width = ((32, 40), (48, 32))[number % 2]
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), np.full((height, width, 3), 10 * number, np.uint8))
        box = np.array([[0, 0, number + 1, 8]], np.float32)
        found.append(ObjectImage(path, width, height, box, np.array([1]), box[:0], np.array([], np.int64)))
    return found


def batches(images: list[ObjectImage], **changes: object) -> ObjectBatches:
    settings: dict = {"batch_images": 4, "flip": False, "color_jitter": 0.0, "seed": 0}
    return ObjectBatches(images, **(settings | changes))


def same(first: list[ObjectBatch], second: list[ObjectBatch]) -> bool:
    return [batch.names for batch in first] == [batch.names for batch in second] and all(
        np.array_equal(one, other)
        for batch, twin in zip(first, second, strict=True)
        for one, other in zip(batch.frames, twin.frames, strict=True)
    )


def test_every_image_once_an_epoch_with_its_own_box(images: list[ObjectImage]) -> None:
    source = batches(images)
    epoch = list(source.epoch(0))
    assert len(epoch) == len(source) == 6
    assert sorted(name for batch in epoch for name in batch.names) == sorted(image.path.name for image in images)
    for batch in epoch:
        for frame, box, label, name in zip(*batch, strict=True):
            number = int(Path(name).stem)
            assert (frame == 10 * number).all()
            assert box.tolist() == [[0, 0, number + 1, 8]]
            assert label.tolist() == [1]


def test_batches_are_mostly_of_one_shape(images: list[ObjectImage]) -> None:
    shapes = [{frame.shape for frame in batch.frames} for batch in batches(images).epoch(0)]
    # Sorted by shape, one batch at most can hold the change from one to the other.
    assert sum(len(found) > 1 for found in shapes) <= 1


def test_epochs_and_seeds_differ_and_repeat(images: list[ObjectImage]) -> None:
    first = list(batches(images, color_jitter=0.3).epoch(0))
    assert same(first, list(batches(images, color_jitter=0.3).epoch(0)))
    assert not same(first, list(batches(images, color_jitter=0.3).epoch(1)))
    assert not same(first, list(batches(images, color_jitter=0.3, seed=1).epoch(0)))


def test_flip_mirrors_about_half_with_their_boxes(images: list[ObjectImage]) -> None:
    mirrored = 0
    for batch in batches(images * 4, flip=True).epoch(0):
        for frame, box, name in zip(batch.frames, batch.boxes_xyxy_px, batch.names, strict=True):
            wide, width = int(Path(name).stem) + 1, frame.shape[1]
            assert box.tolist() in ([[0, 0, wide, 8]], [[width - wide, 0, width, 8]])
            mirrored += box[0, 2].item() == width
    # 92 fair coins: outside of 26 to 66 in less than one of 20,000 cases, and the seed is fixed.
    assert 26 <= mirrored <= 66


def test_an_image_that_cannot_be_read_stops_the_epoch(images: list[ObjectImage]) -> None:
    images[3].path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"3\.png"):
        list(batches(images).epoch(0))
