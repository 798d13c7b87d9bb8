"""VSFA's frozen features: mean and standard deviation, over positions, of an image network's last map.

Source: Li et al., ACM MM 2019, section 3.1, and lidq92/VSFA at b78751b, with torchvision's ResNet-50 up to layer4.
"""

import torch
from torch import Tensor, nn

from models.backbones import seeded
from models.errors import ShapeError
from models.frozen import FrozenNetwork, position_statistics
from models.s2cnet.features import build_backbone


class FrameFeatures(FrozenNetwork):
    """Frames to one vector each.

    Attributes:
        width: Numbers per frame: 4096 of ResNet-50.
    """

    def __init__(self, trunk: nn.Module, *, channels: int) -> None:
        super().__init__(trunk)
        self.width = 2 * channels

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Features of frames, each on its own: how many there are in a call does not matter.

        Args:
            frames: (N, 3, H, W) float, RGB, normalised; one side at least of more than 32 pixels.

        Returns:
            (N, width) float32: the means of the channels, then their unbiased deviations.

        Raises:
            ShapeError: The frames have another shape, or are so small that the map has one position. The release gives
                NaN there.
        """
        if frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape or not frames.is_floating_point():
            raise ShapeError(
                f"frames have shape {tuple(frames.shape)} and dtype {frames.dtype}; needed: (N, 3, H, W), N at "
                "least 1, floating point, normalised"
            )
        # Convolutions are a sixth faster on a CPU where the channels lie together, as a decoder's frames have them.
        return position_statistics(self.network(frames.contiguous(memory_format=torch.channels_last))[-1])


def build_frame_features(backbone: str, *, seed: int = 0) -> FrameFeatures:
    """The feature network with random weights; `models.s2cnet.features.load_backbone_state` puts others into its trunk.

    Args:
        backbone: Name of a timm model with maps at strides 8, 16 and 32; `resnet50` as published.
        seed: Of the random weights.

    Raises:
        BackboneError: There is no such network, or it has no such maps.
    """
    with seeded(seed):
        trunk, channels = build_backbone(backbone)
    return FrameFeatures(trunk, channels=channels[-1])
