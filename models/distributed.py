"""Several processes as one: rows of all of them in one tensor, and batch statistics over all of them.

Each process computes its own share of a batch and then the same loss from the rows of all. Its gradient is the sum over
the processes, of which `DistributedDataParallel` takes the mean: the result is the gradient of the whole batch, for any
loss, also one that multiplies means over the batch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, distributed, nn
from torch.nn import functional


class _Gather(torch.autograd.Function):
    """Rows of all processes, one after the other; backward sums the gradients that each process has for a row."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        distributed.all_reduce(summed)
        part: Tensor = summed.chunk(distributed.get_world_size())[distributed.get_rank()]
        return part


def share_sizes(rows: int, processes: int) -> list[int]:
    """How many of the rows each process works on: in order, as equal as possible; 0 for some when rows are few."""
    return [rows // processes + (rank < rows % processes) for rank in range(processes)]


def gather_rows(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """Rows of all processes in the order of the processes.

    Gradients flow to the process that a row came from.

    Args:
        rows: (N, ...), N at least this process's size, the same trailing shape everywhere; rows beyond the size are
            left out.
        sizes: One number per process; with one size the rows are returned as they are.

    Returns:
        (sum of sizes, ...).
    """
    if len(sizes) == 1:
        return rows
    most = max(sizes)
    padding = rows.new_zeros((max(0, most - len(rows)), *rows.shape[1:]))
    gathered: Tensor = _Gather.apply(torch.cat([rows, padding])[:most])
    kept = [rank * most + row for rank, size in enumerate(sizes) for row in range(size)]
    return gathered[kept]


class _SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation with the statistics of all processes, on any device; torch's own needs a GPU."""

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training or not self.track_running_stats):
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        exact = input if input.dtype == torch.float64 else input.float()
        features = exact.transpose(0, 1).flatten(1)  # (C, positions of this process)
        count = features.new_tensor([features.shape[1]])
        mean = features.sum(dim=1) / count.clamp(min=1)  # 0 without rows
        squares = (features - mean[:, None]).square().sum(dim=1)
        parts = _Gather.apply(torch.cat([count, mean, squares])[None])  # (processes, 1 + 2 C)
        counts, (means, all_squares) = parts[:, :1], parts[:, 1:].chunk(2, dim=1)
        total = counts.sum()
        if total == 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got {tuple(features.shape)}")
        mean = (counts * means).sum(dim=0) / total
        # Sums of squares around each process's own mean, so that large numbers do not cancel.
        variance = (all_squares + counts * (means - mean).square()).sum(dim=0) / total
        if self.track_running_stats:
            self._follow(mean.detach(), (variance * total / (total - 1)).detach())
        shape = (1, -1, *[1] * (input.ndim - 2))
        scale = (variance + self.eps).rsqrt()
        shift = -mean * scale
        if self.affine:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        normalised: Tensor = (input * scale.view(shape) + shift.view(shape)).to(input.dtype)
        return normalised

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        weight = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance, weight)


class _SyncBatchNormAct(_SyncBatchNorm):
    """The same followed by dropout and activation, as timm fuses them."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        result: Tensor = self.act(self.drop(super().forward(input)))
        return result


def synchronise_batch_norms(network: nn.Module) -> None:
    """Make every batch normalisation inside a network use the statistics of all processes; weights and names stay.

    Args:
        network: Changed in place; all of it on one device.
    """
    if next(network.parameters()).device.type == "cuda":
        convert: Callable[[nn.Module], nn.Module] = convert_sync_batchnorm
        for name, child in list(network.named_children()):
            setattr(network, name, convert(child))  # torch's kernels, made for this
        return
    for module in network.modules():
        if isinstance(module, BatchNormAct2d):
            module.__class__ = _SyncBatchNormAct  # type: ignore[assignment]
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.__class__ = _SyncBatchNorm


@contextmanager
def without_statistics(network: nn.Module) -> Iterator[None]:
    """Leave this process's rows out of all batch statistics within the block; its outputs mean nothing there.

    The process takes part in everything that the processes do together, forward and backward, so that the others do not
    wait for it. For a process that gets no row of a small batch.

    Args:
        network: With batch normalisations that `synchronise_batch_norms` has treated.
    """
    norms = [norm for norm in network.modules() if isinstance(norm, (_SyncBatchNorm, nn.SyncBatchNorm))]
    for norm in norms:
        norm.forward = partial(_pass_beside, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _pass_beside(norm: nn.Module, input: Tensor) -> Tensor:
    # The sum over no rows is zero but has a gradient, so that backward takes part in the exchange too.
    result: Tensor = input + type(norm).forward(norm, input[:0]).sum()
    return result
