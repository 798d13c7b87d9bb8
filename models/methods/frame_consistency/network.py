"""The quality network: a backbone from timm, pooled features, and a linear head over quality levels.

Source: "Advancing Video Quality Assessment for AIGC", arXiv 2409.14888, which uses ConvNeXt;
`losses` gives the logits their meaning. Every frame is scored on its own; the video score is the mean over its frames.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from models.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    check_timm_name,
    misfits,
    say_misfits,
    seeded,
    shapes_of,
)
from models.errors import AigcVqaError, ShapeError
from models.methods.frame_consistency.config import QualityConfig

PIXEL_MAX = 255.0
# Added to the variance: the square root has no finite slope at 0, which a map of one position always has.
VARIANCE_EPSILON = 1e-6
HEAD_WEIGHT_STD = 0.01


class QualityError(AigcVqaError, ValueError):
    """A quality network that cannot be built as configured, or weights that do not fit its backbone."""


class PixelStatistics(NamedTuple):
    """Mean and standard deviation of R, G, B on 0..1 over the pixels that a backbone was pretrained on."""

    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]


def video_score(frame_scores: Tensor) -> Tensor:
    """Score of every video: the mean over its frames, times 100.

    Args:
        frame_scores: (B, F) float, 0..0.99, as `losses.frame_scores` gives them.

    Returns:
        (B,), 0-100.

    Raises:
        ShapeError: `frame_scores` is not (B, F), or B or F is 0.
    """
    if frame_scores.ndim != 2 or 0 in frame_scores.shape:
        raise ShapeError(f"frame_scores have shape {tuple(frame_scores.shape)}; needed: (B, F), both at least 1")
    return 100.0 * frame_scores.mean(dim=1)


def logits_of_softmax(logits: Tensor) -> Tensor:
    """Logits x' with sigmoid(x') = softmax(x), so that losses and scores need to know but one kind: log p - log(1 - p).

    Args:
        logits: (..., bins) float.

    Returns:
        (..., bins); a probability within 1e-7 of 1 counts as that far away, since its logit would be infinite.
    """
    log_probabilities = logits.log_softmax(dim=-1).clamp(max=-1e-7)
    return log_probabilities - torch.log(-torch.expm1(log_probabilities))


class FeaturePool(nn.Module):
    """A backbone's features to one vector per frame.

    The vector starts with what timm's classifier of the backbone reads (its pre-logits), so that pretrained weights
    give the features that they were trained to give: ConvNeXt the mean over the positions, then the LayerNorm; a
    vision transformer its class token, or the mean of its positions, then the norm. With `with_std` the standard
    deviations over the positions of the same features, as they were before that pooling, follow.

    Attributes:
        with_std: Whether the deviations follow.
        channels_last: Whether 4-D features are (N, H, W, D), as Swin gives them, and not (N, D, H, W).
        prefix_tokens: Leading tokens of 3-D features (N, L, D) that are no positions: class and registers.
    """

    def __init__(self, *, with_std: bool, channels_last: bool, prefix_tokens: int) -> None:
        super().__init__()
        self.with_std = with_std
        self.channels_last = channels_last
        self.prefix_tokens = prefix_tokens

    def forward(self, features: Tensor, pre_logits: Tensor) -> Tensor:
        """Join the two parts.

        Args:
            features: (N, D, H, W), (N, H, W, D) or (N, L, D); looked at only with `with_std`.
            pre_logits: (N, E).

        Returns:
            (N, E), or (N, E + D).

        Raises:
            ShapeError: `features` have another number of axes.
        """
        return torch.cat([pre_logits, self._deviations(features)], dim=1) if self.with_std else pre_logits

    def _deviations(self, features: Tensor) -> Tensor:
        if features.ndim == 4:
            positions = features.flatten(1, 2) if self.channels_last else features.flatten(2).transpose(1, 2)
        elif features.ndim == 3:
            positions = features[:, self.prefix_tokens :]
        else:
            raise ShapeError(
                f"backbone features have shape {tuple(features.shape)}; needed: (N, D, H, W), (N, H, W, D) or (N, L, D)"
            )
        return (positions.var(dim=1, correction=0) + VARIANCE_EPSILON).sqrt()


class QualityNet(nn.Module):
    """Frames to logits over quality levels; normalises the pixels itself, so that nobody else has to.

    Attributes:
        backbone: A network of timm without its classifier: `forward_features`, `forward_head`.
        pool: Features to one vector (N, D) per frame.
        softmax: Whether the probabilities of a frame's bins sum to 1.
        dropout: Before the head.
        head: (N, D) -> (N, bins).
        input_px: S, side of the frames, pixels.
        pixel_mean: Of R, G, B on 0..1.
        pixel_std: Of R, G, B on 0..1.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        pool: nn.Module,
        head: nn.Linear,
        *,
        dropout: float,
        input_px: int,
        softmax: bool = False,
        pixel_mean: Sequence[float] = IMAGENET_MEAN,
        pixel_std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.head = head
        self.input_px = input_px
        self.softmax = softmax
        # Constants, not state: a weights file holds what was learnt.
        self.register_buffer("pixel_mean", _channel_values(pixel_mean), persistent=False)
        self.register_buffer("pixel_std", _channel_values(pixel_std), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Scores frames.

        frames: (B, F, 3, S, S) uint8, RGB, 0..255.
        Returns logits (B, F, bins), float32, also inside autocast: only the backbone runs in half precision.
        Raises ShapeError.
        """
        shape = tuple(frames.shape)
        needed = (3, self.input_px, self.input_px)
        if frames.ndim != 5 or shape[2:] != needed or 0 in shape or frames.dtype != torch.uint8:
            raise ShapeError(
                f"frames have shape {shape} and dtype {frames.dtype}; needed: (B, F, 3, {self.input_px}, "
                f"{self.input_px}) with B and F at least 1, torch.uint8"
            )
        pixels = frames.flatten(0, 1).to(self.pixel_mean.dtype) / PIXEL_MAX
        by_video: Tensor = self.read(self.describe(pixels)).unflatten(0, shape[:2])
        return by_video

    def describe(self, pixels: Tensor) -> Tensor:
        """What the head reads of frames.

        Args:
            pixels: (N, 3, S, S) float, RGB, 0..1.

        Returns:
            (N, D) float32, also inside autocast: only the backbone runs in half precision.
        """
        backbone: Any = self.backbone
        features = backbone.forward_features((pixels - self.pixel_mean) / self.pixel_std)
        with torch.autocast(pixels.device.type, enabled=False):
            # The variance is a small difference of large squares: half precision would lose it.
            features = features.to(self.head.weight.dtype)
            pre_logits = backbone.forward_head(features, pre_logits=True)
            pooled: Tensor = self.pool(features, pre_logits)
        return pooled

    def read(self, description: Tensor) -> Tensor:
        """Logits of frames: sigmoids of them are the bins' probabilities, whichever `softmax` says they are.

        Args:
            description: (N, D), as `describe` gives it.

        Returns:
            (N, bins) float32.
        """
        with torch.autocast(description.device.type, enabled=False):
            logits: Tensor = self.head(self.dropout(description))
            return logits_of_softmax(logits) if self.softmax else logits

    def compile_backbone(self) -> None:
        """Let torch compile the backbone when it first runs."""
        backbone: Any = self.backbone
        backbone.forward_features = torch.compile(backbone.forward_features)


def pixel_statistics(backbone: str) -> PixelStatistics:
    """What timm's pretrained weights of this name were trained with.

    ImageNet's where timm names none, also for a name that it does not know: `build_quality` refuses that one.
    """
    try:
        known = timm.get_pretrained_cfg(backbone, allow_unregistered=True)
    except RuntimeError:  # a tag that timm does not know for a name that it knows
        known = None
    if known is None or not known.mean or not known.std:
        return PixelStatistics(IMAGENET_MEAN, IMAGENET_STD)
    (red, green, blue), std = known.mean, known.std
    return PixelStatistics((red, green, blue), (std[0], std[1], std[2]))


def build_quality(config: QualityConfig, *, seed: int = 0) -> QualityNet:
    """Builds the network on the CPU, in training mode, with random weights that depend on `seed` alone.

    Downloads nothing; the global random state stays as it was.
    Raises BackboneError for a name that timm lacks (with the nearest ones). Raises QualityError for a tag that it
    lacks, for a backbone that cannot take frames of `config.input_px` pixels, and for one whose features are of several
    scales, or with `mean_std` no map or sequence.
    """
    _check_name(config.backbone)
    with seeded(seed):
        with_std = config.pooling == "mean_std"
        backbone, pool, width = _build_backbone(config.backbone, config.input_px, with_std=with_std)
        head = nn.Linear(width, config.bins)
        # Small weights and one bias for all: every frame starts near the middle of the scale, whatever its features.
        nn.init.trunc_normal_(head.weight, std=HEAD_WEIGHT_STD)
        # Our choice, the paper gives none: the bins' probabilities sum to 1, as the target density of the losses nearly
        # does. From a bias of 0 they sum to 50, and the cross-entropy starts at twelve times what it settles at. FCL
        # multiplies by it, and AdamW's second moments remember those first gradients for a thousand steps.
        nn.init.constant_(head.bias, -math.log(config.bins))
    return QualityNet(
        backbone,
        pool,
        head,
        dropout=config.dropout,
        input_px=config.input_px,
        softmax=config.probabilities == "softmax",
        pixel_mean=config.pixel_mean,
        pixel_std=config.pixel_std,
    )


def load_backbone(network: QualityNet, state_dict: Mapping[str, Tensor]) -> None:
    """Puts pretrained weights of timm into the backbone; the head keeps its own.

    state_dict: keys as timm names them for this model. Those of its classifier are left out; each of the
    others must be in the backbone with the same shape, and each of the backbone's in the state. BatchNorm's
    batch counters may be missing, as in files older than them; nothing that we compute reads them.
    Raises QualityError that counts and names missing, unknown and misshapen keys; the network is then as it was.
    """
    backbone = network.backbone
    classifiers = getattr(backbone, "pretrained_cfg", {}).get("classifier") or ()
    names = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    given = {
        key: value
        for key, value in state_dict.items()
        if not any(key == name or key.startswith(f"{name}.") for name in names)
    }
    own = backbone.state_dict()
    if problems := misfits(shapes_of(given), shapes_of(own)):
        raise QualityError(f"the weights do not fit the backbone; {say_misfits(problems)}")
    backbone.load_state_dict({**own, **given})


def checkpoint_activations(network: QualityNet) -> None:
    """Let the backbone keep few activations and compute the others again in the backward pass; the values stay.

    Raises QualityError for a backbone that cannot.
    """
    try:
        network.backbone.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AttributeError, AssertionError, NotImplementedError) as error:
        name = type(network.backbone).__name__
        raise QualityError(f"the backbone ({name} of timm) has no gradient checkpointing") from error


def _channel_values(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)


def _check_name(name: str) -> None:
    check_timm_name(name)
    architecture, _, tag = name.partition(".")
    tagged = timm.list_pretrained(f"{architecture}.*") if "." in name else [name]
    if name not in tagged:
        raise QualityError(f"timm has no tag {tag!r} for {architecture!r}; it has: {', '.join(tagged) or 'none'}")


def _build_backbone(name: str, input_px: int, *, with_std: bool) -> tuple[Any, FeaturePool, int]:
    """The backbone without classifier, in training mode, what pools its features, and the width of the result."""
    settings = timm.get_pretrained_cfg(name, allow_unregistered=True)
    # Networks with position tables or windows are built for one size; the others refuse the argument.
    size: dict[str, Any] = {"img_size": input_px} if settings is not None and settings.fixed_input_size else {}
    try:
        backbone: Any = timm.create_model(name, pretrained=False, num_classes=0, **size)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise QualityError(f"backbone {name!r} cannot be built for {input_px} px: {error}") from error
    try:
        with torch.no_grad():
            features = backbone.eval().forward_features(torch.zeros(1, 3, input_px, input_px))
            pre_logits = backbone.forward_head(features, pre_logits=True)
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise QualityError(f"backbone {name!r} cannot take frames of {input_px} px: {error}") from error
    if not isinstance(features, Tensor) or not isinstance(pre_logits, Tensor) or pre_logits.ndim != 2:
        kind = type(features).__name__ if not isinstance(features, Tensor) else "another layout"
        raise QualityError(f"backbone {name!r} gives a {kind} of features; needed: one map or one sequence")
    pool = FeaturePool(
        with_std=with_std,
        channels_last=getattr(backbone, "output_fmt", "NCHW") == "NHWC",
        prefix_tokens=_prefix_tokens(backbone, features),
    )
    if not with_std:
        return backbone.train(), pool, pre_logits.shape[1]
    width = features.shape[1] if features.ndim == 4 and not pool.channels_last else features.shape[-1]
    # timm says how wide its features are: a layout that is not what it seems must not be pooled.
    if features.ndim not in (3, 4) or width != backbone.num_features or 0 in features.shape:
        raise QualityError(
            f"backbone {name!r} gives features of shape {tuple(features.shape)} for {input_px} px; needed for "
            f"mean_std: a map or a sequence of vectors of {backbone.num_features}"
        )
    return backbone.train(), pool, pre_logits.shape[1] + width


def _prefix_tokens(backbone: nn.Module, features: Tensor) -> int:
    """Leading tokens that are no positions. timm counts them, but not for VOLO, which puts a class token in front."""
    if (counted := getattr(backbone, "num_prefix_tokens", None)) is not None:
        return int(counted)
    # PiT gives its class token alone, which is all that can be pooled.
    return int(features.ndim == 3 and features.shape[1] > 1 and getattr(backbone, "cls_token", None) is not None)
