"""Training batches of object images: shuffled, changed at random by seed, read in the background."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.datasets.coco import ObjectImage
from stages.io.images import Frame
from stages.training.loaders.augment import jitter_color, mirror, zoom

READERS = 2
READ_AHEAD_BATCHES = 4
# Batches are cut from this many batches' worth of shuffled images, sorted by shape: little padding, much chance.
WINDOW_BATCHES = 16


class ObjectBatch(NamedTuple):
    """Images with their objects.

    Attributes:
        frames: (H, W, 3) uint8 RGB each, of any size.
        boxes_xyxy_px: (N, 4) float32 each, pixels of the frame.
        labels: (N,) int64 each.
        names: Of the files.
    """

    frames: list[Frame]
    boxes_xyxy_px: list[Tensor]
    labels: list[Tensor]
    names: list[str]


@dataclass(frozen=True)
class ObjectBatches:
    """The images in batches; every epoch has an order and changes of its own, given by the seed.

    Attributes:
        images: Read when their batch is near.
        batch_images: Images per batch.
        flip: Whether to mirror each image with probability 1/2.
        color_jitter: Strength of the changes of colour, 0..1.
        seed: Of the order and the changes.
        zoom: Strength of the changes of size, 0 to 1, 1 not included.
    """

    images: Sequence[ObjectImage]
    batch_images: int
    flip: bool
    color_jitter: float
    seed: int
    zoom: float = 0.0

    def __len__(self) -> int:
        """Batches an epoch; the last one to be cut may be smaller."""
        return -(-len(self.images) // self.batch_images)

    def epoch(self, epoch: int) -> Iterator[ObjectBatch]:
        """The batches of an epoch in order, the next ones read in the background.

        Args:
            epoch: 0 for the first.

        Yields:
            `len(self)` batches.

        Raises:
            DatasetError: An image cannot be read.
        """
        with ThreadPoolExecutor(READERS) as threads:
            running: deque[Future[ObjectBatch]] = deque()
            try:
                for places in self.order(epoch):
                    running.append(threads.submit(self.load, places, epoch))
                    if len(running) == READ_AHEAD_BATCHES:
                        yield running.popleft().result()
                while running:
                    yield running.popleft().result()
            finally:
                threads.shutdown(cancel_futures=True)

    def order(self, epoch: int) -> list[list[int]]:
        """The order of an epoch.

        Args:
            epoch: 0 for the first.

        Returns:
            Positions among the images, batch by batch; every image once.
        """
        random, window = np.random.default_rng((self.seed, epoch)), self.batch_images * WINDOW_BATCHES
        shuffled = random.permutation(len(self.images)).tolist()
        parts: list[list[int]] = []
        for start in range(0, len(shuffled), window):
            near = sorted(shuffled[start : start + window], key=self._shape)
            parts += [near[first : first + self.batch_images] for first in range(0, len(near), self.batch_images)]
        return [parts[place] for place in random.permutation(len(parts))]

    def load(self, places: Sequence[int], epoch: int) -> ObjectBatch:
        """Read images and change them.

        Args:
            places: Positions among the images.
            epoch: 0 for the first; each has changes of its own.

        Raises:
            DatasetError: An image cannot be read.
        """
        batch = ObjectBatch([], [], [], [])
        for place in places:
            # A stream for each image: reading in threads cannot mix them up.
            image, random = self.images[place], np.random.default_rng((self.seed, epoch, place))
            frame, boxes, labels = image.read(), image.boxes_xyxy_px, image.labels
            if self.flip and random.random() < 0.5:
                frame, boxes = mirror(frame, boxes)
            if self.color_jitter:
                pixels = torch.from_numpy(np.ascontiguousarray(frame))
                frame = jitter_color(pixels, self.color_jitter, random).round().byte().numpy()
            if self.zoom:
                frame, boxes, labels = zoom(frame, boxes, labels, self.zoom, random)
            batch.frames.append(frame)
            batch.boxes_xyxy_px.append(torch.from_numpy(boxes))
            batch.labels.append(torch.from_numpy(labels))
            batch.names.append(image.path.name)
        return batch

    def _shape(self, place: int) -> tuple[int, int]:
        return self.images[place].height, self.images[place].width
