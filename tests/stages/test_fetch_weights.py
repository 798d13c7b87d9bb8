"""`make weights`: what is wanted follows from the params; files are resumed, checked and never half there."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from stages import fetch_weights as module
from stages.errors import WeightsError
from stages.fetch_weights import Origin, Wanted, main, provide, timm_origin, torchvision_origin, wanted_files
from stages.io.download import HASH_HEADER, fetch
from stages.params import check_params, merge, read_preset, read_yaml
from tests.conftest import ROOT

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT under every path but `/redirect`, which leads to it. `ranges`: those that were asked for."""

    ranges: list[str | None]
    knows_ranges = True
    announced = SHA256
    breaks_after: int | None = None


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header(HASH_HEADER, f'"{self.server.announced}"')
            self.send_header("Location", "/file")
            self.end_headers()
            return
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked[6:-1]) if asked and self.server.knows_ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        part = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[: self.server.breaks_after])

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.ranges = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()


def url(server: Server, name: str = "file") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{name}"


@pytest.mark.parametrize("sha256", ["", SHA256, SHA256.upper(), SHA256[:8]])
def test_a_file_arrives_whole(server: Server, tmp_path: Path, sha256: str) -> None:
    path = tmp_path / "new" / "weights.pth"
    assert fetch(url(server), path, sha256=sha256) == SHA256
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["weights.pth"]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_broken_connection_is_taken_up_again(server: Server, tmp_path: Path, knows_ranges: bool) -> None:
    path, part = tmp_path / "weights.pth", tmp_path / "weights.pth.part"
    server.breaks_after = 5000
    with pytest.raises(WeightsError, match="run again to go on"):
        fetch(url(server), path, sha256=SHA256)
    assert part.read_bytes() == CONTENT[:5000]
    assert not path.exists()
    server.breaks_after, server.knows_ranges = None, knows_ranges
    fetch(url(server), path, sha256=SHA256)
    assert server.ranges == [None, "bytes=5000-"]
    assert path.read_bytes() == CONTENT
    assert not part.exists()


