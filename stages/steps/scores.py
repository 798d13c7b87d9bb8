"""The scores of one video: its crops through the trained quality model, frame by frame, and the video's result."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from models.backbones import BackboneError
from models.config import problems_of
from models.methods.frame_consistency.config import QualityConfig
from models.methods.frame_consistency.losses import frame_deviations, frame_scores
from models.methods.frame_consistency.network import QualityError, QualityNet, build_quality
from stages.datasets.mos import MosScale
from stages.errors import WeightsError
from stages.io.images import Shape, sharpness
from stages.io.schemas import FRAME_SCORES
from stages.io.weights import load_state, load_weights
from stages.steps.clips import ClipFrame, cut_clip, frame_slots
from stages.steps.familiarity import Familiarity, Statistics, frame_statistics
from stages.steps.history import History
from stages.steps.reliability import Reliability, video_deviation


class CropOfFrame(NamedTuple):
    """One frame on its way to the network, and what stands beside its score in the table.

    Attributes:
        crop: (3, S, S) uint8 RGB.
        frame_index: Decoded index in the video.
        time_s: Time in the video, seconds.
        sharpness: Of the whole frame; see `stages.io.images.sharpness`.
        statistics: Of the whole frame; see `stages.steps.familiarity`.
    """

    crop: NDArray[np.uint8]
    frame_index: int
    time_s: float
    sharpness: float
    statistics: Statistics


class FrameScore(NamedTuple):
    """What the network says of a frame.

    Attributes:
        score: 0-100.
        deviation: Standard deviation of its bins, points.
    """

    score: float
    deviation: float


@dataclass(frozen=True)
class QualityModel:
    """The trained network on its device, and what made it.

    Attributes:
        network: In evaluation mode.
        device: Where it runs.
        input_px: Side of the crops that it sees, pixels.
        reliability: Intervals of scores, and which videos they hold for.
        history: The stages whose choices scoring repeats, typed.
        made_by: The whole history, as it stands in the file.
    """

    network: QualityNet
    device: torch.device
    input_px: int
    reliability: Reliability
    history: History
    made_by: dict[str, Any]

    @property
    def frames(self) -> int:
        """Number of frames that a video is scored on."""
        return self.history.decode.params.frames

    @property
    def mos_scale(self) -> MosScale:
        """The data set's own scale of MOS."""
        params = self.history.prepare.params
        return MosScale(params.mos_min, params.mos_max)

    @torch.inference_mode()
    def score(self, crops: Sequence[CropOfFrame]) -> list[FrameScore]:
        """Score frames; the score of one does not depend on the others, which may be of other videos.

        Args:
            crops: The frames, of the network's input size.

        Returns:
            One per frame.
        """
        batch = torch.from_numpy(np.stack([each.crop for each in crops])).to(self.device)
        return score_frames(self.network(batch.unsqueeze(0)))

    def summarise(self, scores: pd.DataFrame) -> dict[str, Any]:
        """The result of one video from those of its frames.

        Mean and spread (standard deviation) are over the places of a clip: a short video repeats frames there.

        Args:
            scores: One row per frame with the columns frame_index, time_s, score, deviation, distance and sharpness.

        Returns:
            score and spread on 0-100, score_raw on the data set's own scale, the fields of `Judgement`,
            worst_frame_index, worst_time_s, sharpness.
        """
        slots = scores.iloc[frame_slots(len(scores), self.frames)]
        worst = scores.iloc[int(scores["score"].argmin())]
        score = float(slots["score"].mean())
        deviation = video_deviation(slots["deviation"].tolist(), slots["score"].tolist())
        judgement = self.reliability.judge(score, deviation=deviation, distance=float(scores["distance"].mean()))
        return {
            "score": score,
            "score_raw": self.mos_scale.to_raw(score),
            **judgement._asdict(),
            "spread": float(slots["score"].std(ddof=0)),
            "worst_frame_index": int(worst["frame_index"]),
            "worst_time_s": float(worst["time_s"]),
            "sharpness": float(slots["sharpness"].mean()),
        }


def cut_crops(clip: Sequence[ClipFrame], crops: pa.Table, *, size_px: int, shape: Shape) -> list[CropOfFrame]:
    """Cut out the selected crop of every frame of one video.

    Args:
        clip: The decoded frames.
        crops: The video's rows of the CROPS schema.
        size_px: Side of the crops, pixels.
        shape: How a crop fills the square; see `stages.io.images.cut`.

    Raises:
        TableError: A frame has no selected crop.
    """
    cuts = cut_clip(clip, crops, size_px=size_px, shape=shape)
    return [
        CropOfFrame(crop, entry.frame_index, entry.time_s, sharpness(entry.frame), frame_statistics(entry.frame))
        for crop, entry in zip(cuts, clip, strict=True)
    ]


def score_frames(logits: Tensor) -> list[FrameScore]:
    """Read the network's output.

    Args:
        logits: (1, F, 100).
    """
    both = torch.stack([frame_scores(logits)[0], frame_deviations(logits)[0]], dim=1)
    return [FrameScore(*row) for row in (100 * both).double().cpu().tolist()]


def frame_rows(
    video_id: str, crops: Sequence[CropOfFrame], scores: Sequence[FrameScore], familiarity: Familiarity
) -> pa.Table:
    """One video's rows of the FRAME_SCORES schema.

    Args:
        video_id: Id of the video.
        crops: Its frames.
        scores: What the network says of them, in the same order.
        familiarity: What the training videos look like.
    """
    columns = {
        "video_id": [video_id] * len(crops),
        "frame_index": [each.frame_index for each in crops],
        "time_s": [each.time_s for each in crops],
        "score": [each.score for each in scores],
        "deviation": [each.deviation for each in scores],
        "distance": familiarity.distance(np.stack([each.statistics for each in crops])),
        "sharpness": [each.sharpness for each in crops],
    }
    return pa.Table.from_pydict(columns, schema=FRAME_SCORES)


def load_quality(path: str | Path, *, device: torch.device) -> QualityModel:
    """The model in a file that the train stage wrote.

    Args:
        path: The file of weights.
        device: Where the network will run.

    Raises:
        WeightsError: The file is missing or damaged, or was written by another program or another version of this one.
    """
    state, config = load_weights(path)
    try:
        network = build_quality(QualityConfig.model_validate(config["network"]))
        reliability = Reliability.model_validate(config["reliability"])
    except ValidationError as error:
        raise WeightsError(f"{path}: not weights of a quality model of this version ({problems_of(error)})") from None
    except (KeyError, BackboneError, QualityError) as error:
        raise WeightsError(f"{path}: not weights of a quality model that can be built here ({error})") from None
    load_state(network, state, path)
    history = History.read(config.get("made_by"), source=path)
    return QualityModel(network.to(device).eval(), device, network.input_px, reliability, history, config["made_by"])
