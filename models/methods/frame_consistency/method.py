"""The paper's method as the stages see it: a selected crop of every frame, scored on its own; the mean is the video's.

Source: "Advancing Video Quality Assessment for AIGC", arXiv 2409.14888. How each part follows from it: `network` and
`losses`.
"""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.errors import ShapeError
from models.methods.frame_consistency.config import FrameConsistencyParams, QualityConfig, QualityNetwork
from models.methods.frame_consistency.losses import (
    SIGMA_MIN,
    bce_loss,
    frame_consistency_loss,
    frame_deviations,
    frame_scores,
    mae_loss,
    video_terms,
)
from models.methods.frame_consistency.network import (
    QualityNet,
    build_quality,
    checkpoint_activations,
    load_backbone,
    pixel_statistics,
    video_score,
)
from models.methods.interface import ExportPlan, Method, MethodError, Piece, Segments, Start, VideoView
from models.optim import layered_groups


class FrameConsistency(Method):
    """See `Method`. A sample is (F, 3, S, S) uint8, the network's output (B, F, 100) logits."""

    draws = False
    mirrors = True
    frames_a_piece = 1

    def __init__(self, params: FrameConsistencyParams, network: Mapping[str, Any] | None = None) -> None:
        """See `models.methods.load_method`."""
        self.params = params
        if network is None:
            mean, std = pixel_statistics(params.backbone)
            network = params.values_of(QualityNetwork) | {"pixel_mean": mean, "pixel_std": std}
        self.config = QualityConfig.model_validate(network)
        self.input_px = self.config.input_px

    @property
    def network(self) -> dict[str, Any]:
        return self.config.model_dump()

    def build(self, *, seed: int) -> QualityNet:
        return build_quality(self.config, seed=seed)

    def start(self) -> Start | None:
        pretrained = self.params.pretrained
        return Start("pretrained", pretrained, self.config.backbone, is_timm=True) if pretrained else None

    def start_from(self, network: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
        load_backbone(cast(QualityNet, network), state_dict)

    def sample_shape(self, places: int) -> tuple[int, ...]:
        return places, 3, self.input_px, self.input_px

    def sample(self, view: VideoView, random: torch.Generator | None) -> Tensor:
        return torch.from_numpy(_crops(view))

    def learn_labels(self, mos: Tensor) -> dict[str, float]:
        """The deviation of the MOS, points: the width of the target density of equation 5."""
        sigma = float(mos.std(correction=0))
        if sigma < SIGMA_MIN:
            raise MethodError(
                f"the MOS of the part train have a standard deviation of {sigma:.3g} points of 100; at least "
                f"{SIGMA_MIN:.2f} is needed for the target of the losses"
            )
        return {"sigma": sigma}

    def loss(self, output: Tensor, mos: Tensor, labels: Mapping[str, float]) -> Tensor:
        if self.params.loss == "mae":
            return mae_loss(output, mos)
        if self.params.loss == "bce":
            return bce_loss(output, mos, labels["sigma"])
        return frame_consistency_loss(output, mos, labels["sigma"], reduction=self.params.fcl.reduction)

    def terms(self, output: Tensor, mos: Tensor, labels: Mapping[str, float]) -> dict[str, Tensor]:
        return video_terms(output, mos, labels["sigma"])._asdict()

    def scores(self, output: Tensor) -> Tensor:
        return video_score(frame_scores(output))

    def pieces(self, view: VideoView) -> list[Piece]:
        return [Piece(torch.from_numpy(crop), [[position]]) for position, crop in enumerate(_crops(view))]

    def score(self, network: nn.Module, values: Tensor) -> Segments:
        logits = network(values.unsqueeze(0))
        return Segments(100 * frame_scores(logits)[0, :, None], 100 * frame_deviations(logits)[0, :, None])

    def groups(self, network: nn.Module, *, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
        return layered_groups(network, cast(QualityNet, network).backbone, weight_decay, layer_decay=layer_decay)

    def checkpoint(self, network: nn.Module) -> None:
        checkpoint_activations(cast(QualityNet, network))

    def compile(self, network: nn.Module) -> None:
        cast(QualityNet, network).compile_backbone()

    def export(self, network: nn.Module) -> ExportPlan:
        """Frames to scores and logits; normalising is inside."""
        size = self.input_px

        def expected(pixels: Tensor) -> tuple[Tensor, Tensor]:
            logits = network(pixels.unsqueeze(0))
            return 100 * frame_scores(logits).squeeze(0), logits.squeeze(0)

        return ExportPlan(
            ExportedFrames(cast(QualityNet, network)),
            (3, size, size),
            f"pixels (N, 3, {size}, {size}) float32, RGB, 0..1",
            {"frame_scores": "(N,) float32, 0-100", "logits": "(N, 100) float32"},
            (100.0, 1.0),
            expected,
        )


class ExportedFrames(nn.Module):
    """What an exported file computes: pixels (N, 3, S, S) float32, RGB, 0..1 -> frame_scores (N,), logits (N, 100)."""

    def __init__(self, network: QualityNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, S, S) float32 in 0..1 -> scores (N,) on 0-100 and logits (N, 100)."""
        network = self.network
        logits = network.read(network.describe(pixels))
        return 100 * frame_scores(logits[:, None]).squeeze(1), logits


def _crops(view: VideoView) -> NDArray[np.uint8]:
    if view.crops is None:
        raise ShapeError("the video comes without crops; needed: (F, 3, S, S)")
    return view.crops


METHOD = FrameConsistency
