"""What can be switched on in a training: each trains, and does what it says; the state holds all that goes on."""

import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.methods.frame_consistency.network import QualityError, build_quality, checkpoint_activations
from stages.params.load import load_params, merge
from stages.params.schema import TrainParams
from stages.training import quality
from stages.training.loaders.clips import ClipDataset, ClipLoader
from stages.training.processes import Processes
from stages.training.quality import QualityData, fit, train_epoch, validate
from stages.training.state import TrainingState
from stages.training.step import Training, radius, set_up
from tests.configs import frame_consistency, quality_config, sections
from tests.conftest import ROOT

PX, FRAMES, VIDEOS = 32, 2, 12
SHIPPED = load_params(ROOT / "params.yaml").train.model_dump()
# BatchNorm and LayerNorm.
BACKBONES = ["test_resnet", "test_convnext"]


def clip(video_id: str, frames: int = FRAMES) -> np.ndarray:
    """(F, 3, S, S) noise whose contrast is the number in the id: what the networks can see."""
    number = int(video_id)
    noise = np.random.default_rng(number).normal(0, 4 + 8 * number, (frames, 3, PX, PX))
    return np.clip(128 + noise, 0, 255).astype(np.uint8)


def data(frames: int = FRAMES) -> QualityData:
    source = SimpleNamespace(
        read=lambda name, _=None: torch.from_numpy(clip(name, frames)), sample_shape=(frames, 3, PX, PX), draws=False
    )
    loader = ClipLoader(
        ClipDataset(source, [str(number) for number in range(VIDEOS)], cache_gib=1),  # type: ignore[arg-type]
        workers=1,
    )
    mos = torch.linspace(10, 90, VIDEOS)
    labels = frame_consistency().learn_labels(mos)
    return QualityData(loader, mos, loader, mos, labels, val_batch_videos=5)


def training(backbone: str = "test_resnet", **changes: Any) -> Training:
    small = {"backbone": backbone, "input_px": PX, "epochs": 4, "batch_videos": 6, "dropout": 0.1,
             "fgm": {"epsilon": 0.0003}}  # fmt: skip
    given = sections(**(small | changes))
    settings = TrainParams.model_validate(merge(SHIPPED, given["train"]))
    method = frame_consistency(**given["methods"]["frame_consistency"])
    return set_up(method, method.build(seed=settings.seed), settings, Processes())


def weights(of: Training) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in of.network.state_dict().items()}


@pytest.fixture(scope="module")
def clips() -> QualityData:
    return data()


OPTIONS = [
    {"layer_decay": 0.7},
    {"ema_decay": 0.9},
    {"precision": "bf16"},
    {"precision": "fp16"},
    {"channels_last": True},
    {"checkpointing": True},
    {"pooling": "mean"},
    {"fgm": {"epsilon": 0.0}},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.items())))
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_option_trains(clips: QualityData, backbone: str, options: dict) -> None:
    run = training(backbone, learning_rate=0.005, epochs=6, **options)
    before = weights(run)
    errors = [train_epoch(run, clips, epoch)["train/mae"] for epoch in range(6)]
    # Who gives every video 50, the mean, is off by 0.218 (the mean of 0.036, 0.109 ... 0.4).
    constant = float((clips.train_mos - 50).abs().mean() / 100)
    assert constant == pytest.approx(0.218, abs=1e-3)
    assert errors[-1] < 0.75 * constant
    assert not [name for name, weight in run.network.named_parameters() if torch.equal(weight, before[name])]
    assert all(weight.isfinite().all() for weight in run.kept.state_dict().values())
    assert -1 <= validate(run, clips)["val/selection"] <= 1


