"""Files from the network, for the command that fetches weights: resumed where they broke off, checked, then renamed."""

import hashlib
import re
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import Any, BinaryIO

from stages.errors import WeightsError
from stages.progress import progress

CHUNK_BYTES = 2**20
TIMEOUT_S = 60
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416
# Where Hugging Face says the SHA-256 of a large file: on the way to it, not at its end.
HASH_HEADER = "X-Linked-Etag"


def fetch(url: str, path: Path, *, sha256: str) -> str:
    """Put the file at `url` under `path`; returns its SHA-256. What arrived lies in `NAME.part` until it is whole.

    sha256: its first hexadecimal digits, 64 or fewer; empty: as the server says, if it does. Raises WeightsError when
    the file cannot be had or is another one; `NAME.part` stays for the next try, unless its content is wrong.
    """
    part = path.with_name(f"{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    announced = _Announced()
    try:
        _receive(url, part, announced)
    except urllib.error.HTTPError as error:
        if error.code != RANGE_NOT_SATISFIABLE:
            raise WeightsError(f"{url}: the server answers {error.code} {error.reason}") from None
        # All of it is there already, or more: the hash tells.
    except (OSError, HTTPException) as error:
        raise WeightsError(f"{url}: {error or type(error).__name__}; run again to go on") from None
    wanted = (sha256 or announced.sha256).lower()
    found = _sha256(part)
    if not found.startswith(wanted):
        part.unlink()
        raise WeightsError(f"{url}: the SHA-256 of what arrived is {found}, wanted is {wanted}; it was deleted")
    part.replace(path)
    return found


class _Announced(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and keeps the hash that a server gives on the way."""

    sha256 = ""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str) -> Any:
        given = headers.get(HASH_HEADER, "").strip('"')
        if re.fullmatch("[0-9a-f]{64}", given):
            self.sha256 = given
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(url: str, part: Path, announced: _Announced) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.build_opener(announced).open(request, timeout=TIMEOUT_S) as answer:
        # A server that does not know ranges sends the whole file again.
        goes_on = answer.status == PARTIAL_CONTENT
        expected = int(answer.headers.get("Content-Length", 0))
        with part.open("ab" if goes_on else "wb") as file:
            received = _copy(answer, file, expected, name=part.stem)
    if received < expected:
        raise HTTPException(f"the connection broke off after {received} of {expected} bytes")


def _copy(source: Any, file: BinaryIO, expected: int, *, name: str) -> int:
    received = 0
    with progress(None, desc=name, unit="B", total=expected or None) as bar:
        while chunk := source.read(CHUNK_BYTES):
            file.write(chunk)
            received += len(chunk)
            bar.update(len(chunk))
    return received


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
