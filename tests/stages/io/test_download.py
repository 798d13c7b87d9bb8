"""Files from the network arrive whole and are what was asked for, or what was there before stays."""

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from stages.errors import WeightsError
from stages.io.download import blob_sha256, fetch, fetch_from_hub
from tests.stages.commands.file_server import CONTENT, SHA256, Server, be_hugging_face, running_server

REPO, NAME = "timm/some_network", "model.safetensors"


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture
def hub(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hugging Face is this server, and its cache an empty folder."""
    be_hugging_face(server, tmp_path / "cache", monkeypatch)
    return tmp_path / "cache"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "weights.pth"


@pytest.mark.parametrize("is_chunked", [True, False])
@pytest.mark.parametrize("sha256", ["", SHA256, SHA256.upper(), SHA256[:8]])
def test_a_file_arrives_whole(server: Server, path: Path, sha256: str, is_chunked: bool) -> None:
    server.is_chunked = is_chunked
    assert fetch(server.url(), path, sha256=sha256) == SHA256
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_connection_that_breaks_off_is_noticed_without_a_hash(server: Server, path: Path, is_chunked: bool) -> None:
    server.is_chunked, server.breaks_after = is_chunked, 5000
    with pytest.raises(WeightsError, match=rf"^{server.url()}: .*(IncompleteRead|InvalidChunkLength)"):
        fetch(server.url(), path)
    assert list(path.parent.iterdir()) == []


def test_another_file_is_deleted_and_the_one_that_was_there_stays(server: Server, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"before")
    with pytest.raises(WeightsError, match=rf"SHA-256 of what arrived is {SHA256}, expected 00000000"):
        fetch(server.url(), path, sha256="00000000")
    assert path.read_bytes() == b"before"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_servers_that_do_not_help(server: Server, path: Path) -> None:
    with pytest.raises(WeightsError, match=rf"^{server.url('missing')}: 404 Client Error"):
        fetch(server.url("missing"), path)
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError, match=rf"^{server.url()}: .*refused"):
        fetch(server.url(), path)
    assert list(path.parent.iterdir()) == []


def test_hugging_face(server: Server, hub: Path, path: Path) -> None:
    assert fetch_from_hub(REPO, NAME, path) == SHA256
    assert path.read_bytes() == CONTENT
    assert not path.is_symlink()
    # It is in Hugging Face's cache now, for timm too.
    cached = huggingface_hub.try_to_load_from_cache(REPO, NAME)
    assert isinstance(cached, str)
    assert blob_sha256(Path(cached)) == SHA256
    fetch_from_hub(REPO, NAME, path)
    assert server.fetched == [f"/{REPO}/resolve/main/{NAME}"]
    fetch_from_hub(REPO, NAME, path, is_forced=True)
    assert len(server.fetched) == 2


@pytest.mark.parametrize(("announced", "sha256"), [(SHA256, "0000"), ("0" * 64, "")])
def test_another_file_of_hugging_face(server: Server, hub: Path, path: Path, announced: str, sha256: str) -> None:
    """Than params.yaml names, or than the server says that it is."""
    server.announced = announced
    with pytest.raises(WeightsError, match=rf"{NAME}: the SHA-256 of what arrived is {SHA256}, expected 0000"):
        fetch_from_hub(REPO, NAME, path, sha256=sha256)
    assert not path.exists()


def test_hugging_face_cannot_help(server: Server, hub: Path, path: Path) -> None:
    with pytest.raises(WeightsError, match=r"^http://127.0.0.1:\d+/timm/missing/resolve/main/model.safetensors: .*404"):
        fetch_from_hub("timm/missing", NAME, path)
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError, match=rf"{NAME}: [^\n]+$"):
        fetch_from_hub(REPO, NAME, path)
    assert not path.exists()


def test_caches_that_do_not_tell_a_hash(tmp_path: Path) -> None:
    assert blob_sha256(tmp_path / "resnet50-0676ba61.pth") == ""
