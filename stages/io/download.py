"""Downloads for the command that fetches weights: checked, then stored whole or not at all."""

import re
import shutil
import sys
from pathlib import Path

from huggingface_hub import hf_hub_download, hf_hub_url
from pooch import HTTPDownloader

from stages.errors import WeightsError
from stages.io.digests import file_sha256
from stages.io.files import replacing

CHUNK_BYTES = 2**20
TIMEOUT_S = 60


def fetch(url: str, path: Path, *, sha256: str = "") -> str:
    """Download the file at `url` to `path`.

    Args:
        url: Where the file is served, by HTTP or HTTPS.
        path: Where it is stored; the folder is created. After an error, an existing file is as it was.
        sha256: The first hexadecimal digits of the expected SHA-256, 64 or fewer; empty: any.

    Returns:
        The SHA-256 of the file, as 64 hexadecimal digits.

    Raises:
        WeightsError: The file cannot be fetched, the connection breaks, or the hash is not the expected one.
    """
    with replacing(path) as temporary:
        # Not pooch.retrieve: it compares whole hashes, but torchvision's file names give only the first eight digits.
        download = HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=CHUNK_BYTES, timeout=TIMEOUT_S)
        try:
            download(url, str(temporary), None)
        except OSError as error:
            raise WeightsError(f"{url}: {error}") from None
        return _check(temporary, url, sha256)


def fetch_from_hub(repo: str, name: str, path: Path, *, sha256: str = "", is_forced: bool = False) -> str:
    """Copy a file of a Hugging Face repository to `path`, by way of Hugging Face's own cache.

    Args:
        repo: The repository, such as "timm/resnet50.a1_in1k".
        name: The file in it.
        path: Where it is stored; the folder is created. After an error, an existing file is as it was.
        sha256: The first hexadecimal digits of the expected SHA-256; empty: the one that Hugging Face states, if any.
        is_forced: Whether to download the file even if the cache has it.

    Returns:
        The SHA-256 of the file, as 64 hexadecimal digits.

    Raises:
        WeightsError: The file cannot be fetched, or its hash is not the expected one.
    """
    url = hf_hub_url(repo, name)
    try:
        cached = Path(hf_hub_download(repo, name, force_download=is_forced))
    except Exception as error:  # its own, and those of httpx or requests, depending on its version
        raise WeightsError(f"{url}: {' '.join(str(error).split()) or type(error).__name__}") from None
    digest = _check(cached, url, sha256 or blob_sha256(cached))
    with replacing(path) as temporary:
        shutil.copyfile(cached, temporary)
    return digest


def blob_sha256(cached: Path) -> str:
    """The SHA-256 that a large file in Hugging Face's cache should have.

    Args:
        cached: A file in a cache, of Hugging Face or another program.

    Returns:
        64 hexadecimal digits, the name of the blob that `cached` links to; empty where the cache does not tell.
    """
    name = cached.resolve().name
    return name if re.fullmatch("[0-9a-f]{64}", name) else ""


def _check(file: Path, url: str, sha256: str) -> str:
    digest = file_sha256(file)
    if not digest.startswith(sha256.lower()):
        raise WeightsError(f"{url}: the SHA-256 of what arrived is {digest}, expected {sha256}")
    return digest
