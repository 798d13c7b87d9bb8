"""Export: the file gives what the model gives, for any number of frames, without the project's code."""

import json
import sys
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from models.methods.frame_consistency import method
from models.methods.frame_consistency.losses import frame_scores
from models.methods.frame_consistency.network import build_quality
from stages.commands import export
from stages.commands.export import ExportError, run_onnx, run_torchscript
from stages.errors import DatasetError, WeightsError
from stages.io.weights import save_weights
from tests.configs import frame_consistency_weights, quality_config, reliability
from tests.stages.clip_tables import MADE_BY

PX = 32
RUN = {"onnx": run_onnx, "torchscript": run_torchscript}


def write_model(folder: Path, backbone: str, *, pooling: str = "mean_std", statistics: dict | None = None) -> nn.Module:
    """A network with weights far from those of a fresh one, and BatchNorm statistics that are not 0 and 1."""
    made = quality_config(backbone, pooling, 0.5, PX, **(statistics or {}))
    network = build_quality(made, seed=4)
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in network.head.parameters():
            weight.add_(torch.randn(weight.shape, generator=random), alpha=0.3)
        for _ in range(2):
            network(torch.randint(0, 256, (2, 4, 3, PX, PX), dtype=torch.uint8, generator=random))
    values = frame_consistency_weights(made) | {"reliability": reliability(), "made_by": MADE_BY}
    save_weights(folder / "quality.safetensors", network.state_dict(), values)
    return network.eval()


@pytest.fixture(autouse=True)
def here(workplace: Path) -> Path:
    return workplace


@pytest.mark.parametrize(
    ("file_format", "backbone"),
    [("torchscript", "test_resnet"), ("torchscript", "test_vit"), ("onnx", "test_resnet"), ("onnx", "test_convnext")],
)
def test_the_file_gives_what_the_model_gives(
    here: Path, file_format: Literal["onnx", "torchscript"], backbone: str, capsys
) -> None:
    if file_format == "onnx":
        pytest.importorskip("onnxruntime")
    network = write_model(here, backbone, statistics={"pixel_mean": [0.4, 0.5, 0.6], "pixel_std": [0.5, 0.2, 0.3]})
    out = here / "out" / "model.bin"
    export.export(file_format=file_format, model=here, out=out)
    assert f"pixels (N, 3, {PX}, {PX}) float32, RGB, 0..1" in capsys.readouterr().out
    for count in (1, 3, 8):
        crops = np.random.default_rng(count).integers(0, 256, (count, 3, PX, PX), dtype=np.uint8)
        scores, logits = RUN[file_format](out, (crops / 255).astype(np.float32))
        with torch.no_grad():
            expected = network(torch.from_numpy(crops)[None])
        np.testing.assert_allclose(logits, expected[0], atol=1e-4)
        np.testing.assert_allclose(scores, 100 * frame_scores(expected)[0], atol=1e-2)  # 1e-4 on 0-1
        assert scores.shape == (count,)
        assert logits.shape == (count, 100)
        assert np.ptp(expected.numpy()) > 0.5, "the comparison sees differences"


def test_the_onnx_file_says_what_it_is_and_nothing_of_the_machine(here: Path) -> None:
    onnx = pytest.importorskip("onnx")
    write_model(here, "test_resnet")
    export.export(file_format="onnx", model=here / "quality.safetensors")
    assert b".py" not in (here / "quality.onnx").read_bytes(), "no lines of source, no paths of this machine"
    properties = {entry.key: entry.value for entry in onnx.load(here / "quality.onnx").metadata_props}
    known = json.loads(properties["aigc_vqa"])
    assert (known["mos_min"], known["mos_max"]) == (1.0, 5.0)
    assert known["made_by"] == MADE_BY


def test_the_torchscript_file_says_what_it_is(here: Path) -> None:
    write_model(here, "test_resnet", pooling="mean")
    export.export(file_format="torchscript", model=here)
    with zipfile.ZipFile(here / "quality.torchscript") as archive:
        name = next(name for name in archive.namelist() if name.endswith("aigc_vqa.json"))
        assert json.loads(archive.read(name))["made_by"] == MADE_BY


@pytest.mark.parametrize("differs", [0.001, float("nan")])
def test_outputs_that_are_not_the_models_are_not_written(here: Path, monkeypatch, differs: float) -> None:
    write_model(here, "test_resnet")
    monkeypatch.setattr(
        export, "run_torchscript", lambda *given: [value + differs for value in run_torchscript(*given)]
    )
    before = sorted(here.iterdir())
    with pytest.raises(ExportError, match="not written: its outputs differ"):
        export.export(file_format="torchscript", model=here, out=here / "model.torchscript")
    assert sorted(here.iterdir()) == before


def test_what_is_missing_or_foreign_is_named(here: Path, monkeypatch) -> None:
    with pytest.raises(WeightsError, match=r"quality\.safetensors: no such weights"):
        export.export(file_format="onnx", model=here)
    save_weights(here / "quality.safetensors", {"x": torch.zeros(1)}, {"variant": "paper"})
    with pytest.raises(WeightsError, match="not weights of a quality model"):
        export.export(file_format="onnx", model=here)
    write_model(here, "test_resnet")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"needs onnxruntime: pip install 'aigc-vqa\[export\]'"):
        export.export(file_format="onnx", model=here)
    assert not (here / "quality.onnx").exists()


def test_a_backbone_that_torch_cannot_convert_is_said_in_a_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")

    class Odd(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            # A branch on values has no form in a graph.
            return pixels.mean((2, 3)) if pixels.sum().item() > 0 else pixels.amax((2, 3))

    write_model(here, "test_resnet")
    monkeypatch.setattr(method, "ExportedFrames", lambda _: Odd())
    with pytest.raises(ExportError, match=r"cannot write the network as ONNX \(.+\); --format torchscript may"):
        export.export(file_format="onnx", model=here, out=here / "model.onnx")
    assert not (here / "model.onnx").exists()


def test_a_folder_is_no_file_to_write(here: Path) -> None:
    write_model(here, "test_resnet")
    (here / "out").mkdir()
    with pytest.raises(DatasetError, match=r"out: a folder; the name of a file is needed"):
        export.export(file_format="torchscript", model=here, out=here / "out")
