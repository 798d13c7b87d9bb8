"""What the methods of the FAST family have in common: clips of fragments, a map of scores for each, its mean.

FAST-VQA and SAMA differ in which frames and pixels they cut, and in the score that the training compares.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.methods.fast_vqa.config import FastVqaNetwork, FragmentParams
from models.methods.fast_vqa.learning import learning_groups, rate_factor
from models.methods.fast_vqa.losses import FragmentTerms, fragment_loss
from models.methods.fast_vqa.network import FragmentNet, build_fragment_net, split_clips
from models.methods.fast_vqa.patches import Picture, normalised
from models.methods.fast_vqa.public import load_public, load_video_swin, unwrapped
from models.methods.interface import Method, MethodError, Piece, Segments, Start, VideoView


class ClipNet(nn.Module):
    """Samples of videos to the maps of their clips.

    fragments: scores every place of a clip. clip_frames: frames of a clip.
    """

    def __init__(self, fragments: FragmentNet, *, clip_frames: int) -> None:
        super().__init__()
        self.fragments = fragments
        self.clip_frames = clip_frames

    def forward(self, samples: Tensor) -> Tensor:
        """The quality maps.

        Args:
            samples: (B, 3, clips * T, S, S) uint8 or float, RGB, 0..255, the clips one after the other.

        Returns:
            (B, clips, t, h, w) float; see `FragmentNet.quality_map`.

        Raises:
            ShapeError: The frames are no whole clips.
        """
        clips = samples.shape[2] // self.clip_frames
        maps = self.fragments.quality_map(normalised(split_clips(samples, clips=clips)))
        found: Tensor = maps.squeeze(1).unflatten(0, (len(samples), clips))
        return found


class FragmentMethod(Method):
    """See `Method`. A sample is (3, clips * T, S, S), one clip in training; the output the clips' quality maps.

    Attributes:
        params: Its section.
        public_name: What the public weights are called.
        urls: File names of public weights -> where they are served.
    """

    draws = True
    # As the release trains: a mirrored clip is none of its samples.
    mirrors = False
    input_px = 0
    # Correlation and order are those of a batch.
    least_batch = 2
    params: FragmentParams
    public_name: str
    urls: ClassVar[Mapping[str, str]] = {}

    def __init__(self, params: FragmentParams, network: Mapping[str, Any] | None = None) -> None:
        """See `models.methods.load_method`."""
        self.params = params
        self.config = FastVqaNetwork.model_validate(params.network if network is None else network)
        self.frames_a_piece = params.sampling.clip_frames

    @property
    def network(self) -> dict[str, Any]:
        return self.config.model_dump(mode="json")

    def build(self, *, seed: int) -> ClipNet:
        return ClipNet(build_fragment_net(self.config, seed=seed), clip_frames=self.params.sampling.clip_frames)

    def start(self) -> Start | None:
        path = self.params.pretrained
        name = f"{self.public_name} or a Video-Swin-T"
        return Start("pretrained", path, name, url=self.urls.get(PurePath(path).name, "")) if path else None

    def start_from(self, network: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
        """Public weights of the method, head included, or a Video-Swin's as the start of the backbone."""
        fragments = cast(ClipNet, network).fragments
        if any(key.startswith("fragments_backbone.") for key in unwrapped(state_dict)):
            load_public(fragments, state_dict, source=self.public_name)
        else:
            load_video_swin(fragments.fragments_backbone, state_dict)

    def sample_shape(self, places: int) -> tuple[int, ...]:
        sampling = self.params.sampling
        return 3, sampling.clip_frames, sampling.side_px, sampling.side_px

    def sample(self, view: VideoView, random: torch.Generator | None) -> Tensor:
        indices = self.frame_indices(len(view.frames), random)
        return torch.from_numpy(self.cut(_pictures(view, indices), random))

    def loss(self, output: Tensor, mos: Tensor, labels: Mapping[str, float]) -> Tensor:
        return self._terms(output, mos).total

    def terms(self, output: Tensor, mos: Tensor, labels: Mapping[str, float]) -> dict[str, Tensor]:
        terms = self._terms(output, mos)
        return {"plcc": terms.plcc.expand(len(mos)), "rank": terms.rank.expand(len(mos))}

    def scores(self, output: Tensor) -> Tensor:
        return output.float().mean(dim=(1, 2, 3, 4))

    def pieces(self, view: VideoView) -> list[Piece]:
        """The clips of the test, which cover the video."""
        indices, length = self.frame_indices(len(view.frames), None), self.params.sampling.clip_frames
        sample = self.sample(view, None)
        starts = range(0, len(indices), length)
        return [
            Piece(sample[:, start : start + length], [sorted(set(indices[start : start + length]))]) for start in starts
        ]

    def score(self, network: nn.Module, values: Tensor) -> Segments:
        scores = self.scores(network(values))[:, None]
        return Segments(scores, torch.zeros_like(scores))

    def rate_factor(self, step: int, *, epochs: int, steps_per_epoch: int, warmup_fraction: float) -> float:
        warmup = warmup_fraction * epochs
        return rate_factor(step, steps_per_epoch=steps_per_epoch, epochs=epochs, warmup_epochs=warmup)

    def groups(self, network: nn.Module, *, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
        if layer_decay != 1:
            raise MethodError("this method has a rate for its backbone and one for its head; allowed: layer_decay 1")
        rate = self.params.training.backbone_rate
        return learning_groups(cast(ClipNet, network).fragments, backbone_rate=rate, weight_decay=weight_decay)

    @abstractmethod
    def frame_indices(self, n_frames: int, random: torch.Generator | None) -> list[int]:
        """The frames of the clips, one clip after the other.

        Args:
            n_frames: Of the video.
            random: Of the training's random numbers: one clip. None: the clips of the test.

        Raises:
            FragmentSamplingError: The video has no frame.
        """

    @abstractmethod
    def cut(self, frames: Sequence[Picture], random: torch.Generator | None) -> NDArray[Any]:
        """The fragments of clips.

        Args:
            frames: Of the clips, one after the other.
            random: As for `frame_indices`.

        Returns:
            (3, frames, side, side), 0..255.

        Raises:
            FragmentSamplingError: The frames cannot be cut.
        """

    @abstractmethod
    def compared(self, maps: Tensor) -> Tensor:
        """The scores that the training compares.

        Args:
            maps: (B, 1, t, h, w).

        Returns:
            (B,).
        """

    def _terms(self, output: Tensor, mos: Tensor) -> FragmentTerms:
        return fragment_loss(self.compared(output), mos, rank_weight=self.params.training.rank_weight)


def _pictures(view: VideoView, indices: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Frames by their places in the view, which holds all frames of the video."""
    distinct = {index: view.frames[index] for index in dict.fromkeys(indices)}
    return [distinct[index] for index in indices]
