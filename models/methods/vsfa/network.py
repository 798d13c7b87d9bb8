"""VSFA: frozen features of every frame, a linear layer, a GRU, and a temporal pooling with memory.

Source: Li, Jiang and Jiang, "Quality Assessment of In-the-Wild Videos", ACM MM 2019, and lidq92/VSFA at b78751b. Its
dropout and its second linear layer never run, so training and evaluation compute the same; neither is here.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbones import seeded
from models.errors import ShapeError
from models.methods.vsfa.config import VsfaConfig, VsfaPooling


def real_frames(lengths: Tensor | Sequence[int], quality: Tensor) -> Tensor:
    """Which frames of a padded batch are a video's own.

    Args:
        lengths: B lengths, 1 to T.
        quality: (B, T).

    Returns:
        (B, T) bool.

    Raises:
        ShapeError: The lengths are not B whole numbers of 1 to T.
    """
    count, longest = quality.shape
    values = torch.as_tensor(lengths)
    whole = values.ndim == 1 and len(values) == count and bool((values == values.long()).all())
    if not whole or values.min() < 1 or values.max() > longest:
        raise ShapeError(f"lengths are {values.tolist()}; needed: {count} whole numbers of 1 to {longest}, one a video")
    positions = torch.arange(longest, device=quality.device)
    return positions < values.to(quality.device)[:, None]


class TemporalPooling(nn.Module):
    """Quality of every frame as it is felt at that moment: the worst that is remembered, and what comes.

    Source: section 3.2 of the paper, as the release computes it. With the quality q of frames and a window of tau:
    memory l_t = min of q_k for t - tau < k <= t; present m_t = sum q_k exp(-q_k) / sum exp(-q_k) for t <= k < t + tau;
    both over frames that exist; felt quality beta m_t + (1 - beta) l_t. In the paper's text the memory is that of the
    tau frames before t, without t itself, and l_0 = q_0: the choice `memory: paper`.

    Attributes:
        choices: Which memory, tau and beta.
    """

    def __init__(self, choices: VsfaPooling) -> None:
        super().__init__()
        self.choices = choices

    def forward(self, quality: Tensor, real: Tensor) -> Tensor:
        """Felt quality of every frame.

        Args:
            quality: (B, T) float.
            real: (B, T) bool, true for the first frames of a video and false after its end.

        Returns:
            (B, T), 0 after the end of a video.

        Raises:
            ShapeError: The shapes are others.
        """
        if quality.ndim != 2 or quality.shape != real.shape or 0 in quality.shape:
            raise ShapeError(
                f"quality has shape {tuple(quality.shape)} and real {tuple(real.shape)}; needed: both (B, T)"
            )
        share = self.choices.present_share
        # The tail may hold anything, a NaN too: it must reach neither the values nor the gradients.
        quality = quality.masked_fill(~real, 0.0)
        felt = share * self._present(quality, real) + (1.0 - share) * self._memory(quality)
        return felt.masked_fill(~real, 0.0)

    def _memory(self, quality: Tensor) -> Tensor:
        window = self.choices.window_frames
        # Every window looks back only, so no tail can reach a real frame.
        worst = functional.pad(quality, (window - 1, 0), value=torch.inf).unfold(1, window, 1).amin(dim=2)
        if self.choices.memory == "released":
            return worst
        return torch.cat([quality[:, :1], worst[:, :-1]], dim=1)

    def _present(self, quality: Tensor, real: Tensor) -> Tensor:
        ahead = (0, self.choices.window_frames - 1)
        window = self.choices.window_frames
        values = functional.pad(quality, ahead).unfold(1, window, 1)
        exists = functional.pad(real, ahead).unfold(1, window, 1)
        # Softmax subtracts the largest exponent: exp of a quality of -100 would overflow. Windows past the end keep
        # finite weights, so that no NaN gets into the gradients.
        lowest = torch.finfo(values.dtype).min
        weights = functional.softmax((-values).masked_fill(~exists, lowest), dim=2)
        return (weights * values).sum(dim=2)


class VsfaNet(nn.Module):
    """Features of a video's frames to its quality.

    Attributes:
        reduce: (B, T, D) -> (B, T, reduced width), no activation after it.
        recurrent: One layer, one direction, batch first. It looks back only, so that what stands after the
            end of a video changes nothing.
        quality: State of the GRU -> one number.
        pooling: Quality of frames -> felt quality of frames.
    """

    def __init__(self, reduce: nn.Linear, recurrent: nn.GRU, quality: nn.Linear, pooling: TemporalPooling) -> None:
        super().__init__()
        self.reduce = reduce
        self.recurrent = recurrent
        self.quality = quality
        self.pooling = pooling

    def forward(self, features: Tensor, lengths: Tensor | Sequence[int]) -> Tensor:
        """Quality of videos: the mean of what `felt_quality` gives.

        Args:
            features: (B, T, D) float; any finite numbers after the end of a video.
            lengths: Frames of each of the B videos, 1 to T.

        Returns:
            (B,) float32, near 0-1; times the scale of the labels it is a MOS.

        Raises:
            ShapeError: Shapes do not fit together.
        """
        quality = self.frame_quality(features)
        real = real_frames(lengths, quality)
        felt: Tensor = self.pooling(quality, real)
        return felt.sum(dim=1) / real.sum(dim=1)

    def felt_quality(self, features: Tensor, lengths: Tensor | Sequence[int]) -> Tensor:
        """Quality of every frame after the temporal pooling.

        Args:
            features: (B, T, D) float.
            lengths: As in `forward`.

        Returns:
            (B, T) float32, 0 after the end of a video.

        Raises:
            ShapeError: Shapes do not fit together.
        """
        quality = self.frame_quality(features)
        felt: Tensor = self.pooling(quality, real_frames(lengths, quality))
        return felt

    def frame_quality(self, features: Tensor) -> Tensor:
        """Quality of every frame before the temporal pooling: (B, T, D) float -> (B, T) float32.

        Raises:
            ShapeError: The features have another shape.
        """
        width = self.reduce.in_features
        if features.ndim != 3 or features.shape[2] != width or 0 in features.shape or not features.is_floating_point():
            raise ShapeError(
                f"features have shape {tuple(features.shape)} and dtype {features.dtype}; needed: (B, T, {width}), B "
                "and T at least 1, floating point"
            )
        with torch.autocast(features.device.type, enabled=False):
            # A recurrence over hundreds of frames adds up the rounding of half precision.
            states, _ = self.recurrent(self.reduce(features.to(self.reduce.weight.dtype)))
            quality: Tensor = self.quality(states).squeeze(2)
        return quality


def build_vsfa(config: VsfaConfig, *, seed: int = 0) -> VsfaNet:
    """The regressor in training mode, with torch's own random start, as the release has it.

    Args:
        config: Its sizes.
        seed: Of the random weights; the global random state stays as it was.
    """
    with seeded(seed):
        return VsfaNet(
            nn.Linear(config.feature_width, config.reduced_width),
            nn.GRU(config.reduced_width, config.hidden_width, batch_first=True),
            nn.Linear(config.hidden_width, 1),
            TemporalPooling(config.pooling),
        )
