"""The network: shapes of all kinds, seeds, checkpointing, precision, and that it learns."""

import pytest
import torch
from timm.layers import DropPath

from models.errors import ShapeError
from models.methods.fast_vqa.config import NETWORK_B
from models.methods.fast_vqa.learning import learning_groups
from models.methods.fast_vqa.losses import fragment_loss
from models.methods.fast_vqa.network import build_fragment_net, split_clips
from models.methods.fast_vqa.swin import build_swin
from tests.configs import shipped_section

SMALL = shipped_section("fast_vqa")
SMALL_NETWORK = SMALL.network

ADAPTIVE = NETWORK_B.model_copy(
    update={"embed_width": 8, "depths": (2, 2), "heads": (1, 2), "drop_path": 0.5, "head_width": 4}
)


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("size", "places"),
    [
        ((8, 64, 64), (4, 8, 8)),
        # One frame, and sizes that are no whole tokens: filled up with zeros.
        ((1, 30, 41), (1, 4, 6)),
        ((3, 4, 4), (2, 1, 1)),
    ],
)
def test_the_score_is_the_mean_of_the_map(size, places):
    network = build_fragment_net(ADAPTIVE).eval()
    given = pixels(2, 3, *size)
    with torch.inference_mode():
        quality, score = network.quality_map(given), network(given)
    # Two stages: one merge, so a place is 8 x 8 pixels.
    assert quality.shape == (2, 1, *places)
    assert score.shape == (2,)
    torch.testing.assert_close(score, quality.flatten(1).mean(dim=1))
    assert score[0] != score[1]


def test_a_batch_scores_as_its_videos_alone():
    network = build_fragment_net(SMALL_NETWORK).eval()
    given = pixels(3, 3, 16, 128, 128)
    with torch.inference_mode():
        together = network(given)
        alone = torch.cat([network(video[None]) for video in given])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "given",
    [
        torch.zeros(3, 8, 32, 32),
        torch.zeros(1, 8, 3, 32, 32),
        torch.zeros(0, 3, 8, 32, 32),
        torch.zeros(1, 3, 8, 32, 32, dtype=torch.uint8),
    ],
)
def test_other_shapes_are_refused(given):
    network = build_fragment_net(ADAPTIVE).eval()
    with pytest.raises(ShapeError, match=r"fragments have shape .*; needed: \(B, 3, T, H, W\)"):
        network(given)


def test_clips_become_rows():
    given = pixels(2, 3, 8, 4, 4)
    rows = split_clips(given, clips=4)
    assert rows.shape == (8, 3, 2, 4, 4)
    assert torch.equal(rows[5], given[1, :, 2:4])
    with pytest.raises(ShapeError, match=r"T a multiple of 3 clips"):
        split_clips(given, clips=3)


def test_a_seed_gives_the_same_weights_and_leaves_the_global_state():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first, same, other = (build_fragment_net(SMALL_NETWORK, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(value, same[key]) for key, value in first.items())
    assert any(not torch.equal(value, other[key]) for key, value in first.items())


def test_weights_from_scratch():
    backbone = build_swin(NETWORK_B.model_copy(update={"embed_width": 24}))
    for name, weight in backbone.named_parameters():
        if "fragment_position" in name or (name.endswith("bias") and "patch_embed.proj" not in name):
            assert not weight.any(), name
        elif "table" in name or ("norm" not in name and "patch_embed" not in name):
            # A truncated normal of 0.02; the smallest have 1728 values, whose deviation is 2% off at most.
            assert weight.std().item() == pytest.approx(0.02, rel=0.06), name
            assert weight.abs().max().item() < 2
    rates = [module.drop_prob for module in backbone.modules() if isinstance(module, DropPath)]
    # 0 to 0.1 in 11 equal steps.
    assert rates == pytest.approx([0.1 * block / 11 for block in range(12)], abs=1e-6)


def test_checkpointing_leaves_values_and_gradients():
    given, gradients = pixels(2, 3, 8, 64, 64), []
    for checkpointing in (False, True):
        network = build_fragment_net(SMALL_NETWORK.model_copy(update={"head_dropout": 0.0}))
        network.fragments_backbone.set_grad_checkpointing(checkpointing)
        network(given).sum().backward()
        gradients.append([weight.grad for weight in network.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


def test_only_training_drops():
    network = build_fragment_net(ADAPTIVE)
    given = pixels(1, 3, 8, 32, 32)
    with torch.no_grad():
        assert network(given) != network(given)
        network.eval()
        assert network(given) == network(given)


def test_the_head_stays_in_float32_under_autocast():
    network = build_fragment_net(SMALL_NETWORK).eval()
    given = pixels(2, 3, 6, 128, 128)
    with torch.inference_mode():
        expected = network(given)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = network(given)
    assert found.dtype == torch.float32
    # Scores of the fresh network lie near 0; bfloat16 features have 3 digits.
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def noise(strength: torch.Tensor, *, seed: int) -> torch.Tensor:
    return strength.view(-1, 1, 1, 1, 1) * pixels(len(strength), 3, 6, 128, 128, seed=seed)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_small_network_learns_either_order(sign):
    """Noise of four strengths, more of it better or worse."""
    network = build_fragment_net(SMALL_NETWORK)
    groups = learning_groups(network, backbone_rate=SMALL.training.backbone_rate, weight_decay=0.05)
    optimizer = torch.optim.AdamW([group | {"lr": 2e-3 * group["lr_scale"]} for group in groups])
    strength = torch.tensor([0.2, 0.5, 1.0, 2.0])
    for step in range(10):
        scores = network(noise(strength, seed=step))
        loss = fragment_loss(scores, sign * strength, rank_weight=SMALL.training.rank_weight)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
    with torch.inference_mode():
        scores = network.eval()(noise(strength, seed=99))
    assert (sign * scores).argsort().tolist() == [0, 1, 2, 3]