def test_all_of_it_was_there_but_the_last_step(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(CONTENT)
    fetch(url(server), tmp_path / "weights.pth", sha256=SHA256)
    assert (tmp_path / "weights.pth").read_bytes() == CONTENT


def test_another_file_is_deleted(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(WeightsError, match=rf"SHA-256 of what arrived is {SHA256}, wanted is 00000000"):
        fetch(url(server), path, sha256="00000000")
    assert list(tmp_path.iterdir()) == []


def test_the_hash_that_a_server_gives_on_the_way(server: Server, tmp_path: Path) -> None:
    assert fetch(url(server, "redirect"), tmp_path / "weights.pth", sha256="") == SHA256
    server.announced = "0" * 64
    with pytest.raises(WeightsError, match=f"wanted is {'0' * 64}"):
        fetch(url(server, "redirect"), tmp_path / "other.pth", sha256="")


def test_servers_that_do_not_help(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="the server answers 404"):
        fetch(url(server, "missing"), tmp_path / "weights.pth", sha256="")
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError, match="run again to go on"):
        fetch(url(server), tmp_path / "weights.pth", sha256="")


def wanted(preset: str | None = None, **changes: dict[str, Any]) -> dict[str, Wanted]:
    values = read_yaml(ROOT / "params.yaml")
    if preset is not None:
        values = merge(values, read_preset(preset, params=ROOT / "params.yaml", folder=ROOT / "presets")[1])
    return {each.key: each for each in wanted_files(check_params(merge(values, changes), source="test"))}


def test_the_demo_needs_nothing() -> None:
    assert wanted() == {}


def test_a_preset_s_files_and_where_they_come_from() -> None:
    files = wanted("t2vqa_db+detectors/coco")
    assert set(files) == {"detector.source", "cropper.source", "train.pretrained"}
    detector = files["detector.source"]
    assert detector.path == Path("weights/pretrained/fasterrcnn_resnet50_fpn_v2_coco.pth")
    # torchvision's name for it: ...-dd69338a.pth.
    assert re.search(r"/fasterrcnn_resnet50_fpn_v2_coco-(\w{8})\.pth$", detector.origin.url)
    assert detector.origin.sha256 == detector.origin.url[-12:-4]
    assert detector.origin.cached == Path(torch.hub.get_dir()) / "checkpoints" / detector.origin.url.split("/")[-1]
    assert files["train.pretrained"].origin.url.endswith(
        "timm/convnext_tiny.fb_in22k_ft_in1k/resolve/main/model.safetensors"
    )
    assert (files["cropper.source"].origin.url, bool(files["cropper.source"].origin.note)) == ("", True)


def test_other_sources() -> None:
    full = "a" * 64
    assert wanted("t2vqa_db+detectors/coco", detector={"sha256": full})["detector.source"].origin.sha256 == full
    genome = wanted("t2vqa_db")["detector.source"]
    assert genome.path.name == "faster_rcnn_from_caffe_attr.pkl"
    assert "answers no more" in genome.origin.note
    table = wanted(detector={"backend": "table", "source": "boxes.parquet"})["detector.source"]
    assert "you bring along" in table.origin.note
    more = wanted(
        detector={"pretrained": "a.pth", "architecture": "fasterrcnn_resnet50_fpn"},
        cropper={"pretrained": "b.pth", "backbone": "mobilenet_v2"},
    )
    assert "fasterrcnn_resnet50_fpn_coco-" in more["detector.pretrained"].origin.url
    assert "mobilenet_v2-" in more["cropper.pretrained"].origin.url
    assert torchvision_origin("timm_fpn").note
    assert timm_origin("test_convnext2_unknown").note
    assert timm_origin("convnext_tiny.unknown").note


def test_detectron2_is_asked_for_its_own() -> None:
    pytest.importorskip("detectron2")
    settings = {"backend": "detectron2", "source": "w.pkl"}
    known = wanted(detector=settings | {"config": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"})["detector.source"]
    assert known.origin.url.endswith("/COCO-Detection/faster_rcnn_R_50_FPN_1x/137257794/model_final_b275ba.pkl")
    assert "publishes no weights" in wanted(detector=settings | {"config": "mine.yaml"})["detector.source"].origin.note


def test_caches_are_looked_into_first(tmp_path: Path) -> None:
    (tmp_path / "cached.pth").write_bytes(CONTENT)
    path = tmp_path / "pretrained" / "weights.pth"
    origin = Origin("http://127.0.0.1:1/", SHA256[:8], cached=tmp_path / "cached.pth")
    assert "copied from" in provide(Wanted("detector.source", path, origin))
    assert path.read_bytes() == CONTENT
    assert "is there" in provide(Wanted("detector.source", path, origin))
    path.unlink()
    with pytest.raises(WeightsError, match=rf"its SHA-256 is {SHA256}, wanted is 0000"):
        provide(Wanted("detector.source", path, origin._replace(sha256="0000")))
    assert not path.exists()


def test_command(
    server: Server, write_params: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(module, "torchvision_origin", lambda name: Origin(url(server, name), SHA256[:8]))
    write_params(detector={"source": "w/a.pth"})
    assert main([]) == 0
    output = capsys.readouterr().out
    assert f"w/a.pth: fetched from {url(server, 'timm_fpn')}, SHA-256 {SHA256}" in output
    assert "weights: 1 of 1 files that params.yaml names are there" in output
    # The file stays as it is; what cannot be had is named, and the others are provided all the same.
    write_params(detector={"source": "w/a.pth"}, cropper={"source": "w/s2cnet.pth"})
    assert main([]) == 1
    output = capsys.readouterr().out
    assert "w/a.pth: is there" in output
    assert "w/s2cnet.pth (cropper.source) is missing and cannot be fetched: S2CNet's authors" in output
    write_params(detector={"source": "w/a.pth", "sha256": "0" * 64})
    assert main([]) == 1
    assert f"w/a.pth (detector.source): its SHA-256 is {SHA256}, wanted is {'0' * 64}" in capsys.readouterr().out
    assert len(server.ranges) == 1