def steps(run: Training, clips: QualityData, monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What each step of the first epoch was given (crops) and left behind (weights)."""
    train_step, seen = quality.train_step, []

    def watched(run: Training, crops: torch.Tensor, *others: object) -> object:
        result = train_step(run, crops, *others)  # type: ignore[arg-type]
        seen.append(SimpleNamespace(crops=crops, weights=weights(run)))
        return result

    monkeypatch.setattr(quality, "train_step", watched)
    train_epoch(run, clips, 0)
    return seen


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"loss": "mae"}, lambda mae, bce: mae.mean()),
        ({"loss": "bce"}, lambda mae, bce: bce.mean()),
        ({"loss": "fcl", "fcl": {"reduction": "video"}}, lambda mae, bce: (mae * bce).mean()),
        ({"loss": "fcl", "fcl": {"reduction": "batch"}}, lambda mae, bce: mae.mean() * bce.mean()),
    ],
    ids=["mae", "bce", "video", "batch"],
)
def test_a_step_minimises_the_loss_that_the_params_name(clips: QualityData, options: dict, expected: Callable) -> None:
    run = training(**options)
    # Far from a fresh head, where the BCE of all videos is nearly one number and the two products nearly agree.
    nn.init.normal_(run.network.get_parameter("head.weight"), std=1.0, generator=torch.Generator().manual_seed(1))
    crops = torch.stack([clips.train.clips[index, None][0] for index in range(VIDEOS)])
    loss, terms = quality.train_step(run, crops, clips.train_mos, clips.labels)
    mae, bce = terms["mae"], terms["bce"]
    torch.testing.assert_close(loss, expected(mae, bce))
    products = (mae * bce).mean(), mae.mean() * bce.mean()
    assert abs(products[0] / products[1] - 1) > 0.01


@pytest.mark.parametrize("flip", [True, False])
def test_videos_are_mirrored_left_to_right_when_asked(
    clips: QualityData, flip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    originals = [clips.train.clips[index, None][0] for index in range(VIDEOS)]
    mirrors = [original.numpy()[..., ::-1] for original in originals]
    seen = [crop for step in steps(training(flip=flip), clips, monkeypatch) for crop in step.crops]
    plain = sum(any(torch.equal(crop, original) for original in originals) for crop in seen)
    mirrored = sum(any(np.array_equal(crop, mirror) for mirror in mirrors) for crop in seen)
    assert plain + mirrored == VIDEOS
    assert (0 < mirrored < VIDEOS) if flip else mirrored == 0


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_a_first_step_moves_each_layer_by_its_learning_rate(clips: QualityData, layer_decay: float) -> None:
    """AdamW's first step is g / |g| times the rate, for every weight whose gradient is far above its epsilon."""
    once: dict[str, Any] = {"batch_videos": VIDEOS, "epochs": 1, "warmup_fraction": 0.0, "weight_decay": 0.0}
    run = training(**once, learning_rate=0.001, layer_decay=layer_decay)
    before = weights(run)
    train_epoch(run, clips, 0)
    names = ("backbone.conv1.0.weight", "backbone.layer4.0.bn2.weight", "head.weight")
    moved = [float((run.network.state_dict()[name] - before[name]).abs().max()) for name in names]
    # timm counts the stem as layer 0 and each of the four blocks as one: 4 below the top, 0 below it, and the head.
    assert moved == pytest.approx([0.001 * layer_decay**4, 0.001, 0.001], rel=0.01)


def test_plain_gradient_steps_are_those_of_equation_14(clips: QualityData) -> None:
    """w - rate (g + g_adv), one step over all videos: the change is the rate times what FGM left in the gradients."""
    once: dict[str, Any] = {"batch_videos": VIDEOS, "epochs": 1, "warmup_fraction": 0.0, "weight_decay": 0.0}
    run = training(**once, learning_rate=0.5, optimizer="sgd", dropout=0.0)
    before = weights(run)
    train_epoch(run, clips, 0)
    for name, parameter in run.network.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(before[name] - parameter.detach(), 0.5 * parameter.grad, rtol=1e-3, atol=1e-6)


def test_epsilon_is_a_share_of_the_norm_of_the_weights() -> None:
    run = training(fgm={"epsilon": 0.25})
    norm = sum(float(parameter.detach().double().square().sum()) for parameter in run.network.parameters()) ** 0.5
    assert radius(run) == pytest.approx(0.25 * norm)
    assert radius(training(fgm={"epsilon": 0.0})) == 0.0


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("options", [{"channels_last": True}, {"checkpointing": True}], ids=str)
def test_layout_and_checkpointing_change_nothing_but_rounding(clips: QualityData, backbone: str, options: dict) -> None:
    """Statistics included: checkpointing runs the forward pass twice, and BatchNorm must count the batch once."""
    plain, other = training(backbone, dropout=0.0), training(backbone, dropout=0.0, **options)
    records = [train_epoch(run, clips, 0) for run in (plain, other)]
    assert records[0] == pytest.approx(records[1], rel=1e-4)
    for name, value in weights(plain).items():
        # Two steps of AdamW at about 1e-3: a gradient near zero may take another sign.
        torch.testing.assert_close(other.network.state_dict()[name], value, rtol=1e-3, atol=1e-3, msg=name)
        if "running" in name or "num_batches" in name:
            torch.testing.assert_close(other.network.state_dict()[name], value, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_follows_full_precision(clips: QualityData, precision: str) -> None:
    plain, half = training(dropout=0.0), training(dropout=0.0, precision=precision)
    record, other = (train_epoch(run, clips, 0) for run in (plain, half))
    # bfloat16 keeps 8 bits of the features, the losses are float32.
    assert other["train/loss"] == pytest.approx(record["train/loss"], rel=0.02)
    assert half.scaler.is_enabled() == (precision == "fp16")
    assert all(weight.dtype == torch.float32 for weight in half.network.parameters())


def test_an_overflow_in_float16_skips_the_step_and_halves_the_scale(clips: QualityData) -> None:
    run = training(precision="fp16")
    run.scaler._init_scale = 2.0**120  # far beyond what float16 gradients hold
    before = weights(run)
    crops = torch.stack([clips.train.clips[index, None][0] for index in range(6)])
    run.model.train()
    quality.train_step(run, crops, clips.train_mos[:6], clips.labels)
    assert run.scaler.get_scale() == 2.0**119
    assert all(torch.equal(run.network.get_parameter(name), before[name]) for name, _ in run.network.named_parameters())


def test_a_compiled_backbone_gives_the_same_steps(clips: QualityData, monkeypatch: pytest.MonkeyPatch) -> None:
    # The compiler's front end without its code generator, which takes half a minute for the smallest network.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    plain, compiled = training(dropout=0.0), training(dropout=0.0, compile=True)
    assert "forward_features" in vars(compiled.network.backbone)
    records = [train_epoch(run, clips, 0) for run in (plain, compiled)]
    assert records[0] == pytest.approx(records[1], rel=1e-4)
    assert list(compiled.network.state_dict()) == list(plain.network.state_dict())
    torch.compiler.reset()


def test_the_mean_of_the_weights_is_the_one_derived_by_hand(
    clips: QualityData, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(ema_decay=0.5)
    one, two = (step.weights for step in steps(run, clips, monkeypatch))
    assert run.mean is not None
    assert run.kept is run.mean.module
    # Warm-up: step 1 takes the weights as they are (decay 0). Step 2: 1 - (1 + 1) ** (-2 / 3) = 0.370 of the mean.
    kept = 1 - 2 ** (-2 / 3)
    for name, weight in run.kept.named_parameters():
        expected = kept * one[name] + (1 - kept) * two[name]
        torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-7, msg=name)
    # The steps are larger than the tolerance: another decay would show.
    assert (one["head.weight"] - two["head.weight"]).abs().max() > 1e-4


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.9, "precision": "fp16", "layer_decay": 0.7}], ids=str)
def test_the_state_goes_on_as_if_nothing_had_happened(clips: QualityData, tmp_path: Path, options: dict) -> None:
    whole = training(**options)
    for epoch in range(2):
        train_epoch(whole, clips, epoch)
    first, second = training(**options), training(**options)
    train_epoch(first, clips, 0)
    state = TrainingState(tmp_path / "state.pt")
    state.save(**first.state())
    torch.manual_seed(99)  # another process starts elsewhere
    saved = state.load()
    assert saved is not None
    second.restore(saved)
    train_epoch(second, clips, 1)
    for name, value in whole.kept.state_dict().items():
        assert torch.equal(second.kept.state_dict()[name], value), name


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.999])
def test_a_damaged_state_starts_over_with_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], share: float
) -> None:
    state = TrainingState(tmp_path / "state.pt")
    state.save(epochs_done=1, weights=torch.arange(1000.0))
    data = bytearray(state.path.read_bytes())
    data[int(share * len(data))] ^= 4
    state.path.write_bytes(data)
    assert state.resume("train", epochs=2) is None
    assert "state.pt: damaged, or not the file of its name; the work on it starts over" in capsys.readouterr().out
    # The state of another training under this name.
    TrainingState(tmp_path / "other.pt").save(epochs_done=2)
    (tmp_path / "other.pt").replace(state.path)
    assert state.load() is None


