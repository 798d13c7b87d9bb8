"""The choice of the best few boxes of a frame."""

import torch
from torchvision.ops import nms

from models.detectors.interface import Detections
from models.errors import NonFiniteError


def top_boxes(
    found: Detections,
    *,
    top_n: int,
    score_threshold: float,
    nms_iou: float,
    min_boxes: int = 0,
    max_boxes: int = 100,
) -> Detections:
    """The best boxes of a frame, whatever their class.

    found: (N, 4) boxes after the detector's own suppression, with scores and labels in any order.
    top_n: boxes at most. nms_iou: of two boxes that overlap more, the one with the higher score stays, also when their
    classes differ: two names for one object are one object; 1 lets all of them stay, as bottom-up attention does.
    score_threshold: boxes with at least this score are taken, and min_boxes of the best whatever their score, but no
    more than max_boxes (0.2, 10 and 100 in bottom-up attention).
    Returns at most top_n detections, best first; of equal scores the one that stands first in `found` comes first.
    Raises NonFiniteError for boxes or scores that are NaN or infinite.
    """
    # A sum shows them in one pass; boxes are pixels of a frame, so that it cannot overflow.
    if not (found.boxes_xyxy_px.sum() + found.scores.sum()).isfinite():
        raise NonFiniteError(f"boxes or scores of {len(found.scores)} detections are NaN or infinite")
    order = found.scores.argsort(descending=True, stable=True)
    # Falling ranks as scores: nms then keeps this order, also among equal scores.
    ranks = torch.arange(len(order), 0, -1, dtype=torch.float32)
    kept = order[nms(found.boxes_xyxy_px[order], ranks, nms_iou)]
    confident = int((found.scores[kept] >= score_threshold).sum())
    kept = kept[: min(top_n, max_boxes, max(confident, min_boxes))]
    return Detections(found.boxes_xyxy_px[kept], found.scores[kept], found.labels[kept])
