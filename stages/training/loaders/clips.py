"""Training data: what the network sees of every video, from memory when it fits, else decoded by workers."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from models.errors import AigcVqaError
from models.methods.interface import Method
from models.methods.reading import Need
from models.optim import epoch_seed
from stages.engine.progress import progress
from stages.engine.workers import WorkerContext
from stages.errors import TableError
from stages.io.images import Shape
from stages.io.shards import Shards
from stages.steps.clips import CLIP_COLUMNS, SELECTED_COLUMNS, Box, ClipFrame, read_clip, selected_boxes
from stages.steps.scores import PieceOfVideo, video_pieces
from stages.steps.views import video_view

GIB = 2**30


@dataclass(frozen=True)
class ClipSource:
    """Where the samples of a video come from.

    Attributes:
        method: Makes them.
        frames_table: Decoded frames.
        crops_table: Candidates of every frame and which one was selected; read for methods that need crops.
        shape: How a crop fills the square; see `stages.io.images.cut`.
        frames: Places in a clip.
    """

    method: Method
    frames_table: Shards
    crops_table: Shards
    shape: Shape | None
    frames: int
    _boxes: dict[str, dict[int, Box]] = field(default_factory=dict, init=False, repr=False)

    def read(self, video_id: str, random: torch.Generator | None = None) -> Tensor:
        """Decode one video, cut its crops where the method needs them, and take a sample.

        Args:
            video_id: As in the tables.
            random: For samples that are drawn; None: that of the test.

        Returns:
            The sample, uint8, of `sample_shape`.

        Raises:
            TableError: The video's rows give no sample.
        """
        try:
            clip, boxes = self._rows(video_id)
            view = video_view(self.method, clip, boxes, shape=self.shape, places=self.frames)
            return self.method.sample(view, random)
        except AigcVqaError as error:
            raise TableError(f"{video_id}: {error}") from None

    def read_pieces(self, video_id: str) -> list[PieceOfVideo]:
        """Decode one video and take the pieces that it is scored by once training is over.

        Args:
            video_id: As in the tables.

        Raises:
            TableError: The video's rows give no pieces.
        """
        try:
            clip, boxes = self._rows(video_id)
            return video_pieces(self.method, clip, boxes, shape=self.shape)
        except AigcVqaError as error:
            raise TableError(f"{video_id}: {error}") from None

    def _rows(self, video_id: str) -> tuple[Sequence[ClipFrame], dict[int, Box] | None]:
        clip = read_clip(self.frames_table.read(video_id, CLIP_COLUMNS))
        needed = Need.CROPS in self.method.needs
        return clip, self._selected(video_id) if needed else None

    def _selected(self, video_id: str) -> dict[int, Box]:
        # A few numbers a video, picked out of some hundred candidates: later epochs find them here.
        if video_id not in self._boxes:
            self._boxes[video_id] = selected_boxes(self.crops_table.read(video_id, SELECTED_COLUMNS))
        return self._boxes[video_id]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Of the sample of a video."""
        return self.method.sample_shape(self.frames)

    @property
    def draws(self) -> bool:
        """Whether samples are drawn anew in every epoch."""
        return self.method.draws


# A place among the videos, and the seed of what is drawn there; None: nothing is.
Key = tuple[int, int | None]


class ClipDataset(Dataset[tuple[Tensor, int]]):
    """Item (i, seed): the sample of `ids[i]`, and i. The same values from memory and from the tables.

    Attributes:
        source: Where the samples come from.
        ids: One per item.
        memory: (N, ...) uint8, once `fill` has run; None before, and where the samples do not fit.
        fits: Whether all samples may be kept in memory.
    """

    def __init__(self, source: ClipSource, ids: Sequence[str], *, cache_gib: float, threads: int = 1) -> None:
        """Read nothing yet.

        Args:
            source: Where the samples come from.
            ids: One per item.
            cache_gib: The samples of all ids are kept when they take no more than this, GiB, and are not drawn.
            threads: Threads that fill the memory, at the first epoch.
        """
        self.source = source
        self.ids = list(ids)
        self.memory: Tensor | None = None
        self.fits = self.gib <= cache_gib and not source.draws
        self._threads = threads

    def fill(self) -> None:
        """Decode all samples into memory, when they fit and are not there yet."""
        if not self.fits or self.memory is not None:
            return
        memory = torch.empty((len(self.ids), *self.source.sample_shape), dtype=torch.uint8)
        with ThreadPoolExecutor(self._threads) as pool:
            clips = progress(
                pool.map(self.source.read, self.ids), total=len(self.ids), desc="samples", unit="video", leave=False
            )
            for row, clip in zip(memory, clips, strict=True):
                row.copy_(clip)
        self.memory = memory

    @property
    def gib(self) -> float:
        """What the samples of all ids take."""
        return len(self.ids) * math.prod(self.source.sample_shape) / GIB

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        index, seed = key
        if self.memory is not None:
            return self.memory[index], index
        random = None if seed is None or not self.source.draws else torch.Generator().manual_seed(seed)
        return self.source.read(self.ids[index], random), index


class _OrError(Dataset[tuple[Tensor, int] | AigcVqaError]):
    """The clips, or why there is none: an exception would leave a worker wrapped in its traceback."""

    def __init__(self, clips: ClipDataset) -> None:
        self.clips = clips

    def __getitem__(self, key: Key) -> tuple[Tensor, int] | AigcVqaError:
        try:
            return self.clips[key]
        except AigcVqaError as error:
            return error


class GivenBatches(Sampler[list[Key]]):
    """The batches of an epoch, made elsewhere; a loader whose workers live on reads them at the start of each epoch."""

    def __init__(self) -> None:
        self._batches: list[list[Key]] = []

    def set_batches(self, batches: Sequence[Sequence[int]], *, seed: int | None = None) -> None:
        """Choose the next epoch's batches.

        Args:
            batches: Positions in the data set, batch by batch.
            seed: Of the epoch's draws; every position has numbers of its own. None: nothing is drawn.
        """

        def key(position: int) -> Key:
            return position, None if seed is None else epoch_seed(seed, position)

        self._batches = [[key(position) for position in batch] for batch in batches]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[Key]]:
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

    def batches(self, batches: Sequence[Sequence[int]], *, seed: int | None = None) -> "Batches":
        """One epoch.

        Args:
            batches: Positions among the clips, batch by batch; any may come twice or not at all.
            seed: Of the epoch's draws; None: the samples of the test.

        Returns:
            Gives (samples (B, ...) uint8, positions (B,) int64) of every batch in the given order. The next call sets
            another epoch, so read it to its end before.
        """
        self.clips.fill()
        self._sampler.set_batches(batches, seed=seed)
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
