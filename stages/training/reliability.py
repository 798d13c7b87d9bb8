"""Learns from the validation part, after the best epoch is known, what stands beside every score."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from models.methods.frame_consistency.network import QualityNet
from stages.engine.progress import progress
from stages.steps.clips import CLIP_COLUMNS, read_clip
from stages.steps.familiarity import Familiarity, Statistics, frame_statistics
from stages.steps.reliability import Reliability, video_deviation
from stages.steps.scores import score_frames
from stages.training.loaders.clips import ClipSource, in_batches
from stages.training.quality import QualityData

# The statistics are a few dozen numbers: more videos do not make them more certain.
VIDEOS_MAX = 2000


def measure_reliability(network: QualityNet, data: QualityData, *, confidence: float, workers: int) -> Reliability:
    """Measure the errors of the validation part, and how its frames differ from those of the training part.

    Args:
        network: With the best epoch's weights, on its device.
        data: Training and validation part.
        confidence: Share of new videos whose MOS the interval of their score holds.
        workers: Threads that decode frames.

    Raises:
        TableError: A video has no readable frames.
    """
    errors, deviations = validation_errors(network, data)
    source = data.train.clips.source
    train = describe_videos(source, data.train.clips.ids, workers=workers, name="train")
    val = describe_videos(source, data.val.clips.ids, workers=workers, name="val")
    familiarity = Familiarity.fit(np.concatenate(train), val)
    return Reliability.fit(errors, deviations, confidence=confidence, familiarity=familiarity)


@torch.inference_mode()
def validation_errors(network: QualityNet, data: QualityData) -> tuple[list[float], list[float]]:
    """Score - MOS of every validation video, points, and the deviation that the network states for it."""
    network = network.eval()
    device = next(network.parameters()).device
    errors: list[float] = []
    deviations: list[float] = []
    groups = in_batches(range(len(data.val_mos)), data.val_batch_videos)
    for group, (crops, _) in zip(groups, data.val.batches(groups), strict=True):
        for place, logits in zip(group, network(crops.to(device)), strict=True):
            frames = score_frames(logits[None])
            scores = [frame.score for frame in frames]
            errors.append(sum(scores) / len(scores) - float(data.val_mos[place]))
            deviations.append(video_deviation([frame.deviation for frame in frames], scores))
    return errors, deviations


def describe_videos(source: ClipSource, ids: Sequence[str], *, workers: int, name: str) -> list[Statistics]:
    """Statistics of the frames of videos, (F, S) each; of VIDEOS_MAX of them, evenly chosen, where there are more."""
    chosen = ids[:: -(-len(ids) // VIDEOS_MAX)]

    def describe(video_id: str) -> Statistics:
        clip = read_clip(source.frames_table.read(video_id, CLIP_COLUMNS))
        return np.stack([frame_statistics(entry.frame) for entry in clip])

    with ThreadPoolExecutor(workers) as threads:
        found = threads.map(describe, chosen)
        return list(progress(found, total=len(chosen), desc=f"frames, {name}", unit="video", leave=False))
