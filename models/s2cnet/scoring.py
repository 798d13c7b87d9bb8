"""From frames to scored crops: preprocessing, scoring in batches, and the rules that choose a crop.

Preprocessing as in suyukun666/S2CNet at 6c92712. Frames are (H, W, 3) uint8 RGB; boxes are float32 xyxy in pixels of
the frame that they belong to, whatever size the network sees.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.backbones import IMAGENET_MEAN, IMAGENET_STD
from models.errors import NonFiniteError, ShapeError
from models.s2cnet.candidates import Boxes, make_candidates
from models.s2cnet.config import CandidateConfig

Frame = NDArray[np.uint8]

SIDE_MULTIPLE_PX = 32
# Not 255: the release divides by 256.
PIXEL_SCALE = 256.0

# Most candidates of all frames of a pass; graph and head take some 80 KB for each at the release's widths.
CANDIDATES_A_PASS = 6144


class CropScores(NamedTuple):
    """The candidates of one frame and their scores, in one order.

    Attributes:
        candidates_xyxy_px: (K, 4) float32, pixels of the frame.
        scores: (K,) float32, in the unit that the network was trained on (normalised MOS).
        fallback: Whether the scheme has no candidate for the frame's shape, so that the whole frame takes their place.
    """

    candidates_xyxy_px: Boxes
    scores: NDArray[np.float32]
    fallback: bool = False


class CandidateScorer(Protocol):
    """What `score_frames` needs of a network: see `models.s2cnet.network.S2CNet.forward`."""

    def __call__(
        self, images: Tensor, candidates_xyxy_px: Sequence[Tensor], objects_xyxy_px: Sequence[Tensor], /
    ) -> list[Tensor]:
        """Score candidates; see `models.s2cnet.network.S2CNet.forward`."""


def input_size(height: int, width: int, short_side_px: int) -> tuple[int, int]:
    """Height and width that the network sees: multiples of 32, at least 32, the short side near `short_side_px`.

    Both sides are rounded on their own, so that the aspect ratio changes a little.

    Args:
        height: Of the frame, pixels.
        width: Of the frame, pixels.
        short_side_px: Short side that the network was trained on.

    Raises:
        ShapeError: A side is below 1.
    """
    if min(height, width) < 1 or short_side_px < 1:
        raise ShapeError(f"a frame of {width}x{height} px to a short side of {short_side_px}; needed: at least 1")
    scale = short_side_px / min(height, width)
    sides = (max(1, round(side * scale / SIDE_MULTIPLE_PX)) * SIDE_MULTIPLE_PX for side in (height, width))
    return next(sides), next(sides)


def resize_frame(frame: Frame, short_side_px: int) -> Frame:
    """Resize a frame to the network's size, bilinearly.

    Args:
        frame: (H, W, 3) uint8.
        short_side_px: Short side that the network was trained on.

    Returns:
        uint8, of the size that `input_size` gives.

    Raises:
        ShapeError: The frame has another shape or dtype.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ShapeError(f"a frame of shape {frame.shape} and dtype {frame.dtype}; needed: (H, W, 3), uint8")
    height, width = input_size(frame.shape[0], frame.shape[1], short_side_px)
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def normalise(frames: Tensor) -> Tensor:
    """Pixels as the network takes them: divided by 256, then normalised by ImageNet's mean and standard deviation.

    Args:
        frames: (B, H, W, 3) uint8 RGB.

    Returns:
        (B, 3, H, W) float32.
    """
    mean = torch.tensor(IMAGENET_MEAN, device=frames.device)
    std = torch.tensor(IMAGENET_STD, device=frames.device)
    # The result lies in memory as channels last, which is fastest for convolutions on a CPU.
    return ((frames.float() / PIXEL_SCALE - mean) / std).permute(0, 3, 1, 2)


def scale_boxes(boxes_xyxy_px: Boxes, *, old_size: tuple[int, int], new_size: tuple[int, int]) -> Boxes:
    """Boxes of a frame in a frame of another size, in whole pixels.

    Each axis has its own factor. Minima are rounded down and maxima up, in float64 as in the release: a maximum that is
    whole but for rounding may grow by a pixel.

    Args:
        boxes_xyxy_px: (N, 4).
        old_size: (height, width) of the frame that they belong to.
        new_size: (height, width) of the other.

    Returns:
        (N, 4) float32.
    """
    factors = np.array([new_size[1] / old_size[1], new_size[0] / old_size[0]] * 2)
    scaled = np.asarray(boxes_xyxy_px, dtype=np.float64).reshape(-1, 4) * factors
    return np.concatenate([np.floor(scaled[:, :2]), np.ceil(scaled[:, 2:])], axis=1).astype(np.float32)


