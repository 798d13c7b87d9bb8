"""SimpleVQA's quality network: statistics of three stages of an image network beside motion features, per second.

Source: Sun et al., ACM MM 2022, and sunwei925/SimpleVQA at 017edda. The two linear layers of the head have nothing
between them, so together they are one; they are kept apart for the release's weights and its training.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.backbones import seeded
from models.errors import ShapeError
from models.frozen import position_statistics
from models.methods.simple_vqa.config import SimpleVqaConfig
from models.methods.simple_vqa.sampling import SimpleVqaInputError
from models.s2cnet.features import build_backbone


class SimpleVqaNet(nn.Module):
    """Frames and motion features to the quality of videos.

    Attributes:
        trunk: (N, 3, S, S) -> three maps, at strides 8, 16 and 32.
        quality: (N, D) -> (N, 1).
        motion_width: Motion features of a segment; 0: without motion.
    """

    def __init__(self, trunk: nn.Module, quality: nn.Sequential, *, motion_width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.quality = quality
        self.motion_width = motion_width

    def forward(self, frames: Tensor, motion: Tensor | None = None) -> Tensor:
        """Quality of videos: the mean of what `segment_scores` gives.

        Args:
            frames: (B, F, 3, H, W) float, RGB, normalised: a frame of each of F segments.
            motion: (B, F, motion_width) float; None without motion.

        Returns:
            (B,) float32, MOS points.

        Raises:
            ShapeError: Shapes do not fit together, or the frames leave one position at stride 32.
        """
        return self.segment_scores(frames, motion).mean(dim=1)

    def segment_scores(self, frames: Tensor, motion: Tensor | None = None) -> Tensor:
        """Quality of every segment.

        Args:
            frames: (B, F, 3, H, W), as in `forward`.
            motion: (B, F, motion_width), as in `forward`.

        Returns:
            (B, F) float32, MOS points.

        Raises:
            ShapeError: As `forward`.
        """
        features = self.segment_features(frames, motion)
        with torch.autocast(frames.device.type, enabled=False):
            scores: Tensor = self.quality(features).squeeze(2)
        return scores

    def segment_features(self, frames: Tensor, motion: Tensor | None = None) -> Tensor:
        """What the head sees of every segment.

        Args:
            frames: (B, F, 3, H, W), as in `forward`.
            motion: (B, F, motion_width), as in `forward`.

        Returns:
            (B, F, D) float32: mean and unbiased deviation of every channel at stride 8, at 16 and at 32, then motion;
            D is 9472 as published.

        Raises:
            ShapeError: As `forward`.
        """
        self._check(frames, motion)
        maps = self.trunk(frames.flatten(0, 1))
        parts = [position_statistics(each).unflatten(0, frames.shape[:2]) for each in maps]
        if motion is not None:
            parts.append(motion.to(parts[0].dtype))
        return torch.cat(parts, dim=2)

    def _check(self, frames: Tensor, motion: Tensor | None) -> None:
        shape = tuple(frames.shape)
        if frames.ndim != 5 or shape[2] != 3 or 0 in shape or not frames.is_floating_point():
            raise ShapeError(
                f"frames have shape {shape} and dtype {frames.dtype}; needed: (B, F, 3, H, W), floating point, "
                "normalised"
            )
        given = None if motion is None else tuple(motion.shape)
        needed = (*shape[:2], self.motion_width) if self.motion_width else None
        if given != needed:
            raise ShapeError(f"motion has shape {given} beside frames of shape {shape}; needed: {needed}")


def build_simple_vqa(config: SimpleVqaConfig, *, seed: int = 0) -> SimpleVqaNet:
    """The network in training mode with random weights.

    `models.s2cnet.features.load_backbone_state` puts pretrained ones into its trunk; the release starts from
    torchvision's IMAGENET1K_V1, with batch normalisation in training mode and the head at torch's own start.

    Args:
        config: Its sizes.
        seed: Of the random weights; the global random state stays as it was.

    Raises:
        BackboneError: There is no such backbone, or it has no maps at strides 8, 16 and 32.
        SimpleVqaInputError: `motion` and `motion_width` contradict each other.
    """
    if (config.motion == "none") != (config.motion_width == 0):
        raise SimpleVqaInputError(f"motion is {config.motion!r} and motion_width {config.motion_width}; 0 is for none")
    with seeded(seed):
        trunk, channels = build_backbone(config.backbone)
        quality = _head(channels, config)
    return SimpleVqaNet(trunk.train(), quality, motion_width=config.motion_width)


def _head(channels: Sequence[int], config: SimpleVqaConfig) -> nn.Sequential:
    last = nn.Linear(config.hidden_width, 1)
    if config.start_mos is not None:
        # From torch's start near 0 the first epochs would go by on the way to the middle of the scale.
        nn.init.constant_(last.bias, config.start_mos)
    return nn.Sequential(nn.Linear(2 * sum(channels) + config.motion_width, config.hidden_width), last)
