"""What a method that scores videos tells the stages and commands, which know nothing else of it.

The training part and the validation part of a loop ask for `sample` and `scores`; prediction asks for `pieces` and
`score`, so that pieces of several videos share a batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.errors import AigcVqaError
from models.methods.reading import MethodParams, Need
from models.optim import cosine_factor, layered_groups


class MethodError(AigcVqaError, ValueError):
    """What a method cannot do, or data that it cannot learn from."""


@dataclass(frozen=True)
class VideoView:
    """A video as a method sees it.

    Attributes:
        frames: The decoded frames, (H, W, 3) uint8 RGB.
        crops: (F, 3, S, S) uint8 RGB, the selected crop of every frame, for methods that need crops; S is the method's
            `input_px`. In training short videos repeat frames there, evenly, and so they do in the mean of the scores.
    """

    frames: Sequence[NDArray[np.uint8]]
    crops: NDArray[np.uint8] | None = None


class Piece(NamedTuple):
    """A part of a video that is scored on its own, such as a frame or a clip.

    Attributes:
        values: What the network sees of it; pieces of one shape and type share a batch.
        segments: The parts that get a score each: positions among the view's frames.
    """

    values: Tensor
    segments: Sequence[Sequence[int]]


class Segments(NamedTuple):
    """What a network says of the segments of N pieces.

    Attributes:
        scores: (N, S) float, on 0-100 where the method has that scale.
        deviations: (N, S) float, how sure the network is of each, a standard deviation on the same scale; zeros for
            networks that do not say.
    """

    scores: Tensor
    deviations: Tensor


class Start(NamedTuple):
    """Weights that a network starts from.

    Attributes:
        key: The key of the method's section that names the file, such as "pretrained".
        path: The file.
        name: The network whose weights they are.
        is_timm: Whether timm publishes them under that name.
        url: Where else the file can be fetched; empty: nowhere known.
    """

    key: str
    path: str
    name: str
    is_timm: bool = False
    url: str = ""


@dataclass(frozen=True)
class ExportPlan:
    """A network as a file for other programs.

    Attributes:
        module: pixels (N, *shape) float32, RGB, 0..1 -> the outputs, each with N rows.
        shape: Of one input.
        input_text: What `pixels` are, for people.
        outputs: Name of each output -> what it is, for people.
        ranges: What a difference of each output is measured in.
        expected: The outputs that the network here gives for pixels (N, *shape) uint8.
    """

    module: nn.Module
    shape: tuple[int, ...]
    input_text: str
    outputs: Mapping[str, str]
    ranges: Sequence[float]
    expected: Callable[[Tensor], Sequence[Tensor]]


class Method(Protocol):
    """How videos are scored: what is read of them, network, loss, and scores.

    Attributes:
        params: Its section.
        draws: Whether the samples of the training are drawn anew in every epoch; others are kept in memory.
        mirrors: Whether a sample mirrored along its last axis is that of the mirrored video, as `train.flip` wants.
        input_px: Side of the crops, for methods that need them.
        frames_a_piece: Frames that a piece makes the network work on.
        least_batch: Fewest videos of a batch that the loss is defined for.
    """

    params: MethodParams
    draws: bool
    mirrors: bool
    input_px: int
    frames_a_piece: int
    least_batch: int = 1

    @property
    def needs(self) -> frozenset[Need]:
        """What is read of a video."""
        return self.params.needs

    @property
    def network(self) -> dict[str, Any]:
        """What the network is built from, JSON-like; kept with the weights."""
        ...

    def build(self, *, seed: int) -> nn.Module:
        """The network on the CPU, in training mode, with random weights that depend on the seed alone.

        Args:
            seed: Of the weights; the global random state stays as it was.

        Raises:
            AigcVqaError: It cannot be built as configured.
        """
        ...

    def start(self) -> Start | None:
        """The weights to start from; None: from scratch."""
        return None

    def start_from(self, network: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
        """Put weights into a fresh network.

        Args:
            network: From `build`; changes in place.
            state_dict: What the file of `start` holds.

        Raises:
            AigcVqaError: They are of another network.
        """
        raise MethodError("this method starts from scratch")

    def sample_shape(self, places: int) -> tuple[int, ...]:
        """Shape of every sample of the training. Samples are uint8 where they are not drawn.

        Args:
            places: Frames of a clip.
        """
        ...

    def sample(self, view: VideoView, random: torch.Generator | None) -> Tensor:
        """What a network that learns sees of one video; a batch is a stack of samples.

        Args:
            view: The video.
            random: Of the training's random numbers; None: the sample of the test, always the same.

        Raises:
            AigcVqaError: The video gives no sample.
        """
        ...

    def learn_labels(self, mos: Tensor) -> dict[str, float]:
        """What the loss takes from the labels of the training part, for `loss` and `terms`; kept with the weights.

        Args:
            mos: (N,) float, 0-100.

        Raises:
            MethodError: The method cannot learn from such labels.
        """
        return {}

    def loss(self, output: Tensor, mos: Tensor, labels: Mapping[str, float]) -> Tensor:
        """What a step of the training minimises.

        Args:
            output: Of the network for a batch of samples, B rows.
            mos: (B,) float, 0-100.
            labels: From `learn_labels`.

        Returns:
            A scalar.

        Raises:
            AigcVqaError: The loss is not defined for such a batch.
        """
        ...

    def terms(self, output: Tensor, mos: Tensor, labels: Mapping[str, float]) -> dict[str, Tensor]:
        """The parts of the loss: training logs their means, and shows them when a loss is not finite.

        Args:
            output: As for `loss`.
            mos: As for `loss`.
            labels: As for `loss`.

        Returns:
            Name, in lower case -> (B,), the part of every video; one of the batch as a whole stands at each.
        """
        ...

    def scores(self, output: Tensor) -> Tensor:
        """The scores of videos from what the network says of their samples: epochs are compared by them.

        Args:
            output: Of the network for a batch of samples, B rows.

        Returns:
            (B,) float, higher for better videos.
        """
        ...

    def pieces(self, view: VideoView) -> list[Piece]:
        """The pieces of a video at test; its score is the mean over all their segments.

        Args:
            view: The video, each of its frames once.

        Raises:
            AigcVqaError: The video gives none.
        """
        ...

    def score(self, network: nn.Module, values: Tensor) -> Segments:
        """The scores of pieces; that of one depends on no other.

        Args:
            network: In evaluation mode.
            values: (N, ...), those of N pieces, on the network's device.

        Returns:
            For each piece as many as its segments.
        """
        ...

    def rate_factor(self, step: int, *, epochs: int, steps_per_epoch: int, warmup_fraction: float) -> float:
        """What the learning rate of a step is multiplied by.

        Args:
            step: From 0, over all epochs.
            epochs: Of the training.
            steps_per_epoch: Batches of an epoch.
            warmup_fraction: As the params say, share of the steps with a rising rate.

        Returns:
            0 to 1.
        """
        return cosine_factor(step, steps=epochs * steps_per_epoch, warmup_fraction=warmup_fraction)

    def groups(self, network: nn.Module, *, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
        """Groups of weights for an optimiser.

        Args:
            network: Weights that need no gradient are left out.
            weight_decay: As the params say.
            layer_decay: As the params say, more than 0 and at most 1.

        Returns:
            Groups with `lr_scale`, the share of the learning rate that their weights learn at.

        Raises:
            MethodError: The network has no layers that could learn at rates of their own.
        """
        if layer_decay != 1:
            raise MethodError("this method's network has no order of layers for train.layer_decay; allowed: 1")
        return layered_groups(network, network, weight_decay, layer_decay=1)

    def checkpoint(self, network: nn.Module) -> None:
        """Let a network keep few activations and compute the others again in the backward pass; the values stay.

        Args:
            network: Changes in place.

        Raises:
            AigcVqaError: It cannot.
        """
        raise MethodError("this method's network cannot compute activations twice; allowed: train.checkpointing: false")

    def compile(self, network: nn.Module) -> None:
        """Let torch compile a network, or the heavy part of it, when it first runs.

        Args:
            network: Changes in place.
        """
        network.compile()

    def export(self, network: nn.Module) -> ExportPlan:
        """The network as a file for other programs.

        Args:
            network: In evaluation mode, on the CPU.

        Raises:
            MethodError: The method has no such form.
        """
        raise MethodError("this method's network is not exported: its input is no single frame")
