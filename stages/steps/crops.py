"""The trained cropper as stages and the score command use it: its weights file, and crops as table rows."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from models.backbones import BackboneError
from models.config import problems_of
from models.folding import fold_batch_norms
from models.s2cnet.candidates import full_frame, make_candidates
from models.s2cnet.config import S2CNetConfig
from models.s2cnet.network import S2CNet, build_s2cnet
from models.s2cnet.scoring import (
    CropScores,
    best_index,
    best_index_of_video,
    center_index,
    random_index,
    score_frames,
)
from stages.errors import WeightsError
from stages.io.images import Frame
from stages.io.schemas import BOX_COLUMNS, CROPS
from stages.io.weights import load_state, load_weights, save_weights
from stages.params.schema import CropParams
from stages.steps.clips import ClipFrame

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Cropper:
    """S²CNet in evaluation mode, on `device`, and the scale that it was trained on.

    A score s stands for the MOS mos_mean + mos_std * s of its training data.
    """

    network: S2CNet
    device: torch.device
    mos_mean: float
    mos_std: float

    @property
    def short_side_px(self) -> int:
        """Short side of the network's input."""
        return self.network.config.input_short_side_px

    @cached_property
    def _folded(self) -> S2CNet:
        return fold_batch_norms(self.network)

    def score_candidates(
        self, frames: Sequence[Frame], objects_xyxy_px: Sequence[NDArray[np.float32]], params: CropParams
    ) -> list[CropScores]:
        """The candidates of every frame with their scores.

        objects_xyxy_px: for each frame (N, 4) float32, best first. The result of one frame depends on that frame alone.
        """
        return score_frames(
            self._folded,
            frames,
            objects_xyxy_px,
            short_side_px=self.short_side_px,
            candidates=params,
            batch_frames=max(1, len(frames)),
            device=self.device,
            precision=PRECISIONS[params.precision],
        )


def blind_candidates(frames: Sequence[Frame], params: CropParams) -> list[CropScores]:
    """The candidates of every frame where no network looks at it; their scores are NaN.

    Args:
        frames: (H, W, 3) uint8 RGB each.
        params: Which candidates there are; with the method `full` the whole frame is the only one.
    """
    sizes = [(frame.shape[0], frame.shape[1]) for frame in frames]
    if params.method == "full":
        return [CropScores(full_frame(*size), np.full(1, np.nan, dtype=np.float32)) for size in sizes]
    found = [make_candidates(size, params, network_size=size) for size in sizes]
    return [
        CropScores(each.frame_xyxy_px, np.full(len(each.frame_xyxy_px), np.nan, dtype=np.float32), each.fallback)
        for each in found
    ]


def select(clip: Sequence[ClipFrame], scored: Sequence[CropScores], params: CropParams) -> list[int]:
    """The chosen candidate of every frame of one video, by `params.method` and `params.scope`."""
    if params.method == "full":
        return [0] * len(clip)
    if params.method == "center":
        return [
            center_index(one.candidates_xyxy_px, *entry.frame.shape[:2])
            for entry, one in zip(clip, scored, strict=True)
        ]
    whole_video = params.scope == "video"
    if params.method == "random":
        # By its first picture: `score` may know the file under another name than the data set does.
        content = hashlib.sha256(clip[0].frame.tobytes()).hexdigest()
        return [
            random_index(
                len(one.scores),
                content=content,
                frame_index=None if whole_video else entry.frame_index,
                seed=params.seed,
            )
            for entry, one in zip(clip, scored, strict=True)
        ]
    if not whole_video:
        return [best_index(one.scores) for one in scored]
    # Frames of another size have other candidates: each size gets its own crop.
    by_size: dict[tuple[int, ...], list[NDArray[np.float32]]] = defaultdict(list)
    for entry, one in zip(clip, scored, strict=True):
        by_size[entry.frame.shape[:2]].append(one.scores)
    best = {size: best_index_of_video(scores) for size, scores in by_size.items()}
    return [best[entry.frame.shape[:2]] for entry in clip]


def crops_table(video_id: str, clip: Sequence[ClipFrame], scored: Sequence[CropScores], params: CropParams) -> pa.Table:
    """One video's rows of the CROPS schema: frames in order, candidates in order, one of each frame selected.

    Scores of crops that no network chose are null.
    """
    counts = [len(one.scores) for one in scored]
    boxes = np.concatenate([one.candidates_xyxy_px for one in scored])
    scores = np.concatenate([one.scores for one in scored])
    candidate = np.concatenate([np.arange(count) for count in counts])
    columns = {
        "video_id": [video_id] * len(scores),
        "frame_index": np.repeat([entry.frame_index for entry in clip], counts),
        "candidate": candidate,
        **{name: boxes[:, column] for column, name in enumerate(BOX_COLUMNS)},
        "score": scores,
        "selected": candidate == np.repeat(select(clip, scored, params), counts),
        "fallback": np.repeat([one.fallback for one in scored], counts),
    }
    arrays = {
        name: pa.array(columns[name], CROPS.field(name).type, from_pandas=name == "score") for name in CROPS.names
    }
    return pa.Table.from_pydict(arrays)


def save_cropper(
    path: str | Path,
    network: S2CNet,
    *,
    mos_mean: float,
    mos_std: float,
    config: Mapping[str, Any],
) -> None:
    """Write the weights with all that `load_cropper` needs; `config` adds what else is worth knowing of them."""
    about = {"network": network.config.model_dump(), "mos_mean": mos_mean, "mos_std": mos_std}
    save_weights(path, network.state_dict(), {**config, **about})


def load_cropper(path: str | Path, device: torch.device) -> Cropper:
    """What `save_cropper` wrote. Raises WeightsError naming the file for anything else."""
    state, config = load_weights(path)
    try:
        network = build_s2cnet(S2CNetConfig.model_validate(config["network"]))
        scale = {name: config[name] for name in ("mos_mean", "mos_std")}
    except ValidationError as error:
        raise WeightsError(f"{path}: not the weights of a cropper of this version ({problems_of(error)})") from None
    except (KeyError, BackboneError) as error:
        raise WeightsError(f"{path}: not the weights of a cropper ({error})") from None
    load_state(network, state, path)
    return Cropper(network.eval().to(device), device, **scale)
