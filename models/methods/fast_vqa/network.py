"""FAST-VQA's network: a Video-Swin with gated position bias, a head that scores every place, the mean as the score.

Source: arXiv 2207.02595; VQAssessment/FAST-VQA-and-FasterVQA at 9f264e4. SAMA has the same network.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbones import seeded
from models.errors import ShapeError
from models.methods.fast_vqa.config import FastVqaNetwork
from models.methods.fast_vqa.swin import GatedVideoSwin, build_swin


class PlaceHead(nn.Module):
    """A score for every place of a feature map: two 1 x 1 x 1 convolutions with a GELU between them."""

    def __init__(self, width: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc_hid = nn.Conv3d(width, hidden, 1)
        self.fc_last = nn.Conv3d(hidden, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D, T, H, W) -> (B, 1, T, H, W)."""
        hidden = functional.gelu(self.fc_hid(self.dropout(features)))
        scores: Tensor = self.fc_last(self.dropout(hidden))
        return scores


class FragmentNet(nn.Module):
    """Fragments of videos to scores.

    fragments_backbone: fragments -> features. vqa_head: features -> a score for every place.
    """

    def __init__(self, fragments_backbone: GatedVideoSwin, vqa_head: PlaceHead) -> None:
        super().__init__()
        self.fragments_backbone = fragments_backbone
        self.vqa_head = vqa_head

    def forward(self, fragments: Tensor) -> Tensor:
        """The score of every clip, the mean of its quality map.

        Args:
            fragments: (B, 3, T, H, W) float, RGB, normalised as `fast_vqa.sampling.normalised` does. Published: T 32,
                H and W 224; FAST-VQA-M 16 and 128.

        Returns:
            (B,) float32 (float64 for such weights), also inside autocast; on a scale of the network's own.

        Raises:
            ShapeError: The fragments have another shape, or are too large for the network.
        """
        score: Tensor = self.quality_map(fragments).mean(dim=(1, 2, 3, 4))
        return score

    def quality_map(self, fragments: Tensor) -> Tensor:
        """The score of every place.

        Args:
            fragments: As `forward` takes them.

        Returns:
            (B, 1, t, h, w) float: T / 2, H / 32 and W / 32 places, rounded up; the network's own scale.

        Raises:
            ShapeError: As `forward` does.
        """
        features = self.fragments_backbone(fragments)
        with torch.autocast(fragments.device.type, enabled=False):
            scores: Tensor = self.vqa_head(features.to(self.vqa_head.fc_hid.weight.dtype))
        return scores


def split_clips(fragments: Tensor, *, clips: int) -> Tensor:
    """The clips of videos as rows of a batch.

    Args:
        fragments: (B, 3, clips * T, H, W), one clip after the other along time.
        clips: Of each video.

    Returns:
        (B * clips, 3, T, H, W), the clips of a video next to each other.

    Raises:
        ShapeError: The frames are no whole clips.
    """
    if fragments.ndim != 5 or clips < 1 or fragments.shape[2] % clips:
        raise ShapeError(
            f"fragments have shape {tuple(fragments.shape)}; needed: (B, 3, T, H, W) with T a multiple of {clips} clips"
        )
    cut: Tensor = fragments.unflatten(2, (clips, -1)).transpose(1, 2).flatten(0, 1)
    return cut


def build_fragment_net(config: FastVqaNetwork, *, seed: int = 0) -> FragmentNet:
    """Builds the network on the CPU, in training mode, with random weights that depend on `seed` alone.

    Args:
        config: Its sizes.
        seed: Of the weights; the global random state stays as it was.
    """
    with seeded(seed):
        backbone = build_swin(config)
        width = config.embed_width * 2 ** (len(config.depths) - 1)
        head = PlaceHead(width, hidden=config.head_width, dropout=config.head_dropout)
    return FragmentNet(backbone, head)
