"""Which boxes of a frame stay when those of one class suppress each other.

Either under every class in which they stayed, or once, under the best of them.

Sources: torchvision 0.29.2 (RoIHeads.postprocess_detections), and bottom-up attention (Anderson et al., 1707.07998;
peteanderson80/bottom-up-attention, as carried over to detectron2 by airsplay/py-bottom-up-attention, 85ec9b7).
"""

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from models.errors import NonFiniteError, ShapeError

# Pairs of a box and a class that are looked at first; more only when these do not give enough boxes.
FIRST_PAIRS = 1024
GROWTH = 4
# Overlaps computed at once: bounds the memory.
OVERLAPS_AT_ONCE = 2**20
# Boxes with a shorter side are dropped, as torchvision does.
LEAST_SIDE_PX = 1e-2


def all_of_classes(
    boxes_xyxy_px: Tensor, scores: Tensor, *, nms_iou: float, min_score: float, max_boxes: int
) -> tuple[Tensor, Tensor]:
    """Which boxes stay under which classes, each pair for itself: (rows (M,), classes (M,)), int64, the best first.

    boxes_xyxy_px: (N, C, 4). scores: (N, C), the background left out. What torchvision keeps, scores above min_score;
    but equal scores keep their order, the first box and the first class first, where torchvision's own order is any
    order once there are more than a thousand pairs, and with it what max_boxes cuts off.
    """
    sides = boxes_xyxy_px[..., 2:] - boxes_xyxy_px[..., :2]
    rows, classes = ((scores > min_score) & (sides >= LEAST_SIDE_PX).all(dim=2)).nonzero(as_tuple=True)
    own = scores[rows, classes]
    # From 1 on, as torchvision counts, so that its sums of class and coordinate round in the same way.
    kept = batched_nms(boxes_xyxy_px[rows, classes], own, classes + 1, nms_iou).sort().values
    kept = kept[own[kept].argsort(descending=True, stable=True)[:max_boxes]]
    return rows[kept], classes[kept]


def best_of_classes(
    boxes_xyxy_px: Tensor, scores: Tensor, *, nms_iou: float, min_score: float, max_boxes: int
) -> tuple[Tensor, Tensor]:
    """Which boxes stay, each under one class: (rows (M,), classes (M,)), int64, the best first.

    boxes_xyxy_px: (N, 1, 4), or (N, C, 4) when every class has a box of its own. scores: (N, C), the background left
    out. Within each class, of two boxes that overlap by more than nms_iou the better one stays. A box's confidence is
    its best score among the classes in which it stayed; of the boxes with at least min_score the max_boxes best are
    returned. Equal scores: the first box and the first class come first. Boxes without area are left out.

    Whether a pair of box and class stays depends on better pairs of that class alone. So the best pairs are looked at
    first, and the others only if those leave too few boxes: with 1600 classes that is a thousandth of the work, and
    the result is the same. Everything stays on the device of the arguments. Raises ShapeError and NonFiniteError.
    """
    n_boxes, n_classes = scores.shape
    if boxes_xyxy_px.shape not in ((n_boxes, 1, 4), (n_boxes, n_classes, 4)):
        raise ShapeError(
            f"boxes have shape {tuple(boxes_xyxy_px.shape)} and scores {tuple(scores.shape)}; needed: (N, 1, 4) or "
            "(N, C, 4), and (N, C)"
        )
    if not (torch.isfinite(boxes_xyxy_px).all() and torch.isfinite(scores).all()):
        raise NonFiniteError(f"boxes or scores of {n_boxes} boxes are not finite: the network's weights are broken")
    has_area = (boxes_xyxy_px[..., 2:] > boxes_xyxy_px[..., :2]).all(dim=2)
    # Scores are never negative: -1 marks what cannot be chosen.
    usable = torch.where(has_area & (scores >= min_score), scores, -1.0).flatten()
    n_usable, n_pairs = int((usable >= 0).sum()), FIRST_PAIRS
    while True:
        n_pairs = min(n_pairs, n_usable)
        pairs = _best(usable, n_pairs)
        rows, classes = pairs // n_classes, pairs % n_classes
        own = boxes_xyxy_px[rows, classes if boxes_xyxy_px.shape[1] > 1 else 0]
        stays = suppress_by_class(own, classes, nms_iou)
        rows, classes = rows[stays], classes[stays]
        first = first_of_each(rows)
        if len(first) >= max_boxes or n_pairs == n_usable:
            return rows[first][:max_boxes], classes[first][:max_boxes]
        n_pairs *= GROWTH


def _best(values: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest values, the largest first; equal values in their order."""
    if count == 0:
        return torch.zeros(0, dtype=torch.int64, device=values.device)
    least = values.topk(count).values[-1]
    candidates = torch.nonzero(values >= least).squeeze(1)
    return candidates[values[candidates].argsort(descending=True, stable=True)][:count]


def first_of_each(values: Tensor) -> Tensor:
    """The places, in order, at which a value of (N,) stands for the first time."""
    _, inverse = values.unique(return_inverse=True)
    places = torch.arange(len(values), device=values.device)
    first = torch.full((int(inverse.max()) + 1 if len(values) else 0,), len(values), device=values.device)
    return first.scatter_reduce(0, inverse, places, "amin").sort().values


def suppress_by_class(boxes_xyxy_px: Tensor, classes: Tensor, nms_iou: float) -> Tensor:
    """(N,) bool: which of the boxes (N, 4), given best first, stay when only boxes of their class can push them out.

    classes: (N,) int64, any numbers. All classes are worked on at once: a row a class, a column a rank within it. Rows
    of many boxes and rows of few do not share a block, so that little of it is empty.
    """
    stays = torch.zeros(len(classes), dtype=torch.bool, device=classes.device)
    if not len(classes):
        return stays
    order = classes.argsort(stable=True)
    _, counts = classes[order].unique_consecutive(return_counts=True)
    starts = counts.cumsum(0) - counts
    largest_first = counts.argsort(descending=True, stable=True)
    starts, counts = starts[largest_first], counts[largest_first]
    sizes = counts.tolist()
    begin = 0
    while begin < len(sizes):
        width = sizes[begin]
        end = begin + max(1, OVERLAPS_AT_ONCE // width**2)
        ranks = torch.arange(width, device=classes.device)
        filled = ranks < counts[begin:end, None]
        places = order[(starts[begin:end, None] + ranks).clamp(max=len(order) - 1)]
        stays[places[filled]] = _greedy(boxes_xyxy_px[places], filled, nms_iou)[filled]
        begin = end
    return stays


def _greedy(boxes_xyxy_px: Tensor, filled: Tensor, nms_iou: float) -> Tensor:
    """(G, N) bool: what stays of G rows of boxes (G, N, 4), each best first, when better boxes suppress worse ones."""
    area = (boxes_xyxy_px[..., 2:] - boxes_xyxy_px[..., :2]).prod(dim=2)
    upper = torch.maximum(boxes_xyxy_px[:, :, None, :2], boxes_xyxy_px[:, None, :, :2])
    lower = torch.minimum(boxes_xyxy_px[:, :, None, 2:], boxes_xyxy_px[:, None, :, 2:])
    shared = (lower - upper).clamp(min=0).prod(dim=3)
    overlaps = shared > nms_iou * (area[:, :, None] + area[:, None, :] - shared)
    stays = filled.clone()
    for rank in range(filled.shape[1] - 1):
        stays[:, rank + 1 :] &= ~(overlaps[:, rank, rank + 1 :] & stays[:, rank, None])
    return stays
