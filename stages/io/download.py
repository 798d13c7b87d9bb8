"""Files from the network, for the command that fetches weights: resumed where they broke off, checked, then renamed."""

import hashlib
import json
import re
import urllib.error
import urllib.request
from email.message import Message
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import Any

from stages.engine.progress import progress
from stages.errors import WeightsError
from stages.io.json import write_json

CHUNK_BYTES = 2**20
TIMEOUT_S = 60
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416
# Where Hugging Face says the SHA-256 of a large file: on the way to it, not at its end.
HASH_HEADER = "X-Linked-Etag"


class _OtherVersion(Exception):
    """What arrived earlier is not the beginning of the file that is served now."""


class _Announced(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and keeps the hash that a server gives on the way."""

    sha256 = ""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str) -> Any:
        given = headers.get(HASH_HEADER, "").strip('"')
        if re.fullmatch("[0-9a-f]{64}", given):
            self.sha256 = given
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Part:
    """What has arrived of a file, `NAME.part`, and beside it which version of the file that is, `NAME.part.json`."""

    def __init__(self, url: str, path: Path) -> None:
        self.url = url
        self.file = path.with_name(f"{path.name}.part")
        self.note = path.with_name(f"{path.name}.part.json")
        self.file.parent.mkdir(parents=True, exist_ok=True)

    @property
    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    @property
    def version(self) -> str:
        """What the server called the version that the part is of; empty when it is not known."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            return str(note["version"]) if note["url"] == self.url else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def begin(self, version: str) -> None:
        """Forget what arrived; what comes now is of this version."""
        self.clear()
        if version:
            write_json(self.note, {"url": self.url, "version": version})

    def clear(self) -> None:
        self.file.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def move(self, path: Path) -> None:
        self.file.replace(path)
        self.note.unlink(missing_ok=True)

    def sha256(self) -> str:
        with self.file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _check_range(headers: Message, part: _Part, *, have: int) -> None:
    """Raise _OtherVersion when what follows does not go on where the part ends, or is of another version."""
    found = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    if not found or int(found[1]) != have or (part.version and _version(headers) not in ("", part.version)):
        raise _OtherVersion


def _length(headers: Message, *, have: int) -> int | None:
    """The length of the file once the answer has come after what is there, if the server says."""
    length = headers.get("Content-Length", "")
    return have + int(length) if length.isdecimal() else None


def _total(headers: Message) -> int | None:
    """The length of the whole file, as an answer about a part of it says."""
    found = re.fullmatch(r"bytes (?:\*|\d+-\d+)/(\d+)", headers.get("Content-Range", "").strip())
    return int(found[1]) if found else None


def _version(headers: Message) -> str:
    """What If-Range takes: a strong ETag, or the time of the last change; empty: the server gives neither."""
    tag = headers.get("ETag", "")
    return headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag


def _take(answer: Any, part: _Part, *, have: int, has_hash: bool) -> bool:
    """Write what comes to the part; returns whether it went on with the `have` bytes that were there."""
    # A server that does not know ranges, or has another version by now, sends the whole file.
    goes_on = have > 0 and answer.status == PARTIAL_CONTENT
    if goes_on:
        _check_range(answer.headers, part, have=have)
    total = _total(answer.headers) if goes_on else None
    if total is None:
        total = _length(answer.headers, have=have if goes_on else 0)
    # A connection that breaks off is noticed when the length is known, or when chunks tell theirs.
    if total is None and not answer.chunked and not has_hash:
        raise WeightsError(
            f"{part.url}: the server tells neither length nor SHA-256, so that a part of the file would pass for "
            "all of it; fetch it by other means"
        )
    if not goes_on:
        part.begin(_version(answer.headers))
    with part.file.open("ab") as file, progress(None, desc=part.file.stem, unit="B", total=total) as bar:
        bar.update(file.tell())
        while chunk := answer.read(CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and part.size != total:
        raise HTTPException(f"the connection broke off after {part.size} of {total} bytes")
    return goes_on


def _receive(part: _Part, announced: _Announced, *, sha256: str) -> bool:
    """Fetch the file, or what is missing of it; returns whether a part was there that it goes on with."""
    if not part.version and not sha256:
        # Nothing would tell whether the file has changed since.
        part.clear()
    have = part.size
    headers = {"Range": f"bytes={have}-"} | ({"If-Range": part.version} if part.version else {}) if have else {}
    request = urllib.request.Request(part.url, headers=headers)
    try:
        with urllib.request.build_opener(announced).open(request, timeout=TIMEOUT_S) as answer:
            return _take(answer, part, have=have, has_hash=bool(sha256 or announced.sha256))
    except urllib.error.HTTPError as error:
        if error.code != RANGE_NOT_SATISFIABLE or not have:
            raise WeightsError(f"{part.url}: the server answers {error.code} {error.reason}") from None
        # All of it is there already, or more than all: of which version, only the hash can tell.
        if _total(error.headers) not in (have, None) or not (sha256 or announced.sha256):
            raise _OtherVersion from None
        return True
    except (OSError, HTTPException) as error:
        raise WeightsError(f"{part.url}: {error or type(error).__name__}; run again to go on") from None


def fetch(url: str, path: Path, *, sha256: str) -> str:
    """Put the file at `url` under `path`; returns its SHA-256. What arrived lies in `NAME.part` until it is whole.

    sha256: its first hexadecimal digits, 64 or fewer; empty: as the server says, if it does. A part is gone on with
    when the server still has that version of the file, or when the hash is known and so tells in the end; else the
    file is fetched anew. Raises WeightsError when the file cannot be had, is another one, or comes without length and
    hash; `NAME.part` stays for the next try, unless its content is wrong.
    """
    part, announced = _Part(url, path), _Announced()
    try:
        gone_on = _receive(part, announced, sha256=sha256)
    except _OtherVersion:
        part.clear()
        gone_on = _receive(part, announced, sha256=sha256)
    wanted = (sha256 or announced.sha256).lower()
    if gone_on and not part.sha256().startswith(wanted):
        # Perhaps its beginning is of another version.
        part.clear()
        _receive(part, announced, sha256=sha256)
    found = part.sha256()
    if not found.startswith(wanted):
        part.clear()
        raise WeightsError(f"{url}: the SHA-256 of what arrived is {found}, wanted is {wanted}; it was deleted")
    part.move(path)
    return found
