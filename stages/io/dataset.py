"""Training data: the cut crops of every video with its MOS, from memory when they fit, else decoded by workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from stages.io.clips import cut_clip, frame_slots, read_clip
from stages.io.tables import Shards
from stages.progress import progress

GIB = 2**30


@dataclass(frozen=True)
class ClipSource:
    """Where the crops of a video come from. `frames` places a clip, crops of (input_px, input_px)."""

    frames_table: Shards
    crops_table: Shards
    input_px: int
    frames: int

    def read(self, video_id: str) -> NDArray[np.uint8]:
        """(frames, 3, input_px, input_px) uint8 RGB; short videos repeat frames evenly."""
        clip = read_clip(self.frames_table.read(video_id))
        crops = cut_clip(clip, self.crops_table.read(video_id), size_px=self.input_px)
        return crops[frame_slots(len(clip), self.frames)]

    @property
    def bytes_a_video(self) -> int:
        return self.frames * 3 * self.input_px**2


class ClipDataset(Dataset[tuple[Tensor, int]]):
    """Item i: the crops of `ids[i]`, (F, 3, S, S) uint8 RGB, and i. The same values from memory and from the tables."""

    def __init__(self, source: ClipSource, ids: Sequence[str], *, cache_gib: float) -> None:
        self.source = source
        self.ids = list(ids)
        self.memory: Tensor | None = None
        if len(self.ids) * source.bytes_a_video <= cache_gib * GIB:
            clips = [source.read(video_id) for video_id in progress(self.ids, desc="crops", unit="video", leave=False)]
            self.memory = torch.from_numpy(np.stack(clips))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.memory is not None:
            return self.memory[index], index
        return torch.from_numpy(self.source.read(self.ids[index])), index


class ClipLoader:
    """Batches of clips in an order given epoch by epoch; workers, when decoding needs them, live on between epochs."""

    def __init__(self, clips: ClipDataset, *, batch_videos: int, workers: int) -> None:
        decoding = clips.memory is None and workers > 0
        self.clips = clips
        self._batches: list[list[int]] = []
        self._batch_videos = batch_videos
        self._loader = DataLoader(
            clips,
            batch_sampler=self._batches,
            num_workers=workers if decoding else 0,
            multiprocessing_context="spawn" if decoding else None,
            worker_init_fn=_one_thread if decoding else None,
            persistent_workers=decoding,
        )

    def batches(self, order: Sequence[int]) -> DataLoader[Any]:
        """(crops (B, F, 3, S, S) uint8, indices (B,)) in the given order of clips; the last batch may be smaller."""
        step = self._batch_videos
        # The loader reads this very list when an epoch starts.
        self._batches[:] = [list(order[start : start + step]) for start in range(0, len(order), step)]
        return self._loader


def _one_thread(_worker: int) -> None:
    import cv2

    cv2.setNumThreads(1)
