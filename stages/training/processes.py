"""Several processes that train one network, a GPU each; torchrun, `accelerate launch` or a stage starts them."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.nn.parallel import DistributedDataParallel

from models.distributed import share_sizes, synchronise_batch_norms
from models.errors import AigcVqaError
from models.methods.interface import Method
from stages.engine.device import pick_device
from stages.errors import ParamsError

# How long the others let the first process tell an error that all of them have; who launched them ends them then.
GRACE_S = 10.0
# How often a process looks whether its launcher is still there.
LOOK_S = 1.0


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: Its number, 0 to count - 1.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes: weights, curves, state, lines on the screen."""
        return self.rank == 0

    def sizes(self, rows: int) -> list[int]:
        """How many rows each process works on; the parts together are all rows, in order.

        Args:
            rows: Their number.
        """
        return share_sizes(rows, self.count)

    def share(self, rows: Sequence[int]) -> list[int]:
        """This process's part of some rows.

        Args:
            rows: Those of all processes.

        Returns:
            A run of them; when there are fewer rows than processes, maybe none.
        """
        sizes = self.sizes(len(rows))
        start = sum(sizes[: self.rank])
        return list(rows[start : start + sizes[self.rank]])

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, by rank."""
        values = [value] * self.count
        if self.count > 1:
            distributed.all_gather_object(values, value)
        return values

    def summed(self, values: Tensor) -> Tensor:
        """The sum of all processes' tensors, in place."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values


def start_processes(count: int, module: str, arguments: Sequence[str], *, device_name: str) -> None:
    """Go on as several processes of `python -m module`; return at once for a single one, or inside one of them.

    This process becomes the launcher, so that who waits for it, or ends it, waits for the training or ends it.

    Args:
        count: Processes; 0: one per GPU.
        module: Dotted name.
        arguments: Of its command line.
        device_name: `engine.device`.

    Raises:
        ParamsError: There would be more processes than GPUs.
    """
    count = count or max(1, torch.cuda.device_count())
    if count == 1 or "WORLD_SIZE" in os.environ:
        return
    if pick_device(device_name).type == "cuda" and count > (gpus := torch.cuda.device_count()):
        raise ParamsError(f"engine.processes is {count}, and there are {gpus} GPUs; allowed: 0 (one a GPU) to {gpus}")
    launch = ["-m", __name__, "--standalone", f"--nproc-per-node={count}", "-m", module]
    # torchrun sets it to 1 too, and warns where it was not set.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *launch, *arguments])


def launch(arguments: Sequence[str]) -> int:
    """Run torchrun, but quiet about a process that failed and said why.

    Args:
        arguments: Torchrun's.

    Returns:
        The exit status of the first process to fail, or 0; for one that a signal ended, and for the launcher itself,
        128 plus the signal's number.
    """
    from torch.distributed import run as torchrun  # sets up logging when it is imported

    # It tells at length, and with a traceback, that a process failed.
    logging.disable(logging.ERROR)
    try:
        torchrun.run(torchrun.parse_args(list(arguments)))
    except SignalException as error:
        return 128 + int(error.sigval)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        if failure.exitcode > 0:
            return failure.exitcode
        name = signal.Signals(-failure.exitcode).name
        print(f"error: {name} ended process {failure.local_rank} of the training (of 0, 1, ...)", file=sys.stderr)
        return 128 - failure.exitcode
    return 0


@contextmanager
def joined_processes(device_name: str) -> Iterator[tuple[Processes, torch.device]]:
    """Within the block the launched processes work together, each on its device; a process alone is just itself.

    Only the first one prints, an error that all have too.

    Args:
        device_name: `engine.device`.

    Yields:
        This process among the others, and its device.

    Raises:
        ParamsError: The device is not there.
    """
    device = pick_device(device_name)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    # The launcher ends the others when one has failed: they have nothing to say of it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_launcher, args=(os.getppid(),), daemon=True).start()
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        processes = Processes(distributed.get_rank(), distributed.get_world_size())
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(sys.stdout if processes.is_first else nowhere):
            yield processes, device
    except AigcVqaError:
        if distributed.get_rank() > 0:
            time.sleep(GRACE_S)
        raise
    finally:
        distributed.destroy_process_group()


def _end_with_launcher(launcher: int) -> None:
    """A launcher that was killed ends nobody: its processes would train on, beside those of the next run."""
    while os.getppid() == launcher:
        time.sleep(LOOK_S)
    os._exit(1)


def parallel(network: nn.Module, method: Method, processes: Processes) -> nn.Module:
    """Wrap a network so that gradients are means over all processes.

    Args:
        network: Keeps the weights; its batch normalisations change in place.
        method: Of the network.
        processes: All that train together; for a single one the result is `network` itself.

    Returns:
        What to call in place of `network`.
    """
    if processes.count == 1:
        return network
    synchronise_batch_norms(network)
    device = next(network.parameters()).device
    return DistributedDataParallel(
        network,
        device_ids=[device.index] if device.type == "cuda" else None,
        forward_sync_buffers=False,  # equal everywhere: statistics are those of all processes
        find_unused_parameters=not _uses_all_weights(network, method),
    )


def _uses_all_weights(network: nn.Module, method: Method) -> bool:
    """Whether every trainable weight gets a gradient; some backbones hold more than their features need."""
    sample = torch.zeros(1, *method.sample_shape(1), dtype=torch.uint8)
    network.eval()(sample.to(next(network.parameters()).device)).sum().backward()
    used = all(weight.grad is not None for weight in network.parameters() if weight.requires_grad)
    network.zero_grad(set_to_none=True)
    network.train()
    return used


if __name__ == "__main__":
    sys.exit(launch(sys.argv[1:]))
