"""A folder in the cache comes back as it was, or counts as missing."""

import os
from pathlib import Path

from stages.engine.cache import keep_folder, restore_folder


def made(folder: Path) -> Path:
    (folder / "videos").mkdir(parents=True)
    (folder / "info.txt").write_text("a.avi|a cat|50\n")
    (folder / "videos" / "a.avi").write_bytes(bytes(range(256)) * 100)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_comes_back_with_the_same_bytes(tmp_path: Path) -> None:
    folder, archive = made(tmp_path / "demo"), tmp_path / "cache" / "demo" / "key.zip"
    keep_folder(archive, folder)
    os.utime(archive, (0, 0))
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "old").write_text("goes")
    assert restore_folder(archive, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(folder)
    # Pruning goes by the time of the last use.
    assert archive.stat().st_mtime > 0


def test_what_is_missing_or_cut_off_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    folder, archive = made(tmp_path / "demo"), tmp_path / "key.zip"
    before = contents(folder)
    assert not restore_folder(archive, folder)
    keep_folder(archive, folder)
    whole = archive.read_bytes()
    at = whole.index(bytes(range(256)))
    for damaged in (whole[:2000], whole[:-10], whole[:at] + b"\xff" + whole[at + 1 :]):
        archive.write_bytes(damaged)
        assert not restore_folder(archive, folder)
        assert contents(folder) == before
