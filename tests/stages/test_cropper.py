"""The cropper stage: it learns where the bright square is, repeats itself byte for byte, imports, and says
what is wrong.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from models.detectors.build import build_detector
from models.detectors.interface import Detections
from models.errors import NonFiniteError
from models.s2cnet.network import GAICV2, from_release
from models.s2cnet.release import CheckpointError
from models.s2cnet.scoring import score_frames
from stages import cropper as stage
from stages.cropper import hash_images
from stages.datasets.gaic import read_gaic
from stages.errors import DatasetError, ParamsError, WeightsError
from stages.io.digests import file_sha256
from stages.io.weights import load_weights
from stages.steps.crops import load_cropper
from stages.steps.detectors import save_detector
from stages.training import cropper as crops
from tests.configs import candidate_config, faster_rcnn_config, placed
from tests.models.s2cnet.test_release import release_values
from tests.stages.datasets.test_gaic import write_image

SIDE = 64
SMALL = {
    "backbone": "test_resnet",
    "variant": "release",
    "pretrained": None,
    "input_short_side_px": SIDE,
    "reduced_channels": 4,
    "align_size": 4,
    "embed_width": 16,
    "heads": 2,
    "layers": 1,
    "mlp_width": 32,
    "head_width": 24,
    "dropout": 0.1,
    "val_fraction": 0.2,
    "epochs": 5,
    "batch_images": 4,
    "learning_rate": 0.005,
}


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A dark image with one bright square, and the square's box."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
    x, y = random.integers(0, SIDE - 16, 2)
    pixels[y : y + 16, x : x + 16] = 230
    return pixels, np.array([x, y, x + 16, y + 16], dtype=np.float32)


def write_gaic(root: Path, *, n_train: int = 24, n_test: int = 6) -> Path:
    """Scenes with 20 random crops each; the score is 1 plus 4 times the share of the square that a crop keeps."""
    (root / "annotations").mkdir(parents=True)
    for number in range(n_train + n_test):
        folder = root / "images" / ("train" if number < n_train else "test")
        folder.mkdir(parents=True, exist_ok=True)
        pixels, square = scene(number)
        cv2.imwrite(str(folder / f"{number:03d}.png"), pixels[:, :, ::-1])
        random, lines = np.random.default_rng(1000 + number), []
        for _ in range(20):
            x0, y0 = random.integers(0, 24, 2)
            x1, y1 = random.integers(40, SIDE + 1, 2)
            kept = np.minimum(square[2:], [x1, y1]) - np.maximum(square[:2], [x0, y0])
            lines.append(f"{y0} {x0} {y1} {x1} {1 + 4 * kept.clip(0).prod() / 256:.3f}\n")
        (root / "annotations" / f"{number:03d}.txt").write_text("".join(lines))
    return root


class BrightSquares:
    """A detector that finds what is bright."""

    def detect(self, frames):
        found = []
        for frame in frames:
            rows, columns = np.nonzero(frame.min(axis=2) > 200)
            box = [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]
            found.append(Detections(torch.tensor(box).float(), torch.ones(1), torch.ones(1, dtype=torch.int64)))
        return found


def write_detector(*, licence: str | None = None, **changes) -> None:
    """A detector's file; what is found comes from `BrightSquares`."""
    config = faster_rcnn_config(
        "timm_fpn", 1, 32, 48, backbone="test_resnet", fpn_channels=8, head_channels=8, **changes
    )
    save_detector(
        "detector.safetensors", build_detector(config), classes=[], made_by={"detector": {"licence": licence}}
    )


@pytest.fixture
def run_stage(
    workplace: Path, write_params: Callable[..., None], shipped_params: dict, monkeypatch: pytest.MonkeyPatch
):
    """Run the stage in the working directory; returns its metrics."""
    write_detector()
    monkeypatch.setattr(stage, "load_detector", lambda path, device: BrightSquares())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny products: threads cost more than they bring

    def run(source: str = "crops", **changes) -> dict:
        write_params(cropper=placed(shipped_params["cropper"], SMALL | changes), engine={"device": "cpu"})
        arguments = ["--source", source, "--detector", "detector.safetensors"]
        stage.main([*arguments, "--weights", "weights/s2cnet.safetensors", "--metrics", "results/cropper.json"])
        return json.loads(Path("results/cropper.json").read_text())

    yield run
    torch.set_num_threads(threads)


@pytest.mark.parametrize("variant", ["release", "paper"])
def test_it_learns_to_keep_the_square(workplace, run_stage, variant):
    write_gaic(workplace / "crops")
    metrics = run_stage(variant=variant, epochs=8)
    # Chance is 0; about a tenth is the scatter of six images.
    assert metrics["srcc"] > 0.5
    assert metrics["n_images"] == 6
    assert metrics["imported"] == 0
    assert set(metrics) == {"srcc", "acc5", "acc10", "n_images", "imported", "val_srcc", "best_epoch"}
    cropper = load_cropper("weights/s2cnet.safetensors", torch.device("cpu"))
    assert cropper.network.config.variant == variant
    assert cropper.short_side_px == SIDE