def score_frames(
    network: CandidateScorer,
    frames: Sequence[Frame],
    objects_xyxy_px: Sequence[Boxes],
    *,
    short_side_px: int,
    candidates: CandidateConfig,
    batch_frames: int = 8,
    device: torch.device | str = "cpu",
    precision: torch.dtype = torch.float32,
) -> list[CropScores]:
    """Score all candidates of all frames.

    The scores of a frame depend on that frame alone (to 1e-5).

    Args:
        network: S²CNet in evaluation mode, on `device`.
        frames: (H, W, 3) uint8 RGB; sizes may differ.
        objects_xyxy_px: For each frame (N, 4) float32, best first, pixels of the frame; N may be 0.
        short_side_px: Short side that the network was trained on.
        candidates: Which crops are scored.
        batch_frames: Most frames that the network sees at once.
        device: Where the network lies.
        precision: Of the large products, by autocast; scores are float32 in any case.

    Returns:
        One CropScores per frame, in order.

    Raises:
        ShapeError: Frames and objects do not fit together, or a frame has another shape or dtype.
        NonFiniteError: A score is not finite.
    """
    if len(frames) != len(objects_xyxy_px):
        raise ShapeError(f"{len(frames)} frames and {len(objects_xyxy_px)} lists of objects; needed: one per frame")
    if batch_frames < 1:
        raise ShapeError(f"batch_frames is {batch_frames}; needed: at least 1")
    device = torch.device(device)
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        by_size[frame.shape[0], frame.shape[1]].append(index)
    results: dict[int, CropScores] = {}
    for size, indices in by_size.items():
        new_size = input_size(*size, short_side_px)
        boxes, scaled, fallback = make_candidates(size, candidates, network_size=new_size)
        network_boxes = torch.from_numpy(scaled).to(device)
        # Memory is bounded by the candidates of a pass, whatever the scheme makes of a frame.
        step = max(1, min(batch_frames, CANDIDATES_A_PASS // len(boxes)))
        for start in range(0, len(indices), step):
            part = indices[start : start + step]
            images = np.stack([resize_frame(frames[index], short_side_px) for index in part])
            objects = [scale_boxes(objects_xyxy_px[i], old_size=size, new_size=new_size) for i in part]
            mixed = torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32)
            with torch.inference_mode(), mixed:
                scores = network(
                    normalise(torch.from_numpy(images).to(device)),
                    [network_boxes] * len(part),
                    [torch.from_numpy(each).to(device) for each in objects],
                )
            for index, each in zip(part, torch.stack(scores).cpu().numpy(), strict=True):
                if not np.isfinite(each).all():
                    raise NonFiniteError(f"frame {index} of {len(frames)}: a crop score is not finite")
                results[index] = CropScores(boxes, each, fallback)
    return [results[index] for index in range(len(frames))]


def best_index(scores: NDArray[np.floating]) -> int:
    """The candidate with the highest score; the first of them on a tie.

    Args:
        scores: (K,), K >= 1.

    Raises:
        ShapeError: The scores have another shape.
    """
    if scores.ndim != 1 or len(scores) == 0:
        raise ShapeError(f"scores have shape {scores.shape}; needed: (K,), K at least 1")
    return int(np.argmax(scores))


def best_index_of_video(scores: Sequence[NDArray[np.floating]]) -> int:
    """The candidate with the highest mean score over the frames of a video; the first of them on a tie.

    Args:
        scores: F arrays (K,).

    Raises:
        ShapeError: Frames have different numbers of candidates, as frames of several sizes may.
    """
    if len({each.shape for each in scores}) != 1:
        shapes = sorted({each.shape for each in scores})
        raise ShapeError(f"frames of one video have scores of shapes {shapes}; needed: one shape (K,)")
    return best_index(np.stack(scores).mean(axis=0, dtype=np.float64))


def center_index(candidates_xyxy_px: Boxes, height: int, width: int) -> int:
    """The candidate whose centre is nearest to that of the frame; of several the largest, then the first.

    Args:
        candidates_xyxy_px: (K, 4), pixels of the frame.
        height: Of the frame, pixels.
        width: Of the frame, pixels.
    """
    boxes = candidates_xyxy_px.astype(np.float64)
    offset = (boxes[:, :2] + boxes[:, 2:]) / 2 - np.array([width, height]) / 2
    # Candidates are float32: offsets that differ by its rounding are equal.
    distance = np.round(np.linalg.norm(offset, axis=1) / math.hypot(height, width), 5)
    area = np.round((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) / (height * width), 5)
    return int(np.lexsort((np.arange(len(boxes)), -area, distance))[0])


def random_index(n_candidates: int, *, content: str, frame_index: int | None, seed: int) -> int:
    """A random candidate, the same for the same arguments on every machine.

    Args:
        n_candidates: How many there are, at least 1.
        content: Stands for the video, whatever it is called.
        frame_index: Decoded index of the frame; None for one choice per video.
        seed: Of the choice.

    Raises:
        ShapeError: There are no candidates.
    """
    if n_candidates < 1:
        raise ShapeError(f"{n_candidates} candidates to choose from; needed: at least 1")
    text = f"{seed}\n{content}\n{'' if frame_index is None else frame_index}"
    digest = hashlib.sha256(text.encode()).digest()
    return int(np.random.default_rng(int.from_bytes(digest[:8], "big")).integers(n_candidates))
