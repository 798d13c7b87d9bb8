"""The scores of one video: its pieces through the trained quality model, segment by segment, and the video's result."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from models.config import problems_of
from models.errors import AigcVqaError
from models.methods import load_method, method_names, params_of
from models.methods.interface import Method
from models.methods.reading import Need
from stages.datasets.mos import MosScale
from stages.errors import WeightsError
from stages.io.images import Shape, sharpness
from stages.io.schemas import FRAME_SCORES
from stages.io.weights import load_state, load_weights
from stages.steps.clips import Box, ClipFrame, selected_boxes
from stages.steps.familiarity import Statistics, frame_statistics
from stages.steps.history import History
from stages.steps.reliability import Reliability, video_deviation
from stages.steps.views import counted_segments, video_view


class SegmentFacts(NamedTuple):
    """What stands beside a segment's score in the table: all of it of the segment's middle frame.

    Attributes:
        frame_index: Decoded index in the video.
        time_s: Time in the video, seconds.
        sharpness: Of the whole frame; see `stages.io.images.sharpness`.
        statistics: Of the whole frame; see `stages.steps.familiarity`.
    """

    frame_index: int
    time_s: float
    sharpness: float
    statistics: Statistics


class PieceOfVideo(NamedTuple):
    """A part of a video on its way to the network.

    Attributes:
        values: What the network sees; see `models.methods.interface.Piece`.
        segments: The parts that get a score each.
    """

    values: Tensor
    segments: list[SegmentFacts]


class SegmentScore(NamedTuple):
    """What the network says of a segment.

    Attributes:
        score: 0-100.
        deviation: How sure the network is of it, points.
    """

    score: float
    deviation: float


def video_pieces(
    method: Method, clip: Sequence[ClipFrame], boxes: Mapping[int, Box] | None, *, shape: Shape | None
) -> list[PieceOfVideo]:
    """What a network has to see of one video to score it.

    Args:
        method: Takes the pieces.
        clip: The decoded frames.
        boxes: The selected crops, for methods that need them; see `stages.steps.clips.selected_boxes`.
        shape: How a crop fills the square; see `stages.io.images.cut`.

    Raises:
        TableError: A frame has no selected crop.
        AigcVqaError: The video gives no pieces.
    """
    facts: dict[int, SegmentFacts] = {}

    def describe(segment: Sequence[int]) -> SegmentFacts:
        position = segment[len(segment) // 2]
        if position not in facts:
            index, time_s, frame = clip[position]
            facts[position] = SegmentFacts(index, time_s, sharpness(frame), frame_statistics(frame))
        return facts[position]

    pieces = method.pieces(video_view(method, clip, boxes, shape=shape))
    return [PieceOfVideo(piece.values, [describe(segment) for segment in piece.segments]) for piece in pieces]


def same_batch(piece: PieceOfVideo) -> tuple[Any, ...]:
    """Equal for pieces that may share a batch."""
    return piece.values.dtype, *piece.values.shape


@torch.inference_mode()
def score_pieces(
    method: Method, network: nn.Module, pieces: Sequence[PieceOfVideo], *, device: torch.device
) -> list[list[SegmentScore]]:
    """Score pieces; the scores of one do not depend on the others, which may be of other videos.

    Args:
        method: Of the network.
        network: In evaluation mode, on the device.
        pieces: Of any shapes; those of one shape share a batch.
        device: Where the network lies.

    Returns:
        For each piece the scores of its segments.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, piece in enumerate(pieces):
        groups.setdefault(same_batch(piece), []).append(place)
    results: list[list[SegmentScore]] = [[] for _ in pieces]
    for places in groups.values():
        found = method.score(network, torch.stack([pieces[place].values for place in places]).to(device))
        rows = torch.stack(found, dim=2).double().cpu().tolist()
        for place, row in zip(places, rows, strict=True):
            results[place] = [SegmentScore(*values) for values in row]
    return results


