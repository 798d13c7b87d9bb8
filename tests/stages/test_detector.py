"""The detector stage: training on a folder of boxes, going on after a crash, importing a file."""

import hashlib
import json
import os
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
from stages.detector import detector, main
from stages.errors import DatasetError, WeightsError
from stages.io.digests import file_sha256
from stages.io.weights import load_weights
from stages.params.load import check_params, merge
from stages.params.schema import Params
from stages.training.state import TrainingState
from tests.configs import placed

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
        shipped = shipped_params["detector"]
        section = merge(shipped, placed(shipped, TINY | changes))
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
    detector(params, source=source, weights=weights, metrics=metrics)
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
    assert 0 < metrics["ap"] <= metrics["ap50"] <= 1
    _, config = load_weights("first/detector.safetensors")
    assert config["classes"] == ["object"]
    assert config["made_by"]["detector"]["params"]["training"]["epochs"] == 8


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
    assert len(saved) == 4  # three epochs, and what the held-out images measure
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
        run_stage(params(merge_classes=False), source)
    (source / "val.json").unlink()
    with pytest.raises(DatasetError, match=r"val\.json: no such file"):
        run_stage(params(), source)


def test_bad_images_of_both_parts_are_told_before_any_training(params: Make, source: Path, capsys) -> None:
    cv2.imwrite(str(source / "images/val1.png"), np.zeros((8, 8, 3), np.uint8))
    (source / "images/val2.png").write_bytes(b"no image")
    with pytest.raises(DatasetError) as caught:
        run_stage(params(), source)
    lines = str(caught.value).splitlines()
    assert lines[0] == "val.json: the object boxes cannot be used"
    assert "val1.png: 8x8 px, the annotations say 40x32" in lines[1]
    assert "val2.png: no readable image" in lines[2]
    assert "epoch" not in capsys.readouterr().out


def test_what_is_left_out_of_the_annotations_is_said(params: Make, source: Path, capsys) -> None:
    values = json.loads((source / "train.json").read_text(encoding="utf-8"))
    values["annotations"][0]["iscrowd"] = 1
    values["annotations"][1]["bbox"][2] = 0
    (source / "train.json").write_text(json.dumps(values), encoding="utf-8")
    run_stage(params(epochs=1), source)
    out = capsys.readouterr().out
    assert "detector: 1 regions of crowds in train.json are no objects to learn or to find" in out
    assert "detector: 1 annotations in train.json have no box with an area: left out" in out