def test_objects_from_files_train_as_those_of_the_detector(workplace, run_stage):
    root = write_gaic(workplace / "crops", n_train=8, n_test=2)
    from_detector = run_stage(epochs=2)
    (root / "bbox").mkdir()
    for number in range(10):
        x0, y0, x1, y1 = scene(number)[1]
        (root / "bbox" / f"{number:03d}.txt").write_text(f"{y0} {x0} {y1} {x1}\n")
    Path("detector.safetensors").write_bytes(b"something else, which nobody reads")
    assert run_stage(epochs=2, objects="files") == from_detector


def test_weights_carry_the_scale_of_the_training_images(workplace, run_stage):
    write_gaic(workplace / "crops")
    run_stage(epochs=1)
    cropper = load_cropper("weights/s2cnet.safetensors", torch.device("cpu"))
    parts = stage.split_images(stage.read_gaic(workplace / "crops"), val_fraction=0.2, seed=0)
    mos = np.concatenate([image.mos for image in parts["train"]])
    assert len(parts["train"]) == 19  # a fifth of 24, rounded, selects the epoch
    assert cropper.mos_mean == pytest.approx(mos.mean(), rel=1e-6)
    assert cropper.mos_std == pytest.approx(mos.std(), rel=1e-6)


def test_two_runs_write_the_same_bytes(workplace, run_stage):
    write_gaic(workplace / "crops", n_train=8, n_test=2)
    written = []
    before = torch.random.get_rng_state()
    for _ in range(2):
        shutil.rmtree(".cache", ignore_errors=True)
        run_stage(epochs=2)
        written.append([Path(name).read_bytes() for name in ("weights/s2cnet.safetensors", "results/cropper.json")])
    assert written[0] == written[1]
    assert torch.equal(torch.random.get_rng_state(), before)
    run_stage(epochs=2, seed=5)
    assert Path("weights/s2cnet.safetensors").read_bytes() != written[0][0]


def test_a_killed_training_goes_on_and_gives_the_same_weights(workplace, run_stage, monkeypatch, capsys):
    write_gaic(workplace / "crops", n_train=8, n_test=2)
    run_stage(epochs=3)
    unbroken = Path("weights/s2cnet.safetensors").read_bytes()
    shutil.rmtree(".cache")
    train_epoch = crops.train_epoch

    def killed(network, optimizer, data, settings, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(network, optimizer, data, settings, epoch)

    monkeypatch.setattr(crops, "train_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        run_stage(epochs=3)
    monkeypatch.setattr(crops, "train_epoch", train_epoch)
    run_stage(epochs=3)
    assert "goes on after epoch 2 of 3" in capsys.readouterr().out
    assert Path("weights/s2cnet.safetensors").read_bytes() == unbroken


def test_what_changes_no_object_trains_nothing_again(workplace, run_stage, capsys):
    """A licence in the detector's file changes its bytes, and none of its boxes; a threshold changes both."""
    write_gaic(workplace / "crops", n_train=8, n_test=2)
    metrics = run_stage(epochs=2)
    written = Path("weights/s2cnet.safetensors").read_bytes()
    assert "epoch 2/2" in capsys.readouterr().out
    write_detector(licence="CC0-1.0")
    assert run_stage(epochs=2) == metrics
    assert Path("weights/s2cnet.safetensors").read_bytes() == written
    assert "epoch 2/2" not in capsys.readouterr().out
    write_detector(nms_iou=0.6)
    run_stage(epochs=2)
    assert "epoch 2/2" in capsys.readouterr().out


def test_another_file_of_the_same_name_to_start_from_is_another_training(workplace, run_stage, capsys):
    write_gaic(workplace / "crops", n_train=6, n_test=2)
    for _ in range(2):
        network = timm.create_model("test_resnet", pretrained=False)
        save_file(network.state_dict(), "start.safetensors")
        run_stage(epochs=1, pretrained="start.safetensors")
        assert "epoch 1/1" in capsys.readouterr().out
    made = load_weights("weights/s2cnet.safetensors")[1]["made_by"]["cropper"]
    assert made["pretrained"] == file_sha256("start.safetensors")


def test_an_import_depends_on_no_param_of_a_training(workplace, run_stage):
    torch.save(release_values(), "GAICv2.pth")
    run_stage("GAICv2.pth")
    written = Path("weights/s2cnet.safetensors").read_bytes()
    run_stage("GAICv2.pth", epochs=77, learning_rate=0.5)
    assert Path("weights/s2cnet.safetensors").read_bytes() == written


def test_what_it_wrote_scores_as_it_did(workplace, run_stage):
    """Weights, preprocessing and boxes of the crop stage are those of the training: the best crop holds the square."""
    write_gaic(workplace / "crops")
    run_stage(epochs=8)
    cropper = load_cropper("weights/s2cnet.safetensors", torch.device("cpu"))
    kept = []
    for seed in range(500, 512):
        pixels, square = scene(seed)
        (found,) = score_frames(
            cropper.network, [pixels], [square[None]], short_side_px=SIDE, candidates=candidate_config()
        )
        boxes = found.candidates_xyxy_px
        overlap = np.minimum(boxes[:, 2:], square[2:]) - np.maximum(boxes[:, :2], square[:2])
        share = overlap.clip(0).prod(axis=1) / 256
        kept.append((share[np.argmax(found.scores)], share.mean()))
    chosen, average = np.mean(kept, axis=0)
    assert chosen > average + 0.05


def test_a_checkpoint_of_the_release_is_imported(workplace, run_stage):
    torch.save(release_values(), "GAICv2.pth")
    assert run_stage("GAICv2.pth") == {"imported": 1, "n_images": 0}
    cropper = load_cropper("weights/s2cnet.safetensors", torch.device("cpu"))
    assert cropper.network.config == GAICV2
    # Its own side and scale, whatever the params say.
    assert (cropper.short_side_px, cropper.mos_mean, cropper.mos_std) == (256, 2.95, 0.8)
    image = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.0, 0.0, 50.0, 60.0], [10.0, 5.0, 64.0, 64.0]])
    with torch.inference_mode():
        found, expected = (
            network.score(image, boxes, boxes) for network in (cropper.network, from_release(release_values()))
        )
    assert torch.equal(found, expected)