@dataclass(frozen=True)
class QualityModel:
    """The trained network on its device, and what made it.

    Attributes:
        name: Of the method.
        method: What it sees of a video, and how its output is read.
        network: In evaluation mode.
        device: Where it runs.
        reliability: Intervals of scores, and which videos they hold for.
        history: The stages whose choices scoring repeats, typed.
        made_by: The whole history, as it stands in the file.
    """

    name: str
    method: Method
    network: nn.Module
    device: torch.device
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

    def pieces(self, clip: Sequence[ClipFrame], crops: pa.Table | None) -> list[PieceOfVideo]:
        """What the network has to see of one video.

        Args:
            clip: The decoded frames.
            crops: The video's rows of the CROPS schema, for methods that need them.

        Raises:
            AigcVqaError: The video gives no pieces.
        """
        boxes = None if crops is None else selected_boxes(crops)
        crop = self.history.crop
        return video_pieces(self.method, clip, boxes, shape=crop.params.shape if crop else None)

    def score(self, pieces: Sequence[PieceOfVideo]) -> list[list[SegmentScore]]:
        """Score pieces, which may be of several videos; see `score_pieces`.

        Args:
            pieces: Of any shapes.

        Returns:
            For each piece the scores of its segments.
        """
        return score_pieces(self.method, self.network, pieces, device=self.device)

    def rows(self, video_id: str, pieces: Sequence[PieceOfVideo], scores: Sequence[Sequence[SegmentScore]]) -> pa.Table:
        """One video's rows of the FRAME_SCORES schema, a row a segment.

        Args:
            video_id: Id of the video.
            pieces: All of the video.
            scores: Of their segments, in the same order.
        """
        segments = [segment for piece in pieces for segment in piece.segments]
        found = [each for piece in scores for each in piece]
        columns = {
            "video_id": [video_id] * len(segments),
            "frame_index": [each.frame_index for each in segments],
            "time_s": [each.time_s for each in segments],
            "score": [each.score for each in found],
            "deviation": [each.deviation for each in found],
            "distance": self.reliability.familiarity.distance(np.stack([each.statistics for each in segments])),
            "sharpness": [each.sharpness for each in segments],
        }
        return pa.Table.from_pydict(columns, schema=FRAME_SCORES)

    def summarise(self, scores: pd.DataFrame) -> dict[str, Any]:
        """The result of one video from those of its segments.

        Mean and spread (standard deviation) are over all segments; with crops over the places of a clip, where a short
        video repeats frames.

        Args:
            scores: One row per segment with the columns frame_index, time_s, score, deviation, distance and sharpness.

        Returns:
            score and spread on 0-100, score_raw on the data set's own scale, the fields of `Judgement`,
            worst_frame_index, worst_time_s, sharpness.
        """
        slots = scores.iloc[counted_segments(self.method, len(scores), places=self.frames)]
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


def load_quality(path: str | Path, *, device: torch.device) -> QualityModel:
    """The model in a file that the train stage wrote.

    Args:
        path: The file of weights.
        device: Where the network will run.

    Raises:
        WeightsError: The file is missing or damaged, or was written by another program or another version of this one.
    """
    state, config = load_weights(path)
    name = config.get("method")
    if name not in method_names():
        allowed = ", ".join(method_names())
        raise WeightsError(
            f"{path}: not weights of a quality model of this version (method = {name!r}; there are: {allowed})"
        )
    try:
        method = load_method(name, params_of(name).model_validate(config["params"]), config["network"])
        network = method.build(seed=0)
        reliability = Reliability.model_validate(config["reliability"])
    except ValidationError as error:
        raise WeightsError(f"{path}: not weights of a quality model of this version ({problems_of(error)})") from None
    except (KeyError, AigcVqaError) as error:
        raise WeightsError(f"{path}: not weights of a quality model that can be built here ({error})") from None
    load_state(network, state, path)
    history = History.read(config.get("made_by"), source=path)
    if history.crop is None and Need.CROPS in method.needs:
        raise WeightsError(f"{path}: the method {name} reads crops, and the history of the weights knows of none")
    return QualityModel(name, method, network.to(device).eval(), device, reliability, history, config["made_by"])
