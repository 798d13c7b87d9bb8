"""Ctrl-C and the processes that this one starts: none of them sees it, this one gets it in time."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# The interrupt comes right behind the start: the worker's Python has hardly begun to import.
POOL = """
import os, signal, time
from stages.engine.workers import worker_pool

if __name__ == "__main__":
    with worker_pool(2) as pool:
        results = [pool.submit(abs, -3)]
        try:
            os.killpg(0, signal.SIGINT)
            time.sleep(20)
        except KeyboardInterrupt:
            print("interrupted")
        results.append(pool.submit(os.getpid))
        print(results[0].result(), results[1].result() != os.getpid())
"""

# As a terminal does it in the worst moment: while the process is being started.
HELD = """
import os, signal
from multiprocessing import context
from stages.engine.workers import WorkerContext

begin = context.SpawnProcess._Popen

def interrupted(process):
    os.killpg(0, signal.SIGINT)
    print("on its way", flush=True)
    return begin(process)

context.SpawnProcess._Popen = staticmethod(interrupted)

if __name__ == "__main__":
    process = WorkerContext().Process(target=print, args=("worker",))
    try:
        process.start()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    process.join()
    print(process.exitcode)
"""


def run(folder: Path, program: str) -> subprocess.CompletedProcess:
    (folder / "program.py").write_text(program)
    return subprocess.run(
        [sys.executable, "program.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        # A test run in the background of a shell ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize(
    ("program", "said"),
    [(POOL, "interrupted\n3 True\n"), (HELD, "on its way\ninterrupted\nworker\n0\n")],
    ids=["a worker that has just begun", "a worker that is being started"],
)
def test_an_interrupt_reaches_the_parent_alone(tmp_path: Path, program: str, said: str) -> None:
    done = run(tmp_path, program)
    assert (done.stdout, done.stderr) == (said, "")
