"""The choice of the best few boxes of a frame."""

import torch
from torchvision.ops import nms

from models.detectors.interface import Detections


def top_boxes(found: Detections, *, top_n: int, score_threshold: float, nms_iou: float) -> Detections:
    """The best boxes of a frame, whatever their class.

    found: (N, 4) boxes after the detector's own suppression, with scores and labels in any order.
    top_n: boxes at most. score_threshold: lower scores are dropped, equal ones stay. nms_iou: of two boxes that overlap
    more, the one with the higher score stays, also when their classes differ: two names for one object are one object.
    Returns at most top_n detections, best first; of equal scores the one that stands first in `found` comes first.
    """
    kept = torch.nonzero(found.scores >= score_threshold).squeeze(1)
    kept = kept[found.scores[kept].argsort(descending=True, stable=True)]
    # Rising ranks as scores: nms then keeps this order, also among equal scores.
    ranks = torch.arange(len(kept), 0, -1, dtype=torch.float32)
    kept = kept[nms(found.boxes_xyxy_px[kept], ranks, nms_iou)][:top_n]
    return Detections(found.boxes_xyxy_px[kept], found.scores[kept], found.labels[kept])
