"""The batches of an epoch: every video once, and none that is too small for a loss that compares videos."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from models.methods import load_method
from stages import train
from stages.errors import DatasetError
from stages.io.schemas import CROPS, FRAMES
from stages.io.shards import Shards
from stages.params.load import load_params
from stages.training.processes import Processes
from stages.training.quality import shuffled_batches
from tests.configs import shipped_section
from tests.stages.clip_tables import write_tables


@pytest.mark.parametrize(
    ("n_videos", "least", "sizes"),
    # 7 of 3: the last is alone, and joins the one before it where two are needed. One batch stays as it is.
    [(7, 1, [3, 3, 1]), (7, 2, [3, 4]), (8, 2, [3, 3, 2]), (1, 2, [1])],
)
def test_the_last_batch(n_videos: int, least: int, sizes: list[int]) -> None:
    batches = shuffled_batches(n_videos, 3, torch.Generator().manual_seed(0), least=least)
    assert [len(batch) for batch in batches] == sizes
    assert sorted(place for batch in batches for place in batch) == list(range(n_videos))


@pytest.mark.parametrize(
    ("batch_videos", "message"),
    [
        (1, "train.batch_videos = 1: the losses of the method fast_vqa compare the videos of a batch; at least 2"),
        (4, "frames holds 3 frames of a video, the method fast_vqa reads all frames; `dvc repro` decodes them"),
    ],
)
def test_what_a_method_cannot_learn_from_is_refused_before_the_training(
    workplace: Path, write_params: Callable[..., None], batch_videos: int, message: str
) -> None:
    """Batches without an order, and tables with the frames that another method reads."""
    write_tables(workplace, videos=9)
    write_params(method="fast_vqa", decode={"frames": 3}, train={"batch_videos": batch_videos})
    frames, crops = Shards("frames", schema=FRAMES), Shards("crops", schema=CROPS)
    method = load_method("fast_vqa", shipped_section("fast_vqa"))
    labels = pd.DataFrame({"video_id": frames.ids, "part": ["train"] * 6 + ["val"] * 3, "mos": range(9)})
    with pytest.raises(DatasetError, match=re.escape(message)):
        train.gather(load_params(), method, labels, frames, crops, processes=Processes(), pinned=False)
