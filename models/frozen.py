"""Networks that are only evaluated, whose outputs others learn from; and statistics of maps over their positions."""

from typing import Self

import torch
from torch import Tensor, nn

from models.errors import ShapeError


class FrozenNetwork(nn.Module):
    """A network in evaluation mode without gradients, whatever mode the module around it is set to.

    Attributes:
        network: What is frozen; its parameters no longer ask for gradients.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: batch statistics would make a video's features depend on its neighbours.

        Args:
            mode: Not followed.
        """
        return super().train(False)


def position_statistics(maps: Tensor) -> Tensor:
    """Mean and standard deviation of every channel over its positions.

    The deviation is the unbiased one (divisor H W - 1), as VSFA and SimpleVQA have it: at 7x7 positions it is 1 % above
    the biased one. It runs in float32 (float64 for float64 maps), inside autocast too.

    Args:
        maps: (N, C, H, W) float.

    Returns:
        (N, 2 C): the means, then the deviations.

    Raises:
        ShapeError: The maps have another shape, or one position, which has no deviation.
    """
    if maps.ndim != 4 or 0 in maps.shape:
        raise ShapeError(f"maps have shape {tuple(maps.shape)}; needed: (N, C, H, W), all at least 1")
    if maps.shape[-2:].numel() < 2:
        raise ShapeError(
            f"maps have shape {tuple(maps.shape)}, one position, which has no standard deviation; needed: at least 2, "
            "so larger frames"
        )
    with torch.autocast(maps.device.type, enabled=False):
        positions = (maps if maps.dtype == torch.float64 else maps.float()).flatten(2)
        return torch.cat([positions.mean(dim=2), positions.std(dim=2, correction=1)], dim=1)
