"""The engine's processes: crashes, full disks, Ctrl-C, SIGKILL, and the same bytes whatever happened before."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from stages.engine.cache import ItemCache
from stages.engine.run import Item, Outcome, run_items, run_stage
from stages.engine.runners import local
from stages.engine.runners.local import in_processes
from stages.io.digests import digest
from stages.io.schemas import FRAME_SCORES
from tests.conftest import ROOT, noise_clip, write_clip

DIED = "the process that worked on it died (the file crashes the decoder, or memory ran out)"


def act(payload: tuple[int, str]) -> pa.Table:
    """What a worker does: the rows of one video, or what the payload says."""
    number, action = payload
    if action == "exit":
        os._exit(3)
    if action == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if action == "raise":
        raise ZeroDivisionError("in the worker")
    if action == "full":
        raise OSError(errno.ENOSPC, "no room", "/x")
    if action == "slow":
        time.sleep(0.1)
    rows = [
        {"video_id": "", "frame_index": index, "time_s": 0.0, "score": number / 7, "sharpness": float(index)}
        for index in range(number % 4 + 1)
    ]
    return pa.Table.from_pylist(rows, schema=FRAME_SCORES)


def make_items(n: int, **actions: str) -> list[Item]:
    """Items v00, v01 ...; `v03="exit"` gives one of them something to do."""
    ids = [f"v{number:02d}" for number in range(n)]
    return [
        Item(video_id, digest("toy", number), (number, actions.get(video_id, actions.get("every", ""))))
        for number, video_id in enumerate(ids)
    ]  # fmt: skip


def test_a_process_that_dies_costs_only_its_video(tmp_path: Path) -> None:
    """Two crashes, one in the last items, and an unexpected exception; everything else is computed."""
    items, cache = make_items(10, v01="exit", v03="raise", v09="segfault"), ItemCache("toy", tmp_path)
    outcome = run_items("toy", items, in_processes(act, workers=2), cache)
    reasons = {"v01": DIED, "v03": "unexpected ZeroDivisionError: in the worker", "v09": DIED}
    assert outcome == Outcome(computed=7, cached=0, failed=reasons)
    for item in items:
        assert cache.has(item.key) == (item.video_id not in reasons)


def test_a_pool_that_refuses_work_loses_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that notices a dead process while it is given work refuses it: the item has to stay in the queue."""

    class Refusing(ThreadPoolExecutor):
        taken = 0

        def submit(self, *arguments: Any, **options: Any) -> Future[Any]:
            Refusing.taken += 1
            if Refusing.taken == 3:
                raise BrokenExecutor
            return super().submit(*arguments, **options)

    monkeypatch.setattr(local, "worker_pool", Refusing)
    outcome = run_items("toy", make_items(8), in_processes(act, workers=2), ItemCache("toy", tmp_path))
    assert outcome == Outcome(computed=8, cached=0)


def test_the_number_of_workers_does_not_change_a_byte(workplace: Path) -> None:
    for workers in (1, 2):
        shutil.rmtree(".cache", ignore_errors=True)
        run_stage(
            "toy", make_items(12), in_processes(act, workers=workers), schema=FRAME_SCORES, out=f"out{workers}",
            made_by={"toy": 1}, failed_before={"x": "y"}, n_shards=3, max_failed_fraction=0.1,
        )  # fmt: skip
    names = [path.name for path in sorted(Path("out1").iterdir())]
    assert names == ["part-000.parquet", "part-001.parquet", "part-002.parquet"]
    for name in names:
        assert (Path("out1") / name).read_bytes() == (Path("out2") / name).read_bytes()


def test_a_full_disk_stops_the_run_and_keeps_what_was_finished(tmp_path: Path) -> None:
    items, cache = make_items(40, every="slow", v06="full"), ItemCache("toy", tmp_path)
    with pytest.raises(OSError, match="no room") as caught:
        run_items("toy", items, in_processes(act, workers=1), cache)
    assert caught.value.errno == errno.ENOSPC
    done = [cache.has(item.key) for item in items]
    assert all(done[:6])
    assert not done[6]
    assert sum(done) < 12  # what only waited was dropped


