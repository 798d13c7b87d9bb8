"""Files and folders that are replaced whole or not at all, a full disk included; how commands end."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from models.errors import AigcVqaError
from stages.engine.command import run
from stages.errors import TableError
from stages.io.digests import file_sha256
from stages.io.files import replacing, replacing_folder, temporary_prefix, write_bytes, write_text
from stages.io.json import write_json
from tests.conftest import ROOT

WRITERS = {
    "bytes": "write_bytes(path, b'x' * 100_000)",
    "table": "write_table(path, table, schema=SCHEMA, metadata={})",
    "item": "ItemCache('s', path.parent).write('k' * 32, table)",
    "shards": "write_shards(path, {'a': 'k'}, lambda *_: table, schema=SCHEMA, n_shards=1, made_by={}, failed={})",
}
PROGRAM = """
    import resource, sys
    from pathlib import Path
    import pyarrow as pa
    from stages.engine.command import run
    from stages.io.files import write_bytes, write_text
    from stages.engine.cache import ItemCache
    from stages.io.shards import write_shards
    from stages.io.tables import write_table
    SCHEMA = pa.schema([('video_id', pa.string())])
    path, limit = Path(sys.argv[1]), int(sys.argv[2])
    import random
    table = pa.table({{'video_id': [random.Random(i).randbytes(9).hex() for i in range(9000)]}})
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    run(lambda: {call})
"""


def write_in_process(call: str, path: Path, *, limit: int = 0) -> subprocess.CompletedProcess[str]:
    program = textwrap.dedent(PROGRAM).format(call=call)
    return subprocess.run(
        [sys.executable, "-c", program, str(path), str(limit)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("kind", WRITERS)
def test_a_write_that_runs_out_of_room_leaves_the_old_file(tmp_path: Path, kind: str) -> None:
    """A limit on the size of files stops the write in the middle, as a full disk does (errno EFBIG for ENOSPC)."""
    path = tmp_path / "out"
    if kind == "item":
        path.mkdir()
    elif kind == "shards":
        path.mkdir()
        (path / "part-000.parquet").write_text("old")
    else:
        path.write_text("old")
    before = sorted((str(file), file.is_file() and file.read_text()) for file in tmp_path.rglob("*"))
    done = write_in_process(WRITERS[kind], path, limit=20_000)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: cannot write")
    assert "File too large; what was finished is kept, run again with room" in done.stderr
    folders = [tmp_path / "s", tmp_path / "s" / "kk"]  # the item cache keeps its (empty) folders
    after = sorted(
        (str(file), file.is_file() and file.read_text()) for file in tmp_path.rglob("*") if file not in folders
    )
    assert after == before


@pytest.mark.parametrize("kind", ["bytes", "shards"])
def test_a_really_full_disk(tmp_path: Path, kind: str) -> None:
    """The same on a file system of 64 KiB, where the machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    program = textwrap.dedent(PROGRAM).format(call=WRITERS[kind])
    script = (
        'mount -t tmpfs -o size=64k tmpfs "$1" || exit 77; "$2" -c "$3" "$1/out" 0; status=$?; ls -A "$1"; exit $status'
    )
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", str(disk), sys.executable, program],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode not in (0, 3) or "unshare:" in done.stderr:
        pytest.skip("no file system can be mounted here")
    assert done.returncode == 3
    assert "No space left on device; what was finished is kept" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_failing_block_leaves_nothing(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(IsADirectoryError), replacing(tmp_path / "a") as temporary:
        temporary.write_text("half") and tmp_path.write_text("fails")
    assert (tmp_path / "a").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_nothing_is_visible_before_the_end(tmp_path: Path) -> None:
    with replacing(tmp_path / "new" / "a.json") as temporary:
        temporary.write_text("1")
        assert not (tmp_path / "new" / "a.json").exists()
        assert temporary.parent == tmp_path / "new"
        assert temporary.name.startswith(".")
    assert (tmp_path / "new" / "a.json").read_text() == "1"


def test_modes_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
        with replacing_folder(tmp_path / "b"):
            pass
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o750


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for number in (1, 2):
        with replacing_folder(folder) as temporary:
            assert not any(temporary.iterdir())
            (temporary / f"part-{number}").write_text("x")
            assert [file.name for file in folder.iterdir()] == ["part-1"] if number == 2 else not folder.exists()
    assert [file.name for file in folder.iterdir()] == ["part-2"]
    with pytest.raises(IsADirectoryError), replacing_folder(folder) as temporary:
        (temporary / "part-3").write_text("half") and tmp_path.write_text("fails")
    assert [file.name for file in folder.iterdir()] == ["part-2"]
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_the_old_folder_never_shows_half_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While files of the old folder are deleted, the name already stands for the new one."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("x")
    seen = []
    remove = shutil.rmtree

    def watching(path: Path, **options: Any) -> None:
        seen.append(sorted(file.name for file in (tmp_path / "out").iterdir()))
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", watching)
    with replacing_folder(tmp_path / "out") as temporary:
        (temporary / "new").write_text("x")
    assert seen
    assert all(names == ["new"] for names in seen)


def test_json_is_sorted_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [0.5, None]})
    assert (tmp_path / "a.json").read_bytes() == b'{\n  "a": [\n    0.5,\n    null\n  ],\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert (tmp_path / "a.json").read_text().startswith('{\n  "a": [')


def test_text_is_utf8_and_hash_is_the_published_one(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "ü")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xbc"
    write_bytes(tmp_path / "b", b"abc")  # FIPS 180-2, appendix B.1
    assert file_sha256(tmp_path / "b") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (TableError("t.parquet: damaged"), 3, "error: t.parquet: damaged\n"),
        (AigcVqaError("base"), 3, "error: base\n"),
        (
            OSError(errno.ENOSPC, "full", "/x/a"),
            3,
            "error: cannot write /x/a: No space left on device; what was finished",
        ),
        (OSError(errno.EDQUOT, "quota"), 3, "error: cannot write: Disk quota exceeded; what was finished"),
        (KeyboardInterrupt(), 130, "interrupted; what was finished is kept\n"),
    ],
)
def test_how_a_command_ends(capsys: pytest.CaptureFixture[str], error: BaseException, status: int, text: str) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == status
    assert capsys.readouterr().err.startswith(text)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), PermissionError(errno.EACCES, "no")])
