"""A server of one file on this machine, as good or as bad as a test wants it."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from stages.io.download import HASH_HEADER

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content` under every path but `/missing`, and `/redirect`, which leads to it.

    ranges: those that were asked for. versions: the headers that say which version of the file it is. knows_ranges,
    checks_version: whether Range and If-Range are heeded. range_says: Content-Range of an answer to Range, in place of
    the right one. framing: "length", "chunks", or "nothing" but the end of the connection. breaks_after: bytes of an
    answer after which the connection is cut.
    """

    content = CONTENT
    announced = SHA256
    knows_ranges = True
    checks_version = True
    range_says: str | None = None
    framing = "length"
    breaks_after: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.versions: dict[str, str] = {}

    def url(self, name: str = "file") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        if self.path == "/missing":
            self.send_error(404)
        elif self.path == "/redirect":
            self.answer(302, {HASH_HEADER: f'"{self.server.announced}"', "Location": "/file", "Content-Length": "0"})
        else:
            self.send_file()

    def send_file(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.ranges.append(asked)
        wanted = self.headers.get("If-Range")
        same = wanted is None or not server.checks_version or wanted in server.versions.values()
        start = int(re.sub(r"\D", "", asked)) if asked and server.knows_ranges and same else 0
        total = len(server.content)
        if start >= total:
            self.answer(416, {"Content-Range": f"bytes */{total}", "Content-Length": "0"})
            return
        part = server.content[start:]
        headers = dict(server.versions)
        if start:
            headers["Content-Range"] = server.range_says or f"bytes {start}-{total - 1}/{total}"
        if server.framing == "length":
            headers["Content-Length"] = str(len(part))
        elif server.framing == "chunks":
            headers["Transfer-Encoding"] = "chunked"
            part = b"%x\r\n%s\r\n0\r\n\r\n" % (len(part), part)
        self.answer(206 if start else 200, headers)
        self.wfile.write(part[: server.breaks_after])

    def answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def running_server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
