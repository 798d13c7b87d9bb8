"""SimpleVQA's networks beyond golden values: tiny sizes, frozen features, training from scratch, configurations."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from models.errors import ShapeError
from models.methods.simple_vqa.config import (
    PUBLISHED,
    SMALL,
    SimpleVqaConfig,
    SimpleVqaFrames,
    SimpleVqaNetwork,
    SimpleVqaTraining,
    learning_rate_of,
)
from models.methods.simple_vqa.features import build_motion_features
from models.methods.simple_vqa.losses import loss_terms
from models.methods.simple_vqa.network import SimpleVqaNet, build_simple_vqa
from models.methods.simple_vqa.sampling import SimpleVqaInputError
from models.methods.simple_vqa.slowfast import SlowFastBlock, SlowFastSizes, build_slowfast, slow_positions
from tests.models.methods.public_weights import normal

TINY_MOTION = SlowFastSizes(width=8, fast_share=4, units=(1, 1, 1, 1))
TINY = SimpleVqaConfig(backbone="test_resnet", motion="slowfast", motion_width=5, hidden_width=4)


@pytest.fixture(scope="module")
def network() -> SimpleVqaNet:
    return build_simple_vqa(TINY).eval()


def test_the_head_is_linear_and_the_score_a_mean(network) -> None:
    frames, motion = normal(1, 2, 3, 3, 64, 64), normal(2, 2, 3, 5)
    with torch.inference_mode():
        features = network.segment_features(frames, motion)
        scores = network.segment_scores(frames, motion)
        # Nothing between the two linear layers: they are one.
        weight = network.quality[1].weight @ network.quality[0].weight
        bias = network.quality[1].weight @ network.quality[0].bias + network.quality[1].bias
        torch.testing.assert_close(scores, nn.functional.linear(features, weight, bias)[..., 0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(network(frames, motion), scores.mean(dim=1))
        # Motion stands last, and a segment is scored on its own.
        assert torch.equal(features[..., -5:], motion)
        alone = network.segment_scores(frames[1:, 2:], motion[1:, 2:])
        torch.testing.assert_close(alone[0, 0], scores[1, 2], atol=1e-5, rtol=1e-5)


def test_shapes_that_do_not_fit(network) -> None:
    frames = torch.zeros(1, 2, 3, 64, 64)
    for motion in (None, torch.zeros(1, 2, 4), torch.zeros(1, 3, 5), torch.zeros(2, 5)):
        with pytest.raises(ShapeError, match=r"motion has shape .* needed: \(1, 2, 5\)"):
            network(frames, motion)
    for wrong in (frames[0], frames[:, :0], frames.transpose(2, 4), frames.to(torch.uint8)):
        with pytest.raises(ShapeError, match=r"frames have shape .*needed: \(B, F, 3, H, W\)"):
            network(wrong, torch.zeros(1, 2, 5))
    with pytest.raises(ShapeError, match="one position"):
        network(torch.zeros(1, 2, 3, 32, 32), torch.zeros(1, 2, 5))
    without = build_simple_vqa(SimpleVqaConfig(backbone="test_resnet", motion="none", motion_width=0))
    with pytest.raises(ShapeError, match=r"motion has shape \(1, 2, 5\) .*needed: None"):
        without(frames, torch.zeros(1, 2, 5))
    with pytest.raises(SimpleVqaInputError, match="motion is 'none' and motion_width 2304"):
        build_simple_vqa(SimpleVqaConfig(backbone="test_resnet", motion="none"))


def test_every_weight_of_the_quality_network_learns() -> None:
    network = build_simple_vqa(TINY, seed=1)
    assert network.training
    assert network.trunk.training
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # timm starts residual branches at 0, where what lies before their last norm learns from the second step on.
            nn.init.ones_(module.weight)
    scores = network(normal(1, 2, 2, 3, 64, 64), normal(2, 2, 2, 5))
    loss_terms(scores, torch.tensor([40.0, 40.5])).total.backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().sum() > 0, name


def test_motion_features_are_frozen_and_those_of_each_clip() -> None:
    features = build_motion_features(TINY_MOTION, seed=1)
    clips = normal(3, 2, 3, 32, 224, 224)
    expected = features(clips)
    assert expected.shape == (2, features.width) == (2, 256 + 64)
    owner = nn.Sequential(features).train()
    assert not any(module.training for module in features.modules())
    # In training mode the other clip's statistics would count.
    torch.testing.assert_close(owner(clips[1:]), expected[1:], atol=1e-5, rtol=1e-5)
    assert not expected.requires_grad
    for wrong in (clips[:, :, :16], clips[..., :112], clips[0]):
        with pytest.raises(ShapeError, match=r"needed: \(B, 3, 32, 224, 224\)"):
            features(wrong)


def test_the_slow_pathway_sees_no_frame_between_its_own() -> None:
    network = build_slowfast(TINY_MOTION).eval()
    # Without fusion the slow pathway depends on its eight frames alone; the fast one on all.
    for module in list(network.modules()):
        if isinstance(module, SlowFastBlock) and module.fusion is not None:
            module.fusion.register_forward_hook(without_fast)
    clips = normal(4, 1, 3, 32, 32, 32)
    others = [frame for frame in range(32) if frame not in slow_positions(32, 8)]
    changed = clips.clone()
    changed[:, :, others] += 1.0
    with torch.inference_mode():
        (slow, fast), (slow_of_changed, fast_of_changed) = network(clips), network(changed)
    assert torch.equal(slow, slow_of_changed)
    assert not torch.equal(fast, fast_of_changed)
    assert slow_positions(8, 2) == [0, 7]


def without_fast(module: nn.Module, pathways: tuple[Tensor, Tensor], fused: Tensor) -> Tensor:
    """In place of a fusion: nothing of the fast pathway."""
    slow = pathways[0]
    return torch.cat([slow, torch.zeros_like(fused[:, slow.shape[1] :])], dim=1)


def test_slowfast_takes_whole_slow_frames() -> None:
    network = build_slowfast(TINY_MOTION)
    for frames in (4, 30):
        with pytest.raises(ShapeError, match="F a multiple of 4 from 8 on"):
            network(torch.zeros(1, 3, frames, 32, 32))


def test_the_small_configuration_learns() -> None:
    # Videos of noise whose MOS is how strong it is.
    config = SimpleVqaConfig(**SMALL.values_of(SimpleVqaNetwork), motion_width=0, start_mos=SMALL.start_mos)
    network = build_simple_vqa(config)
    mos = torch.linspace(10, 90, 12)
    frames = normal(1, 12, SMALL.segments, 3, SMALL.crop_px, SMALL.crop_px) * mos.view(-1, 1, 1, 1, 1) / 50
    optimizer = torch.optim.Adam(network.parameters(), lr=SMALL.learning_rate, weight_decay=SMALL.weight_decay)
    losses = []
    for _ in range(30):
        terms = loss_terms(network(frames), mos)
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        losses.append(terms.l1.item())
    # It starts at the middle of the scale, 21.8 points off on average, and ends far nearer.
    assert losses[0] == pytest.approx(21.8, abs=3)
    assert losses[-1] < 8


def test_the_learning_rate_falls_by_a_tenth_every_second_epoch() -> None:
    rates = [learning_rate_of(SimpleVqaTraining(), epoch) for epoch in range(5)]
    assert rates == pytest.approx([1e-5, 1e-5, 0.9e-5, 0.9e-5, 0.81e-5])


def test_configurations() -> None:
    assert (PUBLISHED.segments, PUBLISHED.short_side_px, PUBLISHED.crop_px, PUBLISHED.batch_videos) == (8, 520, 448, 8)
    assert PUBLISHED.rank_order == "named"
    with pytest.raises(ValidationError, match=r"crop_px = 448 must not be above short_side_px = 440"):
        SimpleVqaFrames(short_side_px=440)