def test_what_only_detecting_depends_on_trains_nothing_again(
    params: Make, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = run_stage(params(epochs=2), source)
    assert "epoch 2/2" in capsys.readouterr().out
    # Which frames are looked at, what is measured and what concerns imports is not even noted.
    assert run_stage(params(epochs=2, recall_boxes=1, licence="CC0"), source, "second")[0] == first
    _, metrics = run_stage(params(epochs=2, min_score=0.9, labels="best", recall_boxes=1), source, "third")
    assert "epoch" not in capsys.readouterr().out
    assert metrics["n"] == 1
    assert load_weights("third/detector.safetensors")[1]["detector"]["min_score"] == 0.9
    before, after = (load_weights(f"{name}/detector.safetensors")[0] for name in ("first", "third"))
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    for change in ({"seed": 1}, {"zoom": 0.3}, {"learning_rate": 0.001}):
        run_stage(params(epochs=2, **change), source, "fourth")
        assert "epoch 2/2" in capsys.readouterr().out


def test_the_data_count_and_not_where_or_when_they_were_written(
    params: Make, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = run_stage(params(epochs=2), source)
    capsys.readouterr()
    copy = Path(shutil.copytree(source, "copied"))
    for path in copy.rglob("*.png"):
        os.utime(path, (1, 1))
    # As `dvc exp run --temp` and `touch` do.
    run_stage(params(epochs=2, source="copied"), copy, "second")
    assert "trained already" in capsys.readouterr().out
    before, after = (load_weights(f"{name}/detector.safetensors")[0] for name in ("first", "second"))
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    # One pixel of one image: as many bytes and the same time may be those of another image.
    (image,) = copy.glob("images/train0.png")
    pixels = np.asarray(cv2.imread(str(image)))
    pixels[0, 0] ^= 255
    cv2.imwrite(str(image), pixels)
    os.utime(image, (1, 1))
    assert run_stage(params(epochs=2), copy, "third")[0] != first
    assert "epoch 2/2" in capsys.readouterr().out


def test_a_training_starts_from_other_weights(params: Make, source: Path) -> None:
    run_stage(params(epochs=8), source)
    settings = {"epochs": 1, "learning_rate": 1e-9, "warmup_fraction": 0.0, "merge_classes": False}
    pretrained = "first/detector.safetensors"
    run_stage(params(pretrained=pretrained, **settings), source, "second")
    before, after = (load_weights(f"{name}/detector.safetensors") for name in ("first", "second"))
    # A step this small moves nothing: what is left of the first training is all but its classes.
    name = "backbone.body.conv1.weight" if "backbone.body.conv1.weight" in before[0] else next(iter(before[0]))
    torch.testing.assert_close(after[0][name], before[0][name], atol=1e-5, rtol=0)
    assert len(after[0]["roi_heads.box_predictor.cls_score.bias"]) == 3
    made = after[1]["made_by"]["detector"]
    assert made["pretrained"] == file_sha256(pretrained)
    assert "opencv-python-headless" in made["libraries"]
    # Another file of the same name is another training.
    run_stage(params(seed=5), source)
    run_stage(params(pretrained=pretrained, **settings), source, "third")
    assert load_weights("third/detector.safetensors")[1]["made_by"]["detector"]["pretrained"] != made["pretrained"]
    third = load_weights("third/detector.safetensors")[0]
    assert not torch.allclose(third[name], after[0][name], atol=1e-3)
    with pytest.raises(WeightsError, match="weights of timm_fpn, wanted is fasterrcnn"):
        run_stage(params(pretrained=pretrained, architecture=SMALLEST), source, "third")


def test_a_wanted_hash_and_a_licence(params: Make, workplace: Path, source: Path) -> None:
    published = torchvision.models.get_model(SMALLEST, weights=None, weights_backbone=None, num_classes=3)
    torch.save(published.state_dict(), "coco.pth")
    found = hashlib.sha256(Path("coco.pth").read_bytes()).hexdigest()
    run_stage(params(architecture=SMALLEST, sha256=found, licence="BSD-3-Clause"), Path("coco.pth"))
    made = load_weights("first/detector.safetensors")[1]["made_by"]["detector"]
    assert made["source"] == {"name": "coco.pth", "sha256": found, "licence": "BSD-3-Clause"}
    # No param of a training makes a difference to an import.
    first = Path("first/detector.safetensors").read_bytes()
    wanted = {"architecture": SMALLEST, "sha256": None, "licence": "BSD-3-Clause", "epochs": 77, "recall_boxes": 9}
    assert run_stage(params(**wanted), Path("coco.pth"), "again")[0] == first
    with pytest.raises(WeightsError, match=rf"coco\.pth: its SHA-256 is {found}, expected {'0' * 64}"):
        run_stage(params(architecture=SMALLEST, sha256="0" * 64), Path("coco.pth"), "second")
    with pytest.raises(DatasetError, match=r"detector.sha256 = 0+ is for a weights file"):
        run_stage(params(sha256="0" * 64), source, "second")
    with pytest.raises(DatasetError, match=r"detector.backend = detectron2 is for a weights file"):
        run_stage(params(backend="detectron2"), source, "second")
    assert not Path("second").exists()


def test_an_import_of_own_weights_keeps_their_source_and_takes_the_settings_asked_for(
    params: Make, workplace: Path
) -> None:
    published = torchvision.models.get_model(SMALLEST, weights=None, weights_backbone=None, num_classes=3)
    torch.save(published.state_dict(), "coco.pth")
    run_stage(params(architecture=SMALLEST, licence="BSD-3-Clause"), Path("coco.pth"))
    before = load_weights("first/detector.safetensors")[1]["made_by"]["detector"]
    run_stage(params(min_score=0.0, nms_iou=0.3, labels="best"), Path("first/detector.safetensors"), "second")
    _, config = load_weights("second/detector.safetensors")
    assert config["detector"]["architecture"] == SMALLEST  # the file's, whatever params.yaml trains
    asked = {name: config["detector"][name] for name in ("min_score", "nms_iou", "labels")}
    assert asked == {"min_score": 0.0, "nms_iou": 0.3, "labels": "best"}
    own = config["made_by"]["detector"]["source"]
    assert (own["name"], own["licence"], own["made_by"]) == ("detector.safetensors", "BSD-3-Clause", before)


def test_boxes_are_taken_over(params: Make, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("boxes") / "a.avi"
    folder.mkdir(parents=True)
    (folder / "0.txt").write_text("1 2 3 4\n5 6 7 8\n")
    settings = params(backend="table", min_score=0.2, labels="best")
    first, metrics = run_stage(settings, Path("boxes"))
    assert metrics == {"imported": 1, "n_images": 0, "n_boxes": 0}
    assert "took over 2 boxes of 1 videos from boxes" in capsys.readouterr().out
    _, config = load_weights("first/detector.safetensors")
    assert config["detector"] == {"min_score": 0.2, "nms_iou": 0.5, "max_detections": 100, "labels": "best"}
    assert config["made_by"]["detector"]["source"]["name"] == "boxes"
    # The texts' content is what counts, not when they were written.
    (folder / "0.txt").touch()
    assert run_stage(settings, Path("boxes"), "second")[0] == first
    (folder / "1.txt").write_text("1 2 3 4\n")
    assert run_stage(settings, Path("boxes"), "second")[0] != first
    with pytest.raises(DatasetError, match=r"boxes is a folder, detector\.sha256 is for a file"):
        run_stage(params(backend="table", sha256="0" * 64), Path("boxes"), "third")


def test_detectron2s_weights_are_imported(params: Make, workplace: Path) -> None:
    pytest.importorskip("detectron2")
    from tests.stages.steps.test_detectron import FPN, OPTIONS, arrays, build, write

    write(Path("model_final.pkl"), arrays(build(FPN)))
    settings = params(backend="detectron2", config=FPN, options=OPTIONS[FPN], labels="best")
    run_stage(settings, Path("model_final.pkl"))
    _, config = load_weights("first/detector.safetensors")
    assert (config["backend"], config["detector"]["n_classes"], config["detector"]["labels"]) == (
        "detectron2",
        6,
        "best",
    )
    assert set(config["made_by"]["detector"]["libraries"]) == {"pillow", "torch", "torchvision", "detectron2"}


def test_command(
    write_params: Callable[..., None], shipped_params: dict, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_params(detector=placed(shipped_params["detector"], TINY | {"epochs": 1}), engine={"device": "cpu"})
    main(["--source", str(source), "--weights", "w.safetensors", "--metrics", "m.json"])
    assert "of 5 objects in 6 held-out images are among the best 2 boxes" in capsys.readouterr().out
    assert json.loads(Path("m.json").read_text(encoding="utf-8"))["n_boxes"] == 5
    assert load_weights("w.safetensors")[1]["detector"]["timm_fpn"]["fpn_channels"] == 16
