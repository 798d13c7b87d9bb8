"""Files from the network arrive whole and are what was asked for, whatever was there before."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.errors import WeightsError
from stages.io.download import fetch
from tests.stages.commands.file_server import CONTENT, SHA256, Server, running_server

# Another version of the file: as long, and nothing of it is the same.
OLDER = bytes(byte ^ 1 for byte in CONTENT)
VERSIONS = [{"ETag": '"new"'}, {"Last-Modified": "Tue, 01 Jul 2025 00:00:00 GMT"}, {"ETag": 'W/"weak"'} | {
    "Last-Modified": "Tue, 01 Jul 2025 00:00:00 GMT"}]  # fmt: skip


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


def part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def break_off(server: Server, path: Path, *, after: int = 5000, sha256: str = "") -> None:
    """A first try that gets some of the file."""
    server.breaks_after = after
    with pytest.raises(WeightsError, match="run again to go on"):
        fetch(server.url(), path, sha256=sha256)
    assert part_of(path).read_bytes() == server.content[:after]
    assert not path.exists()
    server.breaks_after = None


def check_whole(path: Path) -> None:
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("sha256", ["", SHA256, SHA256.upper(), SHA256[:8]])
def test_a_file_arrives_whole(server: Server, tmp_path: Path, sha256: str) -> None:
    path = tmp_path / "new" / "weights.pth"
    assert fetch(server.url(), path, sha256=sha256) == SHA256
    check_whole(path)


@pytest.mark.parametrize("knows_ranges", [True, False])
@pytest.mark.parametrize("versions", [{}, *VERSIONS])
def test_with_a_hash_a_part_is_taken_up_again(server: Server, path: Path, knows_ranges: bool, versions: dict) -> None:
    server.versions = versions
    break_off(server, path, sha256=SHA256)
    server.knows_ranges = knows_ranges
    fetch(server.url(), path, sha256=SHA256)
    assert server.ranges == [None, "bytes=5000-"]
    check_whole(path)


@pytest.mark.parametrize("versions", VERSIONS)
def test_without_a_hash_the_version_tells(server: Server, path: Path, versions: dict) -> None:
    server.versions = versions
    break_off(server, path)
    assert fetch(server.url(), path, sha256="") == SHA256
    assert server.ranges == [None, "bytes=5000-"]
    check_whole(path)


@pytest.mark.parametrize("versions", [{}, {"ETag": 'W/"weak"'}])
def test_without_hash_and_version_a_part_is_worth_nothing(server: Server, path: Path, versions: dict) -> None:
    server.versions = versions
    break_off(server, path)
    assert fetch(server.url(), path, sha256="") == SHA256
    assert server.ranges == [None, None]
    check_whole(path)


@pytest.mark.parametrize("checks_version", [True, False])
@pytest.mark.parametrize("after", [5000, len(CONTENT)])
def test_a_part_of_an_older_version(server: Server, path: Path, checks_version: bool, after: int) -> None:
    """The server sends the new file; or the rest of it, or none, with its version. The part is as long as the new file,
    or shorter."""
    server.content, server.versions = OLDER + b"more", {"ETag": '"old"'}
    break_off(server, path, after=after)
    server.content, server.versions, server.checks_version = CONTENT, {"ETag": '"new"'}, checks_version
    assert fetch(server.url(), path, sha256="") == SHA256
    check_whole(path)


def test_a_part_of_an_older_version_and_a_hash(server: Server, path: Path) -> None:
    """Nothing but the hash tells, in the end; then the file comes again."""
    server.content = OLDER
    break_off(server, path, sha256=SHA256)
    server.content = CONTENT
    assert fetch(server.url(), path, sha256=SHA256) == SHA256
    assert server.ranges == [None, "bytes=5000-", None]
    check_whole(path)


@pytest.mark.parametrize("sha256", ["", SHA256])
@pytest.mark.parametrize("more", [1, 5000])
def test_a_part_that_is_longer_than_the_file(server: Server, path: Path, sha256: str, more: int) -> None:
    server.versions = {"ETag": '"new"'}
    break_off(server, path)
    part_of(path).write_bytes(CONTENT + bytes(more))
    assert fetch(server.url(), path, sha256=sha256) == SHA256
    assert server.ranges == [None, f"bytes={len(CONTENT) + more}-", None]
    check_whole(path)


def test_all_of_it_was_there_but_the_last_step(server: Server, path: Path) -> None:
    part_of(path).write_bytes(CONTENT)
    fetch(server.url(), path, sha256=SHA256)
    assert server.ranges == [f"bytes={len(CONTENT)}-"]
    check_whole(path)


@pytest.mark.parametrize("says", ["bytes 4999-10239/10240", "bytes 0-10239/10240", "5000-", "bytes */10240"])
def test_a_range_that_does_not_go_on_where_the_part_ends(server: Server, path: Path, says: str) -> None:
    server.versions = {"ETag": '"new"'}
    break_off(server, path)
    server.range_says = says
    assert fetch(server.url(), path, sha256="") == SHA256
    assert server.ranges == [None, "bytes=5000-", None]
    check_whole(path)


@pytest.mark.parametrize("says", ["bytes 5000-10239/*", None])
def test_the_rest_can_break_off_too(server: Server, path: Path, says: str | None) -> None:
    server.versions = {"ETag": '"new"'}
    break_off(server, path)
    server.range_says, server.breaks_after = says, 100
    with pytest.raises(WeightsError, match=f"broke off after 5100 of {len(CONTENT)} bytes"):
        fetch(server.url(), path, sha256="")
    server.range_says, server.breaks_after = None, None
    assert fetch(server.url(), path, sha256="") == SHA256
    assert server.ranges == [None, "bytes=5000-", "bytes=5100-"]


def test_a_part_of_another_address(server: Server, path: Path) -> None:
    server.versions = {"ETag": '"new"'}
    break_off(server, path)
    fetch(server.url("other"), path, sha256="")
    assert server.ranges == [None, None]


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"url": 1}'])
def test_a_damaged_note_is_none(server: Server, path: Path, note: str) -> None:
    server.versions = {"ETag": '"new"'}
    break_off(server, path)
    path.with_name(f"{path.name}.part.json").write_text(note)
    assert fetch(server.url(), path, sha256="") == SHA256
    assert server.ranges == [None, None]
    check_whole(path)


def test_a_file_without_a_length(server: Server, path: Path) -> None:
    """Its end is that of the connection, whatever ended that."""
    server.framing = "nothing"
    for breaks_after in (None, 5000):
        server.breaks_after = breaks_after
        with pytest.raises(WeightsError, match="neither length nor SHA-256"):
            fetch(server.url(), path, sha256="")
        assert list(path.parent.iterdir()) == []
    with pytest.raises(WeightsError, match=f"wanted is {SHA256}; it was deleted"):
        fetch(server.url(), path, sha256=SHA256)
    server.breaks_after = None
    assert fetch(server.url(), path, sha256=SHA256[:8]) == SHA256
    assert fetch(server.url("redirect"), path, sha256="") == SHA256


def test_a_file_in_chunks(server: Server, path: Path) -> None:
    """Chunks have lengths of their own, and an end."""
    server.framing = "chunks"
    assert fetch(server.url(), path, sha256="") == SHA256
    check_whole(path)
    path.unlink()
    server.breaks_after = 5000
    with pytest.raises(WeightsError, match="run again to go on"):
        fetch(server.url(), path, sha256="")
    assert not path.exists()


def test_another_file_is_deleted(server: Server, path: Path) -> None:
    with pytest.raises(WeightsError, match=rf"SHA-256 of what arrived is {SHA256}, wanted is 00000000"):
        fetch(server.url(), path, sha256="00000000")
    assert list(path.parent.iterdir()) == []


def test_the_hash_that_a_server_gives_on_the_way(server: Server, tmp_path: Path) -> None:
    assert fetch(server.url("redirect"), tmp_path / "weights.pth", sha256="") == SHA256
    server.announced = "0" * 64
    with pytest.raises(WeightsError, match=f"wanted is {'0' * 64}"):
        fetch(server.url("redirect"), tmp_path / "other.pth", sha256="")


def test_servers_that_do_not_help(server: Server, path: Path) -> None:
    with pytest.raises(WeightsError, match="the server answers 404"):
        fetch(server.url("missing"), path, sha256="")
    server.content = b""
    with pytest.raises(WeightsError, match="the server answers 416"):
        fetch(server.url(), path, sha256="")
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError, match="run again to go on"):
        fetch(server.url(), path, sha256="")
