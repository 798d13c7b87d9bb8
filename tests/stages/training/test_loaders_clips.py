"""Batches of clips: the ones that are asked for, in order, epoch after epoch, also from workers that live on."""

from types import SimpleNamespace

import pytest
import torch

from stages.errors import TableError
from stages.training.loaders.clips import ClipDataset, ClipLoader, GivenBatches, in_batches

SHAPE = (2, 3, 4, 4)


def read(video_id: str, random: torch.Generator | None = None) -> torch.Tensor:
    if video_id == "broken":
        raise TableError("broken: no rows")
    drawn = 0 if random is None else int(torch.randint(1, 50, (), generator=random))
    return torch.full(SHAPE, int(video_id) + drawn, dtype=torch.uint8)


def loader(ids: list[str], *, fits: bool, workers: int, draws: bool = False) -> ClipLoader:
    source = SimpleNamespace(read=read, sample_shape=SHAPE, draws=draws)
    return ClipLoader(ClipDataset(source, ids, cache_gib=1.0 if fits else 0.0), workers=workers)  # type: ignore[arg-type]


EPOCHS = [[[3, 1], [0, 2], [4]], [[4], [0, 0, 1]], [], [[2]]]


@pytest.mark.parametrize(("fits", "workers"), [(True, 2), (False, 0), (False, 2)], ids=["memory", "here", "workers"])
def test_every_epoch_has_the_batches_that_were_asked_for(fits: bool, workers: int) -> None:
    clips = loader(["10", "11", "12", "13", "14"], fits=fits, workers=workers)
    for epoch in EPOCHS:
        batches = clips.batches(epoch)
        assert len(batches) == len(epoch)
        found = list(batches)
        assert [indices.tolist() for _, indices in found] == epoch
        for crops, indices in found:
            assert crops.shape == (len(indices), *SHAPE)
            assert crops[:, 0, 0, 0, 0].tolist() == [10 + index for index in indices.tolist()]


def test_what_is_drawn_depends_on_epoch_and_video_alone() -> None:
    """Whoever reads it, in whatever order: also after a kill. Nothing drawn is kept in memory."""
    ids = ["10", "10", "10", "10"]

    def values(clips: ClipLoader, batches: list[list[int]], seed: int | None) -> dict[int, int]:
        return {
            int(index): int(sample[0, 0, 0, 0])
            for samples, indices in clips.batches(batches, seed=seed)
            for sample, index in zip(samples, indices, strict=True)
        }

    here, workers = (loader(ids, fits=True, workers=count, draws=True) for count in (0, 2))
    first = values(here, [[0, 1], [2, 3]], 5)
    assert values(workers, [[3, 0, 2], [1]], 5) == first
    assert here.clips.memory is None
    assert len(set(first.values())) > 1
    assert values(here, [[0, 1, 2, 3]], 6) != first
    # The samples of the test are not drawn.
    assert values(here, [[0, 1, 2, 3]], None) == dict.fromkeys(range(4), 10)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_clip_that_cannot_be_read_stops_the_epoch_with_its_own_words(workers: int) -> None:
    clips = loader(["10", "broken"], fits=False, workers=workers)
    with pytest.raises(TableError, match=r"^broken: no rows$"):
        list(clips.batches([[0], [1]]))
    # The next epoch is not disturbed by it.
    assert [indices.tolist() for _, indices in clips.batches([[0, 0]])] == [[0, 0]]


def test_loading_draws_no_global_random_number() -> None:
    before = torch.get_rng_state()
    list(loader(["10", "11"], fits=True, workers=0).batches([[0], [1]]))
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_do_not_change_with_the_list_that_they_were_made_of() -> None:
    sampler, order = GivenBatches(), [[1, 2], [0]]
    sampler.set_batches(order)
    order[0].append(9)
    assert list(sampler) == [[(1, None), (2, None)], [(0, None)]]
    assert len(sampler) == 2


def test_batches_hold_every_video_once() -> None:
    assert in_batches(range(7), 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert in_batches([], 3) == []
