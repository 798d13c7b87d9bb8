"""The quality network on tiny backbones of timm: layouts, normalisation, seeds, weights."""

import math
from collections.abc import Iterable
from typing import Any

import pytest
import timm
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from models.backbones import BackboneError
from models.config import problems_of
from models.errors import ShapeError
from models.methods.frame_consistency.config import QualityConfig
from models.methods.frame_consistency.losses import frame_scores
from models.methods.frame_consistency.network import (
    FeaturePool,
    QualityError,
    QualityNet,
    build_quality,
    load_backbone,
    logits_of_softmax,
    pixel_statistics,
    video_score,
)
from tests.configs import quality_config

PX = 32
# One of each layout: maps (N, D, H, W) with BatchNorm and with LayerNorm, tokens (N, L, D), maps (N, H, W,
# D).
BACKBONES = ["test_resnet", "test_convnext", "test_vit", "test_mambaout"]


def config(backbone: str = "test_resnet", **changes: Any) -> QualityConfig:
    options: dict[str, Any] = {"pooling": "mean_std", "dropout": 0.0, "input_px": PX}
    return quality_config(backbone, **(options | changes))


def frames(videos: int = 2, count: int = 3, *, seed: int = 0, px: int = PX) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (videos, count, 3, px, px), dtype=torch.uint8, generator=generator)


def same_state(one: nn.Module, other: nn.Module) -> bool:
    pairs: Iterable[tuple[Tensor, Tensor]] = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


@pytest.mark.parametrize("pooling", ["mean", "mean_std"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_forward_and_backward_reach_every_weight(backbone: str, pooling: str) -> None:
    network = build_quality(config(backbone, pooling=pooling))
    logits = network(frames())
    assert logits.shape == (2, 3, 100)
    assert logits.dtype == torch.float32
    logits.square().mean().backward()
    for name, param in network.named_parameters():
        assert param.grad is not None, name
        assert param.grad.isfinite().all(), name
    first = next(iter(network.backbone.parameters())).grad
    assert first is not None
    assert first.any()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_frame_is_scored_alike_in_any_batch(backbone: str) -> None:
    network = build_quality(config(backbone)).eval()
    with torch.no_grad():
        together = network(frames())
        for video in range(2):
            for frame in range(3):
                alone = network(frames()[video : video + 1, frame : frame + 1])
                torch.testing.assert_close(alone[0, 0], together[video, frame], rtol=0, atol=1e-6)
    assert (together[0, 0] - together[0, 1]).abs().max() > 1e-5


def test_pixels_are_normalised_inside_and_order_of_frames_is_kept() -> None:
    class FirstPixel(nn.Module):
        def forward_features(self, images: Tensor) -> Tensor:
            return images[:, :, :1, :1]

        def forward_head(self, features: Tensor, *, pre_logits: bool) -> Tensor:
            assert pre_logits
            return features.flatten(1)

    head = nn.Linear(3, 3, bias=False)
    head.weight.data = torch.eye(3)
    pool = FeaturePool(with_std=False, channels_last=False, prefix_tokens=0)
    network = QualityNet(FirstPixel(), pool, head, dropout=0.0, input_px=2)
    video = torch.zeros(1, 2, 3, 2, 2, dtype=torch.uint8)
    video[0, 1] = 255
    # (0 - mean) / std and (1 - mean) / std of ImageNet: R 0.485, 0.229; G 0.456, 0.224; B 0.406, 0.225.
    expected = [[[-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]]]
    torch.testing.assert_close(network(video), torch.tensor(expected))
    assert list(network.state_dict()) == ["head.weight"]


def test_pixels_are_normalised_as_the_pretrained_weights_of_the_name_expect() -> None:
    # As timm's configurations say: ImageNet's, one half, OpenAI's CLIP; with and without a tag.
    assert pixel_statistics("convnext_tiny.fb_in1k").pixel_std == (0.229, 0.224, 0.225)
    assert pixel_statistics("vit_base_patch16_clip_224.openai").pixel_mean == (0.48145466, 0.4578275, 0.40821073)
    assert pixel_statistics("test_resnet") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    # timm has no weights of this one, and no configuration.
    assert timm.get_pretrained_cfg("no_such_network", allow_unregistered=True) is None
    assert pixel_statistics("no_such_network").pixel_mean == (0.485, 0.456, 0.406)
    assert pixel_statistics("convnext_tiny.no_such_tag").pixel_mean == (0.485, 0.456, 0.406)
    seen: list[Tensor] = []
    network = build_quality(config(pixel_mean=[0.2, 0.4, 0.6], pixel_std=[0.1, 0.2, 0.5]))
    network.eval().backbone.get_submodule("conv1.0").register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network(torch.full((1, 1, 3, PX, PX), 51, dtype=torch.uint8))
    # 51 / 255 = 0.2: (0.2 - 0.2) / 0.1, (0.2 - 0.4) / 0.2, (0.2 - 0.6) / 0.5.
    torch.testing.assert_close(seen[0][0, :, 3, 3], torch.tensor([0.0, -1.0, -0.8]))


def test_pool_by_hand_in_each_layout() -> None:
    # Two features over four positions: 1 2 3 4 (variance 1.25) and 5 5 5 5 (0).
    channels_first = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 5.0], [5.0, 5.0]]]])
    channels_last = channels_first.permute(0, 2, 3, 1)
    tokens = torch.cat([torch.full((1, 2, 2), 99.0), channels_last.flatten(1, 2)], dim=1)  # two prefix tokens
    # What timm's classifier would read comes first, whatever it is.
    pre_logits = torch.tensor([[7.0, 8.0, 9.0]])
    expected = torch.tensor([[7.0, 8.0, 9.0, 1.25**0.5, 0.0]])
    for features, last, prefix in ((channels_first, False, 0), (channels_last, True, 0), (tokens, False, 2)):
        pool = FeaturePool(with_std=True, channels_last=last, prefix_tokens=prefix)
        # The variance carries 1e-6 against an infinite slope: the deviation of equal values is 0.001.
        torch.testing.assert_close(pool(features, pre_logits), expected, rtol=0, atol=1.1e-3)
    with pytest.raises(ShapeError, match=r"\(4, 2\)"):
        pool(torch.zeros(4, 2), pre_logits)


