"""SlowFast: a slow pathway that sees few frames and has many channels, beside a fast one the other way round.

Source: Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, in the form of SLOWFAST_8x8_R50 of
pytorchvideo's model zoo (at f3142bb, Apache-2.0). Kernels and strides below are time x height x width.
"""

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.errors import ShapeError


class SlowFastSizes(NamedTuple):
    """The sizes of a network; the defaults are those of R50 8x8.

    Attributes:
        width: Channels of the slow stem; blocks are 1, 2, 4 and 8 times as wide inside and 4 times that outside.
        fast_share: The slow pathway has as many times the channels of the fast one.
        frame_ratio: The fast pathway has as many times the frames of the slow one.
        units: Residual units of the four blocks after the stem.
    """

    width: int = 64
    fast_share: int = 8
    frame_ratio: int = 4
    units: tuple[int, int, int, int] = (3, 4, 6, 3)


# Frames that a kernel of the first convolution of a unit spans, by block: the slow pathway looks at motion late.
SLOW_KERNELS = (1, 1, 3, 3)
FAST_KERNELS = (3, 3, 3, 3)
SLOW_STEM_KERNEL, FAST_STEM_KERNEL, FUSION_KERNEL = 1, 5, 7
FUSION_GROWTH = 2
UNIT_GROWTH = 4

Pathways = tuple[Tensor, Tensor]