def test_checkpoints_that_are_none(workplace, run_stage):
    save_file({"DimRed.weight": torch.zeros(8, 448, 1, 1)}, "part.safetensors")
    with pytest.raises(CheckpointError, match=r"keys do not fit: missing Feat_ext\.feature3\.0"):
        run_stage("part.safetensors")
    Path("broken.pth").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"broken\.pth"):
        run_stage("broken.pth")
    assert not Path("weights").exists()


def test_a_network_of_ours_is_imported_with_its_scale(workplace, run_stage):
    write_gaic(workplace / "crops", n_train=6, n_test=2)
    run_stage(epochs=1)
    first = load_cropper("weights/s2cnet.safetensors", torch.device("cpu"))
    Path("weights/s2cnet.safetensors").rename("given.safetensors")
    # Other widths are asked for: the file's own count.
    assert run_stage("given.safetensors", embed_width=32) == {"imported": 1, "n_images": 0}
    second = load_cropper("weights/s2cnet.safetensors", torch.device("cpu"))
    assert second.network.config == first.network.config
    assert (second.short_side_px, second.mos_mean, second.mos_std) == (SIDE, first.mos_mean, first.mos_std)
    state = second.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in first.network.state_dict().items())
    with pytest.raises(ParamsError, match=r"variant release, but cropper\.variant is paper"):
        run_stage("given.safetensors", variant="paper")


def test_data_that_cannot_be_trained_on(workplace, run_stage):
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        run_stage("nowhere")
    write_gaic(workplace / "crops", n_train=6, n_test=2)
    for path in (workplace / "crops" / "annotations").iterdir():
        path.write_text("0 0 30 30 3\n0 0 40 40 3\n")
    with pytest.raises(DatasetError, match="all scores of the training images are 3"):
        run_stage()


def test_a_loss_that_is_not_finite_stops_the_training(workplace, run_stage, monkeypatch):
    write_gaic(workplace / "crops", n_train=6, n_test=2)
    monkeypatch.setattr(crops, "normalise", lambda pixels: torch.full_like(pixels.permute(0, 3, 1, 2), torch.nan))
    with pytest.raises(NonFiniteError, match=r"epoch 1, step 1: regression nan, ranking nan; images: 00\d\.png"):
        run_stage()


@pytest.mark.parametrize("changed", ["images/a.png", "annotations/a.txt", "bbox/a.txt"])
def test_the_key_sees_all_that_the_network_learns_from(tmp_path: Path, changed: str) -> None:
    write_image(tmp_path, "a", "1 2 11 22 3.5\n0 0 20 30 2.25\n")
    before = hash_images(read_gaic(tmp_path), workers=1)
    assert before == hash_images(read_gaic(tmp_path), workers=2)
    path = tmp_path / changed
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(path.read_bytes() + b"\n" if path.exists() else b"1 2 11 22\n")
    assert before != hash_images(read_gaic(tmp_path), workers=1)
