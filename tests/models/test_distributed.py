"""Rows and statistics of several processes, in two real ones (gloo): equal to one process with all rows."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, distributed, multiprocessing, nn

from models.distributed import gather_rows, share_sizes, synchronise_batch_norms

ROWS, SIZES = 5, [3, 2]
RTOL = 1e-5  # sums in another order


def inputs() -> Tensor:
    return torch.randn(ROWS, 4, 3, 3, generator=torch.Generator().manual_seed(0)) * 5 + 100


def networks() -> list[nn.Module]:
    """One of each kind of batch normalisation, with and without weights, in a frame that can be changed."""
    kinds: list[Callable[[], nn.Module]] = [
        lambda: nn.BatchNorm2d(4),
        lambda: nn.BatchNorm2d(4, momentum=None, affine=False),
        lambda: nn.BatchNorm2d(4, track_running_stats=False),
        lambda: BatchNormAct2d(4),
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return [nn.Sequential(nn.Conv2d(4, 4, 1), kind()) for kind in kinds]


def product_of_means(rows: Tensor) -> Tensor:
    """A loss that does not split into a sum over rows."""
    return rows.flatten(1)[:, 0].mean() * rows.square().mean()


def results(own: Tensor, sizes: list[int]) -> list[list[Tensor]]:
    """For every network: output of all rows, gradients, statistics after two batches; output in evaluation."""
    found = []
    for network in networks():
        if len(sizes) > 1:
            synchronise_batch_norms(network)
        for scale in (1.0, 0.5):
            output = gather_rows(network(own * scale), sizes)
            network.zero_grad()
            product_of_means(output).backward()
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        evaluated = gather_rows(network.eval()(own), sizes)
        found.append([output.detach(), *gradients, *network.buffers(), evaluated.detach()])
    return found


def work(rank: int, meeting: str, out: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=len(SIZES))
    own = inputs().split(SIZES)[rank]
    found = results(own, SIZES)
    # What DistributedDataParallel does with gradients: the mean over the processes.
    for network, values in zip(networks(), found, strict=True):
        for value in values[1 : 1 + len(list(network.parameters()))]:
            distributed.all_reduce(value)
            value /= len(SIZES)
    torch.save(found, f"{out}-{rank}")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[list[list[Tensor]]]:
    folder: Path = tmp_path_factory.mktemp("two")
    multiprocessing.spawn(work, args=(str(folder / "meeting"), str(folder / "out")), nprocs=len(SIZES))
    return [torch.load(folder / f"out-{rank}", weights_only=True) for rank in range(len(SIZES))]


@pytest.mark.parametrize("number", range(len(networks())), ids=["plain", "cumulative", "untracked", "fused"])
def test_two_processes_equal_one_with_all_rows(two_processes: list[list[list[Tensor]]], number: int) -> None:
    expected = results(inputs(), [ROWS])[number]
    for found in (values[number] for values in two_processes):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            # The inputs stand at 100 with deviation 5: a variance from a difference of squares would be off by 1e-3.
            torch.testing.assert_close(one, other, rtol=10 * RTOL, atol=1e-4)


def test_shares_by_hand() -> None:
    assert share_sizes(7, 3) == [3, 2, 2]
    assert share_sizes(1, 3) == [1, 0, 0]
    assert share_sizes(0, 2) == [0, 0]


def test_one_process_gets_its_rows_back() -> None:
    rows = inputs()
    assert gather_rows(rows, [ROWS]) is rows
