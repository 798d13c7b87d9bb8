"""VSFA's sampling, frozen features, loss and configuration."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from models.backbones import BackboneError
from models.errors import ShapeError
from models.methods.vsfa.config import PUBLISHED, SMALL, VsfaConfig, VsfaNetwork
from models.methods.vsfa.features import build_frame_features
from models.methods.vsfa.losses import mos_of, scaled_l1_loss
from models.methods.vsfa.network import build_vsfa
from models.methods.vsfa.sampling import VsfaInputError, frame_indices, padded_features
from tests.models.methods.public_weights import normal


def test_all_frames_are_looked_at_or_every_nth() -> None:
    assert frame_indices(5) == [0, 1, 2, 3, 4]
    assert frame_indices(5, every=2) == [0, 2, 4]
    assert frame_indices(1, every=9) == [0]
    for n_frames, every in ((0, 1), (5, 0)):
        with pytest.raises(VsfaInputError, match=f"n_frames is {n_frames} and every is {every}"):
            frame_indices(n_frames, every=every)


def test_videos_become_a_padded_batch() -> None:
    features, lengths = padded_features([torch.ones(2, 3), torch.full((4, 3), 2.0)])
    assert lengths == [2, 4]
    assert features[0].tolist() == [[1.0] * 3, [1.0] * 3, [0.0] * 3, [0.0] * 3]
    assert features[1].eq(2.0).all()
    with pytest.raises(VsfaInputError, match="no videos"):
        padded_features([])
    for wrong in (torch.zeros(2, 4), torch.zeros(0, 3), torch.zeros(3)):
        with pytest.raises(ShapeError, match=r"videos\[1\] has shape .*needed: \(T, 3\)"):
            padded_features([torch.ones(2, 3), wrong])


def test_features_are_frozen_whatever_the_mode() -> None:
    features = build_frame_features("test_resnet", seed=1)
    frames = normal(1, 2, 3, 48, 64)
    expected = features(frames)
    assert expected.shape == (2, features.width)
    assert not expected.requires_grad
    owner = nn.Sequential(features).train()
    assert not features.network.training
    # Each frame on its own: no batch statistics.
    torch.testing.assert_close(owner(frames[:1]), expected[:1], atol=1e-5, rtol=1e-5)
    assert not any(weight.requires_grad for weight in features.parameters())
    assert not torch.equal(build_frame_features("test_resnet", seed=2)(frames), expected)


def test_frames_that_have_no_features() -> None:
    features = build_frame_features("test_resnet")
    with pytest.raises(ShapeError, match="one position"):
        features(torch.zeros(1, 3, 32, 32))
    for wrong in (torch.zeros(3, 64, 64), torch.zeros(1, 64, 64, 3), torch.zeros(1, 3, 64, 64, dtype=torch.uint8)):
        with pytest.raises(ShapeError, match=r"frames have shape .*needed: \(N, 3, H, W\)"):
            features(wrong)
    with pytest.raises(BackboneError, match="no backbone 'resnet5'"):
        build_frame_features("resnet5")


def test_loss_by_hand() -> None:
    scores = torch.tensor([0.5, 0.25, 1.0], requires_grad=True)
    # |0.5 - 0.8| + |0.25 + 0.1| + |1 - 0.75| = 0.3 + 0.35 + 0.25 = 0.9; / 3.
    loss = scaled_l1_loss(scores, torch.tensor([40.0, -5.0, 37.5]), label_scale=50.0)
    assert loss.item() == pytest.approx(0.3)
    loss.backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == pytest.approx([-1 / 3, 1 / 3, 1 / 3])
    assert mos_of(torch.tensor([0.5]), label_scale=4.64).item() == pytest.approx(2.32)


def test_labels_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 1\) and mos \(2,\)"):
        scaled_l1_loss(torch.zeros(2, 1), torch.zeros(2), label_scale=1.0)
    with pytest.raises(VsfaInputError, match=r"label_scale is 0\.0"):
        scaled_l1_loss(torch.zeros(1), torch.zeros(1), label_scale=0.0)


def test_the_small_configuration_learns_from_random_features() -> None:
    # Videos of noise whose MOS is how dark they are: the frozen network has not been trained.
    features = build_frame_features(SMALL.backbone, seed=0)
    mos = torch.linspace(10, 90, 12)
    pixels = normal(1, 12, 6, 3, 64, 64) * mos.view(-1, 1, 1, 1, 1) / 50
    videos = torch.stack([features(frames) for frames in pixels])
    config = VsfaConfig(**SMALL.values_of(VsfaNetwork), feature_width=features.width)
    network = build_vsfa(config)
    optimizer = torch.optim.Adam(network.parameters(), lr=SMALL.learning_rate, weight_decay=SMALL.weight_decay)
    losses = []
    for _ in range(SMALL.epochs):
        loss = scaled_l1_loss(network(videos, [6] * 12), mos, label_scale=SMALL.label_scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # A constant answer has 20/90 of a mean error of 0.2182: the labels' mean distance from their middle.
    assert losses[-1] < 0.12


def test_published_defaults() -> None:
    assert PUBLISHED.pooling.memory == "released"
    assert (PUBLISHED.backbone, PUBLISHED.frames_every, PUBLISHED.learning_rate) == ("resnet50", 1, 1e-5)
    assert (PUBLISHED.epochs, PUBLISHED.batch_videos, PUBLISHED.weight_decay) == (2000, 16, 0)


def test_a_configuration_needs_no_torch() -> None:
    code = "import sys, models.methods.vsfa.config, models.methods.simple_vqa.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
