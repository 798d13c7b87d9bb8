"""Scored images as S²CNet trains on them: at the network's size, with objects from a detector, in batches."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.s2cnet.scoring import resize_frame, scale_boxes
from stages.datasets.gaic import ScoredImage, read_image
from stages.training.loaders.augment import jitter_color, mirror_boxes

# Full-size images in memory at once while objects are looked for.
IMAGES_AT_ONCE = 16

# The objects of every image, (N, 4) float32 each, best first, pixels of the image as it lies on disk.
FindObjects = Callable[[Sequence[ScoredImage], Sequence[NDArray[np.uint8]]], Sequence[NDArray[np.float32]]]


class Example(NamedTuple):
    """One image as the network sees it; boxes are in pixels of that size.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        candidates: (K, 4) float32, xyxy.
        objects: (N, 4) float32, xyxy, best first.
        mos: (K,) float32, on the data's own scale.
        name: The file's, for messages.
    """

    pixels: Tensor
    candidates: Tensor
    objects: Tensor
    mos: Tensor
    name: str


class CropBatch(NamedTuple):
    """Examples of one size.

    Attributes:
        pixels: (B, H, W, 3) float32 RGB, 0..255.
        candidates: As in `Example`, one entry per image; so are the others.
        objects: Best first.
        mos: On the data's own scale.
        names: Of the files.
    """

    pixels: Tensor
    candidates: list[Tensor]
    objects: list[Tensor]
    mos: list[Tensor]
    names: list[str]


def gather_examples(
    images: Sequence[ScoredImage], find_objects: FindObjects, *, short_side_px: int
) -> Iterator[Example]:
    """Read the images, find their objects at full size, bring both to the network's size.

    Args:
        images: Files with candidates and their MOS.
        find_objects: Called with a few images at a time.
        short_side_px: Of the network's input.

    Yields:
        One example per image, in order.

    Raises:
        DatasetError: An image cannot be read.
    """
    for start in range(0, len(images), IMAGES_AT_ONCE):
        part = images[start : start + IMAGES_AT_ONCE]
        frames = [read_image(image) for image in part]
        for image, frame, found in zip(part, frames, find_objects(part, frames), strict=True):
            pixels = resize_frame(frame, short_side_px)
            old_size, new_size = (frame.shape[0], frame.shape[1]), (pixels.shape[0], pixels.shape[1])
            boxes = (image.candidates_xyxy_px, found)
            candidates, objects = (scale_boxes(each, old_size=old_size, new_size=new_size) for each in boxes)
            yield Example(
                torch.from_numpy(pixels),
                torch.from_numpy(candidates),
                torch.from_numpy(objects),
                torch.from_numpy(image.mos.astype(np.float32)),
                image.path.name,
            )


def make_batches(examples: Sequence[Example], *, batch_images: int, random: torch.Generator | None) -> list[list[int]]:
    """Batches of one image size.

    Args:
        examples: Whose sizes count.
        batch_images: Images per batch; the last one of each size may be smaller.
        random: Where the order comes from; None: the order of the examples.

    Returns:
        Positions among the examples, batch by batch; every example once.
    """
    by_size: dict[tuple[int, int], list[int]] = {}
    order = range(len(examples)) if random is None else torch.randperm(len(examples), generator=random).tolist()
    for index in order:
        height, width = examples[index].pixels.shape[:2]
        by_size.setdefault((height, width), []).append(index)
    batches = [
        indices[start : start + batch_images]
        for indices in by_size.values()
        for start in range(0, len(indices), batch_images)
    ]
    if random is None:
        return batches
    # One size after the other would end every epoch on the rarest one.
    return [batches[i] for i in torch.randperm(len(batches), generator=random).tolist()]


def collate(examples: Sequence[Example]) -> CropBatch:
    """Join examples of one size to a batch.

    Args:
        examples: At least one.
    """
    return CropBatch(
        torch.stack([each.pixels for each in examples]).float(),
        [each.candidates for each in examples],
        [each.objects for each in examples],
        [each.mos for each in examples],
        [each.name for each in examples],
    )


def augment(batch: CropBatch, *, flip: bool, jitter: float, random: np.random.Generator) -> CropBatch:
    """Mirror images and their boxes left to right, each with probability 1/2, and shift the colours.

    Neither changes what a box holds. Up and down are not mirrored: crops are judged upright.

    Args:
        batch: Stays as it is.
        flip: Whether to mirror.
        jitter: Brightness, contrast and saturation are multiplied by factors of 1 - jitter to 1 + jitter, one per
            image.
        random: Where the choices come from.

    Returns:
        A new batch.
    """
    pixels, candidates, objects = batch.pixels.clone(), list(batch.candidates), list(batch.objects)
    for index in range(len(pixels)):
        if flip and random.random() < 0.5:
            pixels[index] = pixels[index].flip(1)
            width = pixels.shape[2]
            candidates[index] = mirror_boxes(candidates[index], width)
            objects[index] = mirror_boxes(objects[index], width)
        if jitter:
            pixels[index] = jitter_color(pixels[index], jitter, random)
    return batch._replace(pixels=pixels, candidates=candidates, objects=objects)