def slow_positions(n_frames: int, n_slow: int) -> list[int]:
    """The frames of a clip that the slow pathway sees: evenly spaced, both ends, rounded down.

    Args:
        n_frames: Frames of the clip, at least 2.
        n_slow: How many of them, at least 2. Of 32 frames 8 are 0, 4, 8, 13, 17, 22, 26 and 31.
    """
    return [step * (n_frames - 1) // (n_slow - 1) for step in range(n_slow)]


class Stem(nn.Sequential):
    """Pixels to the first maps, a quarter as high and wide: (B, 3, F, H, W) -> (B, C, F, H / 4, W / 4)."""

    def __init__(self, channels: int, *, kernel: int) -> None:
        super().__init__(
            OrderedDict(
                conv=_conv(3, channels, (kernel, 7, 7), stride=(1, 2, 2)),
                norm=nn.BatchNorm3d(channels),
                activation=nn.ReLU(inplace=True),
                pool=nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
            )
        )


class ResidualUnit(nn.Module):
    """Three convolutions beside a shortcut: (B, C, F, H, W) -> (B, C', F, H / stride, W / stride)."""

    def __init__(self, channels: int, inside: int, outside: int, *, kernel: int, stride: int, project: bool) -> None:
        super().__init__()
        self.shortcut: nn.Module = nn.Identity()
        if project:
            conv = _conv(channels, outside, (1, 1, 1), stride=(1, stride, stride))
            self.shortcut = nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm3d(outside)))
        self.residual = nn.Sequential(
            OrderedDict(
                conv_a=_conv(channels, inside, (kernel, 1, 1)),
                norm_a=nn.BatchNorm3d(inside),
                activation_a=nn.ReLU(inplace=True),
                conv_b=_conv(inside, inside, (1, 3, 3), stride=(1, stride, stride)),
                norm_b=nn.BatchNorm3d(inside),
                activation_b=nn.ReLU(inplace=True),
                conv_c=_conv(inside, outside, (1, 1, 1)),
                norm_c=nn.BatchNorm3d(outside),
            )
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Add what the convolutions find to the shortcut."""
        return torch.relu(self.shortcut(maps) + self.residual(maps))


class ResidualStage(nn.Module):
    """The units of one block and pathway, the first of which changes channels and size."""

    def __init__(self, channels: int, inside: int, *, kernel: int, stride: int, units: int) -> None:
        super().__init__()
        outside = UNIT_GROWTH * inside
        first = ResidualUnit(channels, inside, outside, kernel=kernel, stride=stride, project=True)
        others = [
            ResidualUnit(outside, inside, outside, kernel=kernel, stride=1, project=False) for _ in range(units - 1)
        ]
        self.units = nn.Sequential(first, *others)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, F, H, W) -> (B, C', F, H', W')."""
        found: Tensor = self.units(maps)
        return found


class FastToSlow(nn.Module):
    """Gives the slow pathway what the fast one found, at the slow one's frames."""

    def __init__(self, channels: int, *, frame_ratio: int) -> None:
        super().__init__()
        wider = FUSION_GROWTH * channels
        self.conv = _conv(channels, wider, (FUSION_KERNEL, 1, 1), stride=(frame_ratio, 1, 1))
        self.norm = nn.BatchNorm3d(wider)

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        """The slow pathway's maps and, after them, the fast one's."""
        return torch.cat([slow, torch.relu(self.norm(self.conv(fast)))], dim=1)


class SlowFastBlock(nn.Module):
    """Both pathways of a block, and the fusion after it where there is one; the fast pathway gets nothing back."""

    def __init__(self, slow: nn.Module, fast: nn.Module, fusion: FastToSlow | None) -> None:
        super().__init__()
        self.slow = slow
        self.fast = fast
        self.fusion = fusion

    def forward(self, pathways: Pathways) -> Pathways:
        """Slow and fast maps to the next ones."""
        slow, fast = self.slow(pathways[0]), self.fast(pathways[1])
        return (slow if self.fusion is None else self.fusion(slow, fast)), fast


class SlowFast(nn.Module):
    """Clips to the last maps of both pathways.

    Attributes:
        blocks: The stem and four blocks, each from a pair of maps to a pair of maps.
        frame_ratio: See `SlowFastSizes`.
        channels: Of the last slow and fast maps.
    """

    def __init__(self, blocks: list[SlowFastBlock], *, frame_ratio: int, channels: tuple[int, int]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.frame_ratio = frame_ratio
        self.channels = channels

    def forward(self, clips: Tensor) -> Pathways:
        """Look at clips.

        Args:
            clips: (B, 3, F, H, W) float, RGB, normalised; F a multiple of the frame ratio, at least twice it.

        Returns:
            Slow maps (B, D, F / frame_ratio, H / 32, W / 32) and fast maps (B, D', F, H / 32, W / 32).

        Raises:
            ShapeError: The clips have another shape.
        """
        shape = tuple(clips.shape)
        if (
            clips.ndim != 5
            or shape[1] != 3
            or 0 in shape
            or shape[2] % self.frame_ratio
            or not (shape[2] >= 2 * self.frame_ratio and clips.is_floating_point())
        ):
            raise ShapeError(
                f"clips have shape {shape} and dtype {clips.dtype}; needed: (B, 3, F, H, W), F a multiple of "
                f"{self.frame_ratio} from {2 * self.frame_ratio} on, floating point, normalised"
            )
        slow = clips[:, :, slow_positions(shape[2], shape[2] // self.frame_ratio)]
        found: Pathways = self.blocks((slow, clips))
        return found


def build_slowfast(sizes: SlowFastSizes | None = None) -> SlowFast:
    """The network with random weights, without a head.

    Args:
        sizes: Of the network; None: R50 8x8.
    """
    sizes = sizes or SlowFastSizes()
    slow, fast = sizes.width, sizes.width // sizes.fast_share
    blocks = [
        SlowFastBlock(
            Stem(slow, kernel=SLOW_STEM_KERNEL),
            Stem(fast, kernel=FAST_STEM_KERNEL),
            FastToSlow(fast, frame_ratio=sizes.frame_ratio),
        )
    ]
    last = len(sizes.units) - 1
    for number, (units, slow_kernel, fast_kernel) in enumerate(
        zip(sizes.units, SLOW_KERNELS, FAST_KERNELS, strict=True)
    ):
        inside = sizes.width * 2**number
        stride = 1 if number == 0 else 2
        slow_stage = ResidualStage(slow + FUSION_GROWTH * fast, inside, kernel=slow_kernel, stride=stride, units=units)
        fast_stage = ResidualStage(fast, inside // sizes.fast_share, kernel=fast_kernel, stride=stride, units=units)
        slow, fast = UNIT_GROWTH * inside, UNIT_GROWTH * inside // sizes.fast_share
        fusion = None if number == last else FastToSlow(fast, frame_ratio=sizes.frame_ratio)
        blocks.append(SlowFastBlock(slow_stage, fast_stage, fusion))
    return SlowFast(blocks, frame_ratio=sizes.frame_ratio, channels=(slow, fast))


def _conv(
    channels: int, wider: int, kernel: tuple[int, int, int], *, stride: tuple[int, int, int] = (1, 1, 1)
) -> nn.Conv3d:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Conv3d(channels, wider, kernel, stride=stride, padding=padding, bias=False)
