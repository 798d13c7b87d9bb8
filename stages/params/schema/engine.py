"""Parameters of how stages run."""

import os
from typing import Literal

from pydantic import Field

from models.config import COUNT_MAX, Section


def available_cores() -> int:
    """Cores that this process may use, where the system can tell, else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class EngineParams(Section):
    """How stages run.

    shards and max_failed_fraction change what is written, and two change trained weights: threads, by which sums differ
    in their last bits, and processes, which draw dropout masks of their own. batch_frames and device choose the order
    of sums in a network: they move scores by less than 0.0001 points of 100. The others change nothing.
    """

    workers: int = Field(ge=0, le=COUNT_MAX, description="processes for work without a network; 0: one a core")
    threads: int = Field(
        ge=0, description="threads of a network on a CPU; small ones are fastest with 1, large ones with 0: one a core"
    )
    batch_frames: int = Field(ge=1, le=COUNT_MAX, description="most frames of a video that a network sees at once")
    device: Literal["auto", "cpu", "cuda"] = Field(description="where networks run; auto: a GPU when there is one")
    processes: int = Field(
        ge=0, le=COUNT_MAX, description="processes that train the quality model, a GPU each; 0: one for each GPU"
    )
    cache_gib: float = Field(
        ge=0, description="memory for training crops, GiB; a part that does not fit is decoded each epoch"
    )
    shards: int = Field(ge=1, le=1000, description="Parquet files a table of many videos is spread over")
    max_failed_fraction: float = Field(ge=0, le=1, description="share of videos that may fail before a stage fails")

    @property
    def n_workers(self) -> int:
        """Processes for work without a network."""
        return self.workers or available_cores()

    @property
    def n_threads(self) -> int:
        """Threads of a network on a CPU."""
        return self.threads or available_cores()