def test_fit_keeps_the_best_epoch(clips: QualityData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.1, 0.8, 0.3, 0.8])
    monkeypatch.setattr(
        quality, "validate", lambda *_: dict.fromkeys(("val/srocc", "val/plcc", "val/selection"), next(scores))
    )
    best = fit(training(), clips, state=TrainingState(tmp_path / "state.pt"), curves=tmp_path / "curves")
    assert (best["epoch"], best["val/selection"]) == (2, 0.8)


def test_scores_that_are_all_equal_rank_last(clips: QualityData, monkeypatch: pytest.MonkeyPatch) -> None:
    run = training()
    monkeypatch.setattr(run.network, "forward", lambda crops: torch.zeros(*crops.shape[:2], 100))
    assert validate(run, clips) == {"val/srocc": -1.0, "val/plcc": -1.0, "val/selection": -1.0}


def test_a_backbone_without_checkpointing_is_refused() -> None:
    network = build_quality(quality_config("test_resnet", "mean", 0.0, PX))
    network.backbone = nn.Conv2d(3, 3, 1)
    with pytest.raises(QualityError, match=r"\(Conv2d of timm\) has no gradient checkpointing"):
        checkpoint_activations(network)


def test_a_state_that_cannot_be_written_whole_leaves_the_one_before(tmp_path: Path) -> None:
    """As on a full disk: an error of the machine, which commands tell in a line, and not one of torch's own."""
    state = TrainingState(tmp_path / "state.pt")
    state.save(history=[1], weights=torch.zeros(10))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            state.save(history=[1, 2], weights=torch.zeros(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    saved = state.load()
    assert saved is not None
    assert saved["history"] == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