def test_gradient_of_pooling_equal_values_is_finite() -> None:
    features = torch.full((1, 2, 3, 3), 7.0, requires_grad=True)
    pool = FeaturePool(with_std=True, channels_last=False, prefix_tokens=0)
    pool(features, features.mean(dim=(2, 3))).sum().backward()
    assert features.grad is not None
    # The mean gives each of 9 positions 1/9; the deviation has its minimum here, slope 0.
    torch.testing.assert_close(features.grad, torch.full((1, 2, 3, 3), 1.0 / 9.0))


def test_autocast_gives_float32_logits_close_to_those_without() -> None:
    network = build_quality(config("test_convnext")).eval()
    with torch.no_grad():
        plain = network(frames())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = network(frames())
    assert mixed.dtype == torch.float32
    # bfloat16 keeps 8 bits: features of size 1 are off by up to 1 %, and the head sums them with weights of
    # 0.01.
    torch.testing.assert_close(mixed, plain, rtol=0, atol=0.02)


def test_the_seed_decides_the_weights_and_nothing_else_changes() -> None:
    before = torch.get_rng_state()
    one, again, other = (build_quality(config(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert same_state(one, again)
    assert not torch.equal(one.head.weight, other.head.weight)
    assert all(torch.equal(first, second) for first, second in zip(one(frames()), again(frames()), strict=True))


def test_a_fresh_network_is_near_the_middle_and_in_training_mode() -> None:
    network = build_quality(config(dropout=0.5))
    assert all(module.training for module in network.modules())
    assert network.dropout.p == 0.5
    # No statistics were gathered while building.
    assert int(network.backbone.get_buffer("bn1.num_batches_tracked")) == 0
    # Every bin has a probability of 1 / 101, so that the 100 of a frame sum to 0.99; the features move that a little.
    logits = network.eval()(frames())
    assert (logits + math.log(100)).abs().max() < 0.5
    assert (frame_scores(logits) - 0.495).abs().max() < 0.05


@pytest.mark.parametrize(
    "bad",
    [
        frames().float(),
        frames()[0],
        frames(px=PX + 1),
        frames().transpose(2, 4),
        frames(videos=0),
        frames(count=0),
    ],
)
def test_frames_of_another_shape_or_dtype_are_refused(bad: Tensor) -> None:
    network = build_quality(config())
    with pytest.raises(ShapeError) as caught:
        network(bad)
    assert str(tuple(bad.shape)) in str(caught.value)


def test_unknown_backbones_name_their_nearest() -> None:
    with pytest.raises(BackboneError, match="convnext_tiny"):
        build_quality(config("convnext_tinny"))
    with pytest.raises(QualityError, match=r"no tag 'fb_in1kk'.*convnext_tiny\.fb_in1k"):
        build_quality(config("convnext_tiny.fb_in1kk"))
    with pytest.raises(QualityError, match=r"no tag '' for 'resnet18'"):
        build_quality(config("resnet18."))
    with pytest.raises(BackboneError, match="no backbone 'hf-hub:timm/resnet18'"):
        build_quality(config("hf-hub:timm/resnet18"))


def test_a_size_that_the_backbone_cannot_take_is_refused() -> None:
    with pytest.raises(QualityError, match=r"'test_vit' cannot take frames of 20 px"):
        build_quality(config("test_vit", input_px=20))


def test_features_of_several_scales_are_refused() -> None:
    with pytest.raises(QualityError, match="gives a list of features; needed: one map or one sequence"):
        build_quality(config("efficientvim_m1", input_px=224))


# The smallest of many families: norm after the pooling (ConvNeXt and its kin), before it, none; class token, several
# tokens, mean of tokens; convolution after the pooling (MobileNetV3); maps with channels last (Swin).
FAMILIES = {
    "test_convnext": 32, "convnextv2_atto": 32, "test_resnet": 32, "test_vit": 32,
    "deit_tiny_distilled_patch16_224": 32,
    "swin_tiny_patch4_window7_224": 64, "test_efficientnet": 32, "mobilenetv3_small_050": 32, "regnety_002": 32,
    "test_mambaout": 32, "inception_next_atto": 32, "volo_d1_224": 64, "tf_efficientnet_lite0": 32, "resnetv2_18": 32,
    "eva02_tiny_patch14_224": 28, "pit_ti_224": 224,
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_pretrained_weights_give_the_features_that_their_classifier_reads(name: str) -> None:
    px = FAMILIES[name]
    torch.manual_seed(0)
    settings = timm.get_pretrained_cfg(name, allow_unregistered=True)
    size: dict[str, Any] = {"img_size": px} if settings and settings.fixed_input_size else {}
    whole: Any = timm.create_model(name, pretrained=False, **size).eval()
    for parameter in whole.parameters():
        # Drawn norms and biases: fresh ones hide which side of the pooling a norm stands on.
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    network = build_quality(config(name, pooling="mean", input_px=px)).eval()
    load_backbone(network, whole.state_dict())
    pixels = torch.rand(2, 3, px, px)
    with torch.no_grad():
        features = whole.forward_features((pixels - network.pixel_mean) / network.pixel_std)
        expected = whole.forward_head(features, pre_logits=True)
        torch.testing.assert_close(network.describe(pixels), expected, rtol=0, atol=1e-5)
        both = build_quality(config(name, pooling="mean_std", input_px=px)).eval()
        load_backbone(both, whole.state_dict())
        # The counterpart with deviations starts with the same numbers.
        torch.testing.assert_close(both.describe(pixels)[:, : expected.shape[1]], expected, rtol=0, atol=1e-5)


def test_a_class_token_that_timm_does_not_count_is_no_position() -> None:
    network = build_quality(config("volo_d1_224", input_px=64)).eval()
    pixels = torch.rand(1, 3, 64, 64)
    backbone: Any = network.backbone
    with torch.no_grad():
        tokens = backbone.forward_features((pixels - network.pixel_mean) / network.pixel_std)
        # 64 px in patches of 8, halved once: 4 x 4 positions, and the class token in front.
        assert tokens.shape[:2] == (1, 17)
        expected = (tokens[:, 1:].var(dim=1, correction=0) + 1e-6).sqrt()
        torch.testing.assert_close(network.describe(pixels)[:, -tokens.shape[2] :], expected)


def test_configurations_out_of_range_name_every_problem() -> None:
    with pytest.raises(ValidationError) as caught:
        config(pooling="max", dropout=1.0, bins=0, input_px=0, pixel_mean=[0.5], pixel_std=[0, 1, 1])
    for part in (
        "pixel_mean.1: Field required",
        "pixel_std.0 = 0: Input should be greater than 0",
        "pooling = 'max'",
        "dropout = 1.0",
        "bins = 0",
        "input_px = 0",
    ):
        assert part in problems_of(caught.value)
    assert build_quality(config(bins=7))(frames()).shape == (2, 3, 7)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_pretrained_weights_arrive_and_the_head_stays(backbone: str) -> None:
    network = build_quality(config(backbone), seed=1)
    head = network.head.weight.detach().clone()
    size: dict[str, Any] = {"img_size": PX} if backbone == "test_vit" else {}
    pretrained = timm.create_model(backbone, pretrained=False, **size)  # with its classifier
    state = pretrained.state_dict()
    load_backbone(network, state)
    own = network.backbone.state_dict()
    assert all(torch.equal(own[key], state[key]) for key in own)
    assert 1 <= len(set(state) - set(own)) <= 2  # the classifier's weight and bias
    assert torch.equal(network.head.weight, head)


def test_weights_that_do_not_fit_are_listed_and_change_nothing() -> None:
    network = build_quality(config(), seed=1)
    untouched = build_quality(config(), seed=1)
    state = dict(timm.create_model("test_resnet", pretrained=False).state_dict())
    del state["bn1.weight"]
    state["stranger.weight"] = torch.zeros(1)
    state["fcx.weight"] = torch.zeros(1)  # not the classifier `fc`
    state["conv1.0.weight"] = torch.zeros(1, 2)
    shape = tuple(network.backbone.get_parameter("conv1.0.weight").shape)
    with pytest.raises(QualityError) as caught:
        load_backbone(network, state)
    for part in (
        "4 keys do not fit: missing bn1.weight",
        "unknown stranger.weight (1,), fcx.weight (1,)",
        f"conv1.0.weight is (1, 2), expected {shape}",
    ):
        assert part in str(caught.value)
    assert same_state(network, untouched)


def test_batch_counters_may_be_missing() -> None:
    network = build_quality(config())
    state = timm.create_model("test_resnet", pretrained=False).state_dict()
    load_backbone(network, {key: value for key, value in state.items() if "num_batches" not in key})
    assert torch.equal(network.backbone.get_parameter("bn1.weight"), state["bn1.weight"])


def test_softmax_probabilities_reach_losses_and_scores_as_logits() -> None:
    logits = torch.tensor([[0.3, -1.2, 2.0, 0.0]], dtype=torch.float64)
    found = logits_of_softmax(logits)
    torch.testing.assert_close(found.sigmoid(), logits.softmax(dim=-1))
    assert float(found.sigmoid().sum()) == pytest.approx(1.0)
    # One bin that takes all: its logit is large, not infinite, and the others' stay apart.
    certain = logits_of_softmax(torch.tensor([[200.0, 0.0, -200.0]]))
    assert certain.isfinite().all()
    assert certain[0].tolist() == sorted(certain[0].tolist(), reverse=True)


def test_the_network_reads_by_the_configured_probabilities() -> None:
    plain, joint = (build_quality(config(probabilities=kind), seed=3).eval() for kind in ("sigmoid", "softmax"))
    with torch.no_grad():
        torch.testing.assert_close(joint(frames()).sigmoid(), plain(frames()).softmax(dim=-1), rtol=0, atol=1e-6)


def test_video_score_by_hand() -> None:
    score = video_score(torch.tensor([[0.2, 0.4, 0.6], [0.5, 0.5, 0.5]]))
    torch.testing.assert_close(score, torch.tensor([40.0, 50.0]))
    torch.testing.assert_close(video_score(torch.tensor([[0.3]])), torch.tensor([30.0]))
    for shape in ((3,), (2, 0), (2, 3, 1)):
        with pytest.raises(ShapeError, match="frame_scores"):
            video_score(torch.zeros(shape))
