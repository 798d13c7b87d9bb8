"""Several processes train as one: each video once, the loss and the statistics of the whole batch, one writer."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from stages import train
from stages.errors import ParamsError
from stages.io.weights import load_weights
from stages.params.load import load_params
from stages.training import processes
from stages.training.processes import Processes, start_processes
from tests.configs import frame_consistency, sections
from tests.conftest import ROOT
from tests.stages.clip_tables import write_tables

EPSILON = load_params(ROOT / "params.yaml").train.fgm.epsilon
PATHS = ["--manifest", "manifest.parquet", "--split", "split.csv", "--frames", "frames", "--crops", "crops"]


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 8])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_shares_are_all_rows_once_in_order_and_nearly_equal(rows: int, count: int) -> None:
    shares = [Processes(rank, count).share(range(10, 10 + rows)) for rank in range(count)]
    assert [row for share in shares for row in share] == list(range(10, 10 + rows))
    assert [len(share) for share in shares] == Processes(0, count).sizes(rows)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_process_alone_is_itself() -> None:
    alone = Processes()
    value = torch.tensor([1.0, 2.0])
    assert alone.is_first
    assert alone.gather("x") == ["x"]
    assert alone.summed(value) is value
    assert processes.parallel(network := torch.nn.Linear(1, 1), frame_consistency(), alone) is network


def test_a_stage_starts_others_only_when_asked_and_not_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, arguments: started.append(arguments))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    start_processes(1, "stages.train", ["--x"], device_name="cpu")
    assert started == []
    start_processes(0, "stages.train", ["--x"], device_name="cpu")
    assert started[0][1:] == [
        "-m", "stages.training.processes", "--standalone", "--nproc-per-node=3", "-m", "stages.train", "--x",
    ]  # fmt: skip
    monkeypatch.setenv("WORLD_SIZE", "3")  # one of the started
    start_processes(3, "stages.train", ["--x"], device_name="cpu")
    assert len(started) == 1


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "pick_device", lambda name: torch.device("cuda" if name == "auto" else "cpu"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(os, "execv", lambda *_: None)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(ParamsError, match=r"engine.processes is 2, and there are 1 GPUs; allowed: 0 .* to 1"):
        start_processes(2, "stages.train", [], device_name="auto")
    start_processes(2, "stages.train", [], device_name="cpu")


@pytest.fixture
def write(workplace: Path, write_params: Callable[..., None]) -> Callable[..., None]:
    """Tables in the working directory, and a function that writes params.yaml for some processes."""
    write_tables(workplace)

    def write(count: int, **changes: object) -> None:
        tiny = {"backbone": "test_resnet", "input_px": 32, "epochs": 1, "batch_videos": 5, "dropout": 0.0,
                "fgm": {"epsilon": EPSILON}}  # fmt: skip
        write_params(
            decode={"frames": 3},
            **sections(**(tiny | changes)),
            engine={"device": "cpu", "workers": 1, "processes": count},
        )

    return write


EXACT = """
import torch
from stages import train

torch.set_default_dtype(torch.float64)
build = train.build
train.build = lambda *given: build(*given).double()
train.main()
"""
LAUNCHED = ["-m", "stages.training.processes", "--standalone", "--nproc-per-node=2"]


def run_stage(name: str, *program: str) -> subprocess.CompletedProcess:
    """The stage as its command line starts it, or another program with the stage's arguments."""
    command = [sys.executable, *(program or ("-m", "stages.train")), *PATHS]
    outs = ["--weights", f"{name}.safetensors", "--curves", name]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *outs], env=environment, capture_output=True, text=True, timeout=300)


def assert_equal_weights(tolerance: float) -> None:
    one, two = (load_weights(f"{name}.safetensors")[0] for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_train_as_one(write: Callable[..., None], count: int) -> None:
    """12 videos in batches of 5, 5 and 2: uneven shares, BatchNorm over all, FGM along the global gradient.

    The third process has no video of the last batch.
    """
    # AdamW's first steps divide a gradient by its own size. With the whole epsilon that lifts float32's rounding of one
    # of this network's 394,083 weights to 1.003e-4; the test in float64 below has the whole.
    write(1, fgm={"epsilon": EPSILON / 25})
    train.main([*PATHS, "--weights", "one.safetensors", "--curves", "one"])
    write(count, fgm={"epsilon": EPSILON / 25})
    done = run_stage("two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1/1") == 1, "only the first process speaks"
    assert_equal_weights(1e-4)
    config, other = (load_weights(f"{name}.safetensors")[1] for name in ("one", "two"))
    assert other["best"] == pytest.approx(config["best"], abs=1e-4)
    curve = pd.read_csv("two/plots/metrics/train/loss.tsv", sep="\t")
    assert len(curve) == 1


def test_in_float64_two_processes_train_as_one_to_the_last_digits(write: Callable[..., None]) -> None:
    """The same with the shipped epsilon, where no rounding is left that AdamW could lift: 1e-10 and not 1e-4."""
    write(1)
    Path("exact.py").write_text(EXACT)
    for name, program in (("one", ["exact.py"]), ("two", [*LAUNCHED, "exact.py"])):
        done = run_stage(name, *program)
        assert done.returncode == 0, done.stderr
    assert load_weights("one.safetensors")[0]["head.weight"].dtype == torch.float64
    assert_equal_weights(1e-10)


def test_an_error_of_all_processes_is_told_once_and_without_a_traceback(write: Callable[..., None]) -> None:
    write(2, pretrained="none.safetensors")
    done = run_stage("two")
    assert done.returncode == 3
    assert done.stderr == (
        "error: methods.frame_consistency.pretrained none.safetensors: no such file; `make weights` fetches the files "
        "that params name\n"
    )


def test_a_process_that_a_signal_ended_is_named(workplace: Path) -> None:
    (workplace / "victim.py").write_text(
        "import os, signal, time\n"
        "os.kill(os.getpid(), signal.SIGKILL) if os.environ['RANK'] == '1' else time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, *LAUNCHED, "victim.py"]
    done = subprocess.run(launch, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 128 + 9
    assert done.stderr == "error: SIGKILL ended process 1 of the training (of 0, 1, ...)\n"


def test_processes_end_with_a_launcher_that_was_killed(workplace: Path) -> None:
    (workplace / "waiting.py").write_text(
        "import os, pathlib, time\n"
        "from stages.training.processes import joined_processes\n"
        "with joined_processes('cpu') as (processes, _):\n"
        "    pathlib.Path(f'{processes.rank}.pid').write_text(str(os.getpid()))\n"
        "    time.sleep(100)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launcher = subprocess.Popen([sys.executable, *LAUNCHED, "waiting.py"], env=environment)
    pids = [workplace / "0.pid", workplace / "1.pid"]
    wait_until(lambda: all(path.exists() and path.read_text() for path in pids))
    launcher.kill()
    launcher.wait()
    wait_until(lambda: not any(Path("/proc", path.read_text()).exists() for path in pids))


def wait_until(holds: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_last_batch_smaller_than_the_processes_and_a_product_of_batch_means(write: Callable[..., None]) -> None:
    """Batches of 11 and 1: one process has no video in the second. LayerNorm needs no statistics, so all is exact."""
    same = {"backbone": "test_convnext", "batch_videos": 11, "fcl": {"reduction": "batch"}, "ema_decay": 0.5}
    write(1, **same)
    train.main([*PATHS, "--weights", "one.safetensors", "--curves", "one"])
    write(2, **same)
    done = run_stage("two")
    assert done.returncode == 0, done.stderr
    assert_equal_weights(1e-4)
