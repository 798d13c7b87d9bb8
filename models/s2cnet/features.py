"""The feature map that S²CNet looks at: three taps of a backbone at strides 8, 16 and 32, fused at stride 16.

Fusion: suyukun666/S2CNet at 6c92712, as Zeng et al. (2019) have it: resize to stride 16 with aligned corners,
halve the deepest tap, concatenate, reduce with a 1x1 convolution.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models as torchvision_models

from models.backbones import BackboneError, check_timm_name, misfits, say_misfits, shapes_of

STRIDES = (8, 16, 32)
MAP_STRIDE = 16
DEEPEST_TAP_WEIGHT = 0.5

# Slices of `features` in torchvision, and their channels. MobileNetV2 as in the release: ends of strides 8,
# 16 and 32. VGG16: conv4_3, conv5_3 and the last pooling.
TORCHVISION_TAPS: dict[str, tuple[tuple[tuple[int, int], ...], tuple[int, ...]]] = {
    "mobilenet_v2": (((0, 7), (7, 14), (14, 18)), (32, 96, 320)),
    "vgg16": (((0, 23), (23, 30), (30, 31)), (512, 512, 512)),
}


class SlicedTaps(nn.Module):
    """A chain of layers cut in three: (B, 3, H, W) -> maps at strides 8, 16 and 32."""

    def __init__(self, layers: Sequence[nn.Module], slices: Iterable[tuple[int, int]]) -> None:
        super().__init__()
        # One chain under the name that torchvision gives it, so that its own weights fit by name.
        self.slices = tuple(slices)
        self.features = nn.Sequential(*layers[: self.slices[-1][1]])

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of the stages that the head fuses: (B, 3, H, W) -> (B, D, h, w) each."""
        taps, current = [], images
        for start, stop in self.slices:
            current = self.features[start:stop](current)
            taps.append(current)
        return taps


def build_backbone(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A backbone with random weights and the channels of its three taps.

    name: `mobilenet_v2` or `vgg16` (torchvision), or any timm network with maps at strides 8, 16 and 32.
    Called with (B, 3, H, W) float it gives three maps, strides 8, 16, 32. Downloads nothing. Raises BackboneError.
    """
    if name in TORCHVISION_TAPS:
        slices, channels = TORCHVISION_TAPS[name]
        layers = getattr(torchvision_models, name)(weights=None).features
        return SlicedTaps(list(layers), slices), channels
    check_timm_name(name, others=[*TORCHVISION_TAPS])
    try:
        probe: Any = timm.create_model(name, pretrained=False, features_only=True)
        reductions = probe.feature_info.reduction()
        # The last map of a stride is the one that most layers have worked on.
        indices = [max(i for i, stride in enumerate(reductions) if stride == wanted) for wanted in STRIDES]
        network: Any = timm.create_model(name, pretrained=False, features_only=True, out_indices=indices)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise BackboneError(f"backbone {name!r} has no feature maps at strides 8, 16 and 32 ({error})") from error
    layout = getattr(network, "output_fmt", "NCHW")
    if layout != "NCHW":
        raise BackboneError(f"backbone {name!r} gives its maps as {layout}; needed: NCHW")
    return network, tuple(network.feature_info.channels())


def load_backbone_state(backbone: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put pretrained weights, named as torchvision or timm name them, into a backbone of `build_backbone`.

    Layers past stride 32 (a classifier) are left out. Raises BackboneError that names keys of the
    backbone that the state lacks or has in another shape; the backbone is then as it was.
    """
    # timm joins the first two parts of a name where it flattens a chain of stages (`stages.0.` becomes `stages_0.`).
    given = {**state, **{key.replace(".", "_", 1): value for key, value in state.items()}}
    own = backbone.state_dict()
    if problems := misfits(shapes_of(given), shapes_of(own), closed=False):
        raise BackboneError(f"the weights are not of this backbone; {say_misfits(problems)}")
    backbone.load_state_dict({key: given.get(key, value) for key, value in own.items()})


class CropFeatures(nn.Module):
    """Images to one reduced map at stride 16.

    backbone: (B, 3, H, W) -> three maps at strides 8, 16, 32 with `channels` channels.
    reduced_channels: channels of the result.
    """

    def __init__(self, backbone: nn.Module, channels: Sequence[int], *, reduced_channels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = tuple(channels)
        self.reduce = nn.Conv2d(sum(channels), reduced_channels, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Fuse the taps.

        images: (B, 3, H, W) float, RGB, ImageNet-normalised, sides multiples of 32.
        Returns (B, reduced_channels, H / 16, W / 16).
        """
        taps = self.backbone(images.contiguous(memory_format=torch.channels_last))
        size = taps[1].shape[-2:]
        # A 1x1 convolution and a resizing commute: reducing first resizes 8 channels, not hundreds.
        weights = self.reduce.weight.split(self.channels, dim=1)
        shallow, middle, deep = (functional.conv2d(tap, weight) for tap, weight in zip(taps, weights, strict=True))
        fused = middle + _resized(shallow, size) + DEEPEST_TAP_WEIGHT * _resized(deep, size)
        if self.reduce.bias is not None:
            fused = fused + self.reduce.bias[:, None, None]
        return fused.contiguous()


def _resized(features: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(features, size=list(size), mode="bilinear", align_corners=True)
