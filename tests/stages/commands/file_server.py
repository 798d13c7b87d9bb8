"""A server of one file on this machine, as good or as bad as a test wants it."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content` under every path but `/missing`, with the headers that Hugging Face gives.

    Attributes:
        content: The file.
        announced: The SHA-256 that the headers give.
        is_chunked: Whether the file comes in chunks, without a length.
        breaks_after: Bytes of an answer after which the connection is cut; None: not at all.
        fetched: The paths of the files that were asked for, each time.
    """

    content = CONTENT
    announced = SHA256
    is_chunked = False
    breaks_after: int | None = None

    def __init__(self) -> None:
        """Take a free port of 127.0.0.1."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.fetched: list[str] = []

    def url(self, name: str = "file") -> str:
        """The address of a path of this server."""
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    """Answers one request as `server` says."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        """Answer without the file."""
        self._answer()

    def do_GET(self) -> None:
        """Answer with the file."""
        # huggingface_hub also asks its API about things of its own.
        if not self.path.startswith("/api/"):
            self.server.fetched.append(self.path)
        if self._answer():
            content = self.server.content
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content) if self.server.is_chunked else content
            self.wfile.write(body[: self.server.breaks_after])

    def _answer(self) -> bool:
        self.close_connection = True
        if "missing" in self.path:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        self.send_response(200)
        self.send_header("ETag", f'"{self.server.announced}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        if self.server.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        return True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def running_server() -> Iterator[Server]:
    """A server that runs until the block ends."""
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()


def be_hugging_face(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For this test, Hugging Face is `server`, and its cache the folder `cache`."""
    address = server.url("")[:-1]
    constants = {
        "ENDPOINT": address,
        "HUGGINGFACE_CO_URL_TEMPLATE": address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": False,
    }
    for name, value in constants.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
