"""Learns from the validation part, after the best epoch is known, what stands beside every score."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from torch import nn

from models.methods.interface import Method
from stages.engine.progress import progress
from stages.steps.clips import CLIP_COLUMNS, read_clip
from stages.steps.familiarity import Familiarity, Statistics, frame_statistics
from stages.steps.reliability import Reliability, video_deviation
from stages.steps.scores import score_pieces
from stages.steps.views import counted_segments
from stages.training.loaders.clips import ClipSource, in_batches
from stages.training.quality import QualityData

# The statistics are a few dozen numbers: more videos do not make them more certain.
VIDEOS_MAX = 2000


def measure_reliability(
    method: Method, network: nn.Module, data: QualityData, *, confidence: float, workers: int
) -> Reliability:
    """Measure the errors of the validation part, and how its frames differ from those of the training part.

    Args:
        method: Of the network.
        network: With the best epoch's weights, on its device.
        data: Training and validation part.
        confidence: Share of new videos whose MOS the interval of their score holds.
        workers: Threads that decode frames.

    Raises:
        TableError: A video has no readable frames.
    """
    val, errors, deviations = validation_errors(method, network, data, workers=workers)
    train = describe_videos(data.train.clips.source, data.train.clips.ids, workers=workers)
    familiarity = Familiarity.fit(np.concatenate(train), val)
    return Reliability.fit(errors, deviations, confidence=confidence, familiarity=familiarity)


def validation_errors(
    method: Method, network: nn.Module, data: QualityData, *, workers: int
) -> tuple[list[Statistics], list[float], list[float]]:
    """Score every validation video as a new video is scored.

    Args:
        method: Of the network.
        network: On its device.
        data: Training and validation part.
        workers: Threads that decode frames.

    Returns:
        Statistics of the videos' segments, (S, D) each; score - MOS, points; and the deviations that the network states
        for them, points.

    Raises:
        TableError: A video has no readable frames.
    """
    network = network.eval()
    device = next(network.parameters()).device
    source, ids = data.val.clips.source, data.val.clips.ids
    statistics, errors, deviations = [], [], []
    with ThreadPoolExecutor(workers) as threads:
        for group in progress(
            in_batches(range(len(ids)), data.val_batch_videos), desc="errors, val", unit="batch", leave=False
        ):
            videos = list(threads.map(source.read_pieces, [ids[place] for place in group]))
            for place, video in zip(group, videos, strict=True):
                segments = [segment for piece in video for segment in piece.segments]
                # Video by video: the last bits depend on the batch, and a new video is scored alone.
                own = [score for piece in score_pieces(method, network, video, device=device) for score in piece]
                counted = [own[slot] for slot in counted_segments(method, len(own), places=source.frames)]
                scores = [each.score for each in counted]
                statistics.append(np.stack([segment.statistics for segment in segments]))
                errors.append(sum(scores) / len(scores) - float(data.val_mos[place]))
                deviations.append(video_deviation([each.deviation for each in counted], scores))
    return statistics, errors, deviations


def describe_videos(source: ClipSource, ids: Sequence[str], *, workers: int) -> list[Statistics]:
    """Statistics of the frames of videos, (F, D) each; of VIDEOS_MAX of them, evenly chosen, where there are more."""
    chosen = ids[:: -(-len(ids) // VIDEOS_MAX)]

    def describe(video_id: str) -> Statistics:
        clip = read_clip(source.frames_table.read(video_id, CLIP_COLUMNS))
        return np.stack([frame_statistics(entry.frame) for entry in clip])

    with ThreadPoolExecutor(workers) as threads:
        found = threads.map(describe, chosen)
        return list(progress(found, total=len(chosen), desc="frames, train", unit="video", leave=False))
