"""SimpleVQA's frozen motion features: means over time and space of both pathways of a SlowFast network.

Source: sunwei925/SimpleVQA at 017edda, the extraction scripts, which run the network in evaluation mode. Its
single-video demo forgets to, so that its scores depend on the statistics of the clips.
"""

import torch
from torch import Tensor

from models.backbones import seeded
from models.errors import ShapeError
from models.frozen import FrozenNetwork
from models.methods.simple_vqa.sampling import CLIP_FRAMES
from models.methods.simple_vqa.slowfast import SlowFast, SlowFastSizes, build_slowfast
from models.methods.simple_vqa.transforms import MOTION_PX


class MotionFeatures(FrozenNetwork):
    """Clips to one vector each.

    Attributes:
        width: Numbers per clip: 2304 of R50, 2048 slow and 256 fast.
    """

    def __init__(self, slowfast: SlowFast) -> None:
        super().__init__(slowfast)
        self.width = sum(slowfast.channels)

    @torch.no_grad()
    def forward(self, clips: Tensor) -> Tensor:
        """Features of clips, each on its own: how many there are in a call does not matter.

        Args:
            clips: (B, 3, 32, 224, 224) float, RGB, normalised by 0.45 and 0.225.

        Returns:
            (B, width) float32, slow then fast.

        Raises:
            ShapeError: The clips have another shape.
        """
        needed = (3, CLIP_FRAMES, MOTION_PX, MOTION_PX)
        if clips.ndim != 5 or clips.shape[1:] != needed or not len(clips):
            raise ShapeError(f"clips have shape {tuple(clips.shape)}; needed: (B, {', '.join(map(str, needed))})")
        # The published head averages over a window first, which at this size is the mean of all.
        return torch.cat([maps.float().mean(dim=(2, 3, 4)) for maps in self.network(clips)], dim=1)


def build_motion_features(sizes: SlowFastSizes | None = None, *, seed: int = 0) -> MotionFeatures:
    """The feature network with random weights.

    Args:
        sizes: Of the network; None: R50 8x8, as published.
        seed: Of the random weights.
    """
    with seeded(seed):
        return MotionFeatures(build_slowfast(sizes))
