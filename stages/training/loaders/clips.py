"""Training data: the cut crops of every video, from memory when they fit, else decoded by workers."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from models.errors import AigcVqaError
from stages.engine.progress import progress
from stages.engine.workers import WorkerContext
from stages.errors import TableError
from stages.io.images import Shape
from stages.io.shards import Shards
from stages.steps.clips import (
    CLIP_COLUMNS,
    SELECTED_COLUMNS,
    Box,
    cut_boxes,
    frame_slots,
    read_clip,
    selected_boxes,
)

GIB = 2**30


@dataclass(frozen=True)
class ClipSource:
    """Where the crops of a video come from.

    Attributes:
        frames_table: Decoded frames.
        crops_table: Candidates of every frame and which one was selected.
        input_px: Side of a crop.
        shape: How a crop fills the square; see `stages.io.images.cut`.
        frames: Places in a clip.
    """

    frames_table: Shards
    crops_table: Shards
    input_px: int
    shape: Shape
    frames: int
    _boxes: dict[str, dict[int, Box]] = field(default_factory=dict, init=False, repr=False)

    def read(self, video_id: str) -> NDArray[np.uint8]:
        """Decode and cut one video.

        Args:
            video_id: As in both tables.

        Returns:
            (frames, 3, input_px, input_px) uint8 RGB; short videos repeat frames evenly.

        Raises:
            TableError: The video's rows give no clip.
        """
        try:
            clip = read_clip(self.frames_table.read(video_id, CLIP_COLUMNS))
            crops = cut_boxes(clip, self._selected(video_id), size_px=self.input_px, shape=self.shape)
        except AigcVqaError as error:
            raise TableError(f"{video_id}: {error}") from None
        return crops if len(clip) == self.frames else crops[frame_slots(len(clip), self.frames)]

    def _selected(self, video_id: str) -> dict[int, Box]:
        # A few numbers a video, picked out of some hundred candidates: later epochs find them here.
        if video_id not in self._boxes:
            self._boxes[video_id] = selected_boxes(self.crops_table.read(video_id, SELECTED_COLUMNS))
        return self._boxes[video_id]

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """Of a clip: (F, 3, S, S)."""
        return self.frames, 3, self.input_px, self.input_px

    @property
    def bytes_a_video(self) -> int:
        """Memory that the crops of one video take."""
        return self.frames * 3 * self.input_px**2


class ClipDataset(Dataset[tuple[Tensor, int]]):
    """Item i: the crops of `ids[i]`, (F, 3, S, S) uint8 RGB, and i. The same values from memory and from the tables.

    Attributes:
        source: Where the crops come from.
        ids: One per item.
        memory: (N, F, 3, S, S) uint8, once `fill` has run; None before, and where the crops do not fit.
        fits: Whether all crops may be kept in memory.
    """

    def __init__(self, source: ClipSource, ids: Sequence[str], *, cache_gib: float, threads: int = 1) -> None:
        """Read nothing yet.

        Args:
            source: Where the crops come from.
            ids: One per item.
            cache_gib: The crops of all ids are kept when they take no more than this, GiB.
            threads: Threads that fill the memory, at the first epoch.
        """
        self.source = source
        self.ids = list(ids)
        self.memory: Tensor | None = None
        self.fits = self.gib <= cache_gib
        self._threads = threads

    def fill(self) -> None:
        """Decode all crops into memory, when they fit and are not there yet."""
        if not self.fits or self.memory is not None:
            return
        memory = np.empty((len(self.ids), *self.source.clip_shape), np.uint8)
        with ThreadPoolExecutor(self._threads) as pool:
            clips = progress(
                pool.map(self.source.read, self.ids), total=len(self.ids), desc="crops", unit="video", leave=False
            )
            for row, clip in zip(memory, clips, strict=True):
                row[:] = clip
        self.memory = torch.from_numpy(memory)

    @property
    def gib(self) -> float:
        """What the crops of all ids take."""
        return len(self.ids) * self.source.bytes_a_video / GIB

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.memory is not None:
            return self.memory[index], index
        return torch.from_numpy(self.source.read(self.ids[index])), index


class _OrError(Dataset[tuple[Tensor, int] | AigcVqaError]):
    """The clips, or why there is none: an exception would leave a worker wrapped in its traceback."""

    def __init__(self, clips: ClipDataset) -> None:
        self.clips = clips

    def __getitem__(self, index: int) -> tuple[Tensor, int] | AigcVqaError:
        try:
            return self.clips[index]
        except AigcVqaError as error:
            return error


class GivenBatches(Sampler[list[int]]):
    """The batches of an epoch, made elsewhere; a loader whose workers live on reads them at the start of each epoch."""

    def __init__(self) -> None:
        self._batches: list[list[int]] = []

    def set_batches(self, batches: Sequence[Sequence[int]]) -> None:
        """Choose the next epoch's batches.

        Args:
            batches: Positions in the data set, batch by batch.
        """
        self._batches = [list(batch) for batch in batches]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)


class ClipLoader:
    """Batches of clips as they are asked for, epoch by epoch; workers, when decoding needs them, live on.

    Attributes:
        clips: What is loaded.
    """

    def __init__(self, clips: ClipDataset, *, workers: int, pinned: bool = False) -> None:
        """Start nothing yet.

        Args:
            clips: What is loaded.
            workers: Processes that decode, for clips that do not fit into memory; 0: this process does.
            pinned: Whether batches lie in memory that a GPU copies from while it computes.
        """
        decoding = not clips.fits and workers > 0
        self.clips = clips
        self._sampler = GivenBatches()
        self._loader = DataLoader(
            _OrError(clips),
            batch_sampler=self._sampler,
            num_workers=workers if decoding else 0,
            multiprocessing_context=WorkerContext() if decoding else None,
            collate_fn=_batch,
            worker_init_fn=_one_thread if decoding else None,
            persistent_workers=decoding,
            pin_memory=pinned,
            # An iterator draws a seed for its workers, and workers that live on draw none: not from dropout's numbers.
            generator=torch.Generator(),
        )

    def batches(self, batches: Sequence[Sequence[int]]) -> "Batches":
        """One epoch.

        Args:
            batches: Positions among the clips, batch by batch; any may come twice or not at all.

        Returns:
            Gives (crops (B, F, 3, S, S) uint8 RGB, positions (B,) int64) of every batch in the given order. The next
            call sets another epoch, so read it to its end before.
        """
        self.clips.fill()
        self._sampler.set_batches(batches)
        return Batches(self._loader)


class Batches:
    """An epoch of a loader; raises what kept a worker from reading a clip."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self._loader:
            if isinstance(batch, AigcVqaError):
                raise batch
            yield batch


def in_batches(order: Sequence[int], size: int) -> list[list[int]]:
    """The order in batches.

    Args:
        order: Positions, any number of them.
        size: Positions per batch, at least 1; the last batch may be smaller.

    Returns:
        The batches; their positions in a row are the order.
    """
    return [list(order[start : start + size]) for start in range(0, len(order), size)]


def _batch(items: list[tuple[Tensor, int] | AigcVqaError]) -> Any:
    """The clips as one batch, or the first error among them."""
    return next((item for item in items if isinstance(item, AigcVqaError)), None) or default_collate(items)


def _one_thread(_worker: int) -> None:
    import cv2

    cv2.setNumThreads(1)