def test_bugs_keep_their_traceback(error: Exception) -> None:
    def main() -> None:
        raise error

    with pytest.raises(type(error)):
        run(main)


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (3, 3)])
def test_the_status_of_a_command_is_what_it_returns(returned: int | None, status: int) -> None:
    with pytest.raises(SystemExit) as caught:
        run(lambda: returned)
    assert caught.value.code == status


def test_a_full_device_while_a_temporary_file_is_written(tmp_path: Path) -> None:
    """/dev/full refuses every write with ENOSPC."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    write_text(tmp_path / "a", "old")
    with pytest.raises(OSError, match="No space left") as caught, replacing(tmp_path / "a"):
        Path("/dev/full").write_text("x" * 100_000)
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / "a").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_what_a_killed_process_left_is_swept_and_what_others_write_stays(tmp_path: Path) -> None:
    finished = subprocess.Popen(["true"])
    finished.wait()
    out = tmp_path / "out"
    killed = temporary_prefix(out).replace(f"-{os.getpid()}.", f"-{finished.pid}.")
    (tmp_path / f"{killed}abc.tmp").mkdir()
    (tmp_path / f"{killed}abc.tmp" / "half").touch()
    (tmp_path / f"{killed}abc.old").mkdir()
    kept = [
        tmp_path / f"{temporary_prefix(out)}abc.tmp",  # this process, which runs
        tmp_path / f".out.0000beef-{finished.pid}.abc.tmp",  # another machine
        tmp_path / ".out.by-hand.tmp",
    ]
    for path in kept:
        path.touch()
    with replacing_folder(out) as folder:
        (folder / "a").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["out", *(path.name for path in kept)])


def test_a_reader_that_goes_away_ends_a_command_quietly() -> None:
    program = "from stages.engine.command import run\nrun(lambda: print('\\n'.join(map(str, range(200_000)))))"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 128 + 13
