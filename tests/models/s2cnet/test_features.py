"""The fused feature map: taps, fusion against its definition, pretrained weights."""

from typing import Any

import pytest
import timm
import torch
from torch import nn
from torchvision import models as torchvision_models

from models.backbones import BackboneError
from models.s2cnet.features import CropFeatures, build_backbone, load_backbone_state


@pytest.mark.parametrize(
    ("name", "channels"),
    [("mobilenet_v2", (32, 96, 320)), ("vgg16", (512, 512, 512)), ("test_resnet", (48, 192, 96))],
)
def test_taps_have_strides_8_16_32(name, channels):
    backbone, found = build_backbone(name)
    with torch.inference_mode():
        taps = backbone.eval()(torch.zeros(1, 3, 64, 96))
    assert found == channels
    assert [tuple(tap.shape) for tap in taps] == [
        (1, channels[0], 8, 12),
        (1, channels[1], 4, 6),
        (1, channels[2], 2, 3),
    ]


class FixedTaps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        shapes = [(2, 3, 8, 12), (2, 4, 4, 6), (2, 5, 2, 3)]
        self.taps = [torch.randn(shape, generator=generator) for shape in shapes]

    def forward(self, images):
        return self.taps


def test_fusion_is_resize_concatenate_reduce():
    backbone = FixedTaps()
    fusion = CropFeatures(backbone, (3, 4, 5), reduced_channels=2)
    halve, double = nn.UpsamplingBilinear2d(scale_factor=0.5), nn.UpsamplingBilinear2d(scale_factor=2.0)
    shallow, middle, deep = backbone.taps
    expected = fusion.reduce(torch.cat([halve(shallow), middle, 0.5 * double(deep)], dim=1))
    torch.testing.assert_close(fusion(torch.zeros(2, 3, 64, 96)), expected, atol=1e-5, rtol=0)


def test_pretrained_weights_of_torchvision():
    source = torchvision_models.mobilenet_v2(weights=None).eval()
    backbone, _ = build_backbone("mobilenet_v2")
    load_backbone_state(backbone, source.state_dict())
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = source.features[:18](image)
        torch.testing.assert_close(backbone.eval()(image)[2], expected)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_pretrained_weights_of_timm(name):
    # ConvNeXt's stages are joined into other names by features_only; ResNet's are not.
    source: Any = timm.create_model(name, pretrained=False)
    backbone, _ = build_backbone(name)
    load_backbone_state(backbone, source.state_dict())
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = source.eval().forward_intermediates(image, intermediates_only=True)[-1]
        torch.testing.assert_close(backbone.eval()(image)[2], expected)


def test_weights_of_another_network_are_refused_whole():
    backbone, _ = build_backbone("test_resnet")
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    state = {**before, "conv1.0.weight": torch.zeros(1)}
    del state["layer1.0.conv1.weight"]
    with pytest.raises(BackboneError) as error:
        load_backbone_state(backbone, state)
    assert "conv1.0.weight is (1,)" in str(error.value)
    assert "missing layer1.0.conv1.weight" in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mobilenet_v3", "nearest: .*mobilenet"),
        ("vit_tiny_patch16_224", "strides 8, 16 and 32"),
        ("swin_tiny_patch4_window7_224", "NHWC"),
    ],
)
def test_backbones_that_cannot_serve(name, words):
    with pytest.raises(BackboneError, match=words):
        build_backbone(name)