def test_an_interrupt_keeps_what_was_finished(tmp_path: Path) -> None:
    items, cache = make_items(40, every="slow"), ItemCache("toy", tmp_path)
    work = in_processes(act, workers=1)(items, cache)
    assert [next(work)[0].video_id for _ in range(3)] == ["v00", "v01", "v02"]
    with pytest.raises(KeyboardInterrupt):
        work.throw(KeyboardInterrupt)
    done = [cache.has(item.key) for item in items]
    assert all(done[:3])
    assert sum(done) < 10


N_VIDEOS = 20


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a manifest of videos that take a while to decode."""
    folder = tmp_path_factory.mktemp("project")
    lines = []
    for number in range(N_VIDEOS):
        frames = list(noise_clip(number, n_frames=12, height=240, width=320))
        write_clip(folder / "raw" / "videos" / f"a_{number}.avi", frames, codec="MJPG")
        lines.append(f"a_{number}.avi|prompt {number}|{number}\n")
    (folder / "raw" / "info.txt").write_text("".join(lines))
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["dataset"] |= {"root": "raw", "format": "t2vqa_db", "labels": "info.txt", "videos": "videos"}
    values["decode"] |= {"frames": 12, "encoding": "png"}
    values["engine"] |= {"workers": 2, "shards": 3, "max_failed_fraction": 0}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    prepare = command("prepare", "--root", "raw", "--out", "manifest.parquet", "--pairs", "pairs.parquet")
    subprocess.run(prepare, cwd=folder, env=environment(), check=True, capture_output=True)
    return folder


def command(stage: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"stages.{stage}", *arguments]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "DVC_ROOT"}
    return kept | {"PYTHONPATH": str(ROOT)}


def decode(out: str) -> list[str]:
    return command("decode", "--manifest", "manifest.parquet", "--root", "raw", "--out", out)


def stop_in_the_middle(folder: Path, *, group: bool, number: int) -> tuple[subprocess.Popen[str], str]:
    """Start decode, send the signal when a few items are finished, and wait until its workers are gone too."""
    shutil.rmtree(folder / ".cache" / "decode", ignore_errors=True)
    process = subprocess.Popen(
        decode("frames"),
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A test run in the background of a shell ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while len(list((folder / ".cache" / "decode").rglob("[!.]*.item"))) < 3:
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (os.killpg if group else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=60)  # ends when every process that holds its stderr has ended
    return process, errors


def finished(folder: Path) -> int:
    return len(list((folder / ".cache" / "decode").rglob("[!.]*.item")))


def contents(folder: Path) -> Sequence[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]


def test_a_killed_stage_goes_on_where_it_was(project: Path) -> None:
    """SIGKILL of the stage alone: its workers end by themselves, no half-written item counts, the bytes are equal."""
    process, _ = stop_in_the_middle(project, group=False, number=signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (project / "frames").exists()
    done = finished(project)
    assert 3 <= done < N_VIDEOS
    again = subprocess.run(decode("frames"), cwd=project, env=environment(), capture_output=True, text=True, check=True)
    assert again.stdout == f"decode: {N_VIDEOS - done} computed, {done} cached, 0 failed\n"
    shutil.rmtree(project / ".cache" / "decode")
    unbroken = subprocess.run(
        decode("unbroken"), cwd=project, env=environment(), capture_output=True, text=True, check=True
    )
    assert unbroken.stdout == f"decode: {N_VIDEOS} computed, 0 cached, 0 failed\n"
    assert contents(project / "frames") == contents(project / "unbroken")
    shutil.rmtree(project / "frames")


@pytest.mark.parametrize(
    ("number", "group"), [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGTERM, False)], ids=str
)
def test_ctrl_c_and_sigterm_end_a_stage_without_a_traceback(project: Path, number: int, group: bool) -> None:
    """A terminal sends SIGINT to every process of the stage; `timeout` sends SIGTERM to one, Slurm to all."""
    process, errors = stop_in_the_middle(project, group=group, number=number)
    assert process.returncode == 128 + number
    assert "interrupted; what was finished is kept" in errors
    assert not re.search("Traceback|KeyboardInterrupt", errors)
    assert 3 <= finished(project) < N_VIDEOS
    assert not (project / "frames").exists()
