"""The detector stage: training on a folder of boxes, going on after a crash, importing a file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torchvision

from models.errors import NonFiniteError
from stages.detector import detect, main
from stages.errors import DatasetError, WeightsError
from stages.io.state import TrainingState
from stages.io.weights import load_weights
from stages.params import check_params
from stages.sections import Params

SMALLEST = "fasterrcnn_mobilenet_v3_large_320_fpn"
TINY = {
    "backbone": "test_resnet", "stride_px": 8, "levels": 1, "anchor_px": 14, "fpn_channels": 16, "head_channels": 16,
    "min_size_px": 32, "max_size_px": 64, "epochs": 8, "batch_images": 4, "learning_rate": 0.005, "flip": True,
    "color_jitter": 0.1, "merge_classes": True, "recall_boxes": 2,
}  # fmt: skip

Make = Callable[..., Params]


@pytest.fixture
def params(shipped_params: dict) -> Make:
    """The shipped params with a tiny detector; changes are of its section."""

    def make(**changes: Any) -> Params:
        section = shipped_params["detector"] | TINY | changes
        engine = shipped_params["engine"] | {"device": "cpu"}
        return check_params(shipped_params | {"detector": section, "engine": engine}, source="test")

    return make


def write_objects(root: Path, *, train: int = 24, val: int = 6, names: tuple[str, ...] = ("dark", "light")) -> Path:
    """Grey noise of 32 x 32 or 32 x 40 px with a dark or a light square of 12 to 18 px; every fourth image is empty."""
    (root / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("val", val)):
        images, annotations = [], []
        for number in range(count):
            width = (32, 40)[number % 2]
            frame = random.normal(128, 12, (32, width, 3)).clip(0, 255).astype(np.uint8)
            if number % 4 != 3:
                side, kind = int(random.integers(12, 19)), int(random.integers(2))
                x, y = int(random.integers(0, width - side)), int(random.integers(0, 32 - side))
                frame[y : y + side, x : x + side] = (20, 235)[kind]
                bbox = [x, y, side, side]
                annotations.append({"id": number, "image_id": number, "category_id": 1 + kind, "bbox": bbox})
            name = f"{part}{number}.png"
            cv2.imwrite(str(root / "images" / name), frame)
            images.append({"id": number, "file_name": name, "width": width, "height": 32})
        categories = [{"id": place, "name": name} for place, name in enumerate(names, start=1)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{part}.json").write_text(json.dumps(content), encoding="utf-8")
    return root


@pytest.fixture
def source(workplace: Path) -> Path:
    return write_objects(workplace / "objects")


def run_stage(params: Params, source: Path, name: str = "first") -> tuple[bytes, dict[str, float]]:
    """The bytes of the weights and the metrics that a run of the stage writes."""
    weights, metrics = Path(name) / "detector.safetensors", Path(name) / "detector.json"
    detect(params, source=source, weights=weights, metrics=metrics)
    return weights.read_bytes(), json.loads(metrics.read_text(encoding="utf-8"))


def test_learns_squares_and_writes_flat_numbers(params: Make, source: Path) -> None:
    _, metrics = run_stage(params(), source)
    # Held out: images 0, 1, 2 and 4, 5 have a square each, 3 has none.
    assert {name: metrics[name] for name in ("n", "iou", "n_images", "n_boxes", "imported")} == {
        "n": 2, "iou": 0.5, "n_images": 6, "n_boxes": 5, "imported": 0,
    }  # fmt: skip
    assert metrics["recall_at_n"] >= 0.8
    assert 0 < metrics["mean_proposals"] <= 2
    assert metrics["train_loss"] > 0
    _, config = load_weights("first/detector.safetensors")
    assert config["classes"] == ["object"]
    assert config["made_by"]["detector"]["params"]["epochs"] == 8


def test_runs_and_crashes_change_no_byte(params: Make, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = params(epochs=3, merge_classes=False)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    whole, metrics = run_stage(settings, source)
    assert torch.equal(torch.get_rng_state(), before)
    shutil.rmtree(".cache")
    torch.manual_seed(2)
    assert run_stage(settings, source, "second") == (whole, metrics)
    shutil.rmtree(".cache")

    save, saved = TrainingState.save, []

    def crash(self: TrainingState, **state: Any) -> None:
        save(self, **state)
        saved.append(state)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingState, "save", crash)
    with pytest.raises(KeyboardInterrupt):
        run_stage(settings, source, "third")
    assert not Path("third").exists()
    # One epoch is left of the three.
    assert run_stage(settings, source, "third") == (whole, metrics)
    assert len(saved) == 3
    assert load_weights("third/detector.safetensors")[1]["detector"]["n_classes"] == 2


def test_a_loss_that_is_not_finite_stops_with_its_terms(params: Make, source: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"epoch 1, step \d: loss_classifier .*images: train\d+\.png"):
        run_stage(params(learning_rate=1e20, warmup_fraction=0.0), source)
    assert not Path("first").exists()


def test_import_says_that_no_recall_is_known(params: Make, workplace: Path) -> None:
    published = torchvision.models.get_model(SMALLEST, weights=None, weights_backbone=None, num_classes=3)
    torch.save(published.state_dict(), "coco.pth")
    _, metrics = run_stage(params(architecture=SMALLEST), Path("coco.pth"))
    assert metrics == {"imported": 1, "n_images": 0, "n_boxes": 0}
    config = load_weights("first/detector.safetensors")[1]["detector"]
    assert (config["architecture"], config["min_size_px"]) == (SMALLEST, 32)
    # Weights of this project can be imported in turn.
    own, _ = run_stage(params(), Path("first/detector.safetensors"), "second")
    assert load_weights("second/detector.safetensors")[0].keys() == published.state_dict().keys()
    assert len(own) > 0


def test_sources_that_cannot_be_used(params: Make, source: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        run_stage(params(), Path("nowhere"))
    Path("broken.safetensors").write_bytes(b"\x08\x00\x00")
    with pytest.raises(WeightsError, match=r"broken\.safetensors"):
        run_stage(params(), Path("broken.safetensors"))
    other = json.loads((source / "val.json").read_text(encoding="utf-8"))
    other["categories"].append({"id": 3, "name": "grey"})
    (source / "val.json").write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(
        DatasetError, match=r"train\.json \(dark, light\) and of val\.json \(dark, light, grey\) differ"
    ):
        run_stage(params(), source)
    (source / "val.json").unlink()
    with pytest.raises(DatasetError, match=r"val\.json: no such file"):
        run_stage(params(), source)


def test_command(write_params: Callable[..., None], source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_params(detector=TINY | {"epochs": 1}, engine={"device": "cpu"})
    main(["--source", str(source), "--weights", "w.safetensors", "--metrics", "m.json"])
    assert "of 5 objects in 6 held-out images are among the best 2 boxes" in capsys.readouterr().out
    assert json.loads(Path("m.json").read_text(encoding="utf-8"))["n_boxes"] == 5
    assert load_weights("w.safetensors")[1]["detector"]["fpn_channels"] == 16
