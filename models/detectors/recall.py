"""How many of the objects in a frame its proposals cover."""

from torch import Tensor
from torchvision.ops import box_iou

from models.errors import ShapeError


def count_covered(proposals_xyxy_px: Tensor, objects_xyxy_px: Tensor, *, iou: float = 0.5) -> int:
    """The number of objects that a proposal of their own overlaps with at least `iou`.

    proposals_xyxy_px: (N, 4), objects_xyxy_px: (M, 4); either may be empty. Raises ShapeError.
    Proposals and objects are paired greedily, the largest overlap first, as detectron2 pairs them for the recall of
    proposals (evaluation/coco_evaluation.py at 02b5c4e2): a proposal covers one object at most.
    Recall@N over frames is the sum of these counts for the N best boxes of each, divided by the number of objects.
    """
    for name, boxes in (("proposals", proposals_xyxy_px), ("objects", objects_xyxy_px)):
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ShapeError(f"{name} have shape {tuple(boxes.shape)}; needed: (N, 4)")
    overlaps = box_iou(proposals_xyxy_px, objects_xyxy_px)
    covered = 0
    while overlaps.numel() and (best := int(overlaps.argmax())) >= 0:
        row, column = divmod(best, overlaps.shape[1])
        if overlaps[row, column] < iou:
            break
        covered += 1
        overlaps[row] = -1
        overlaps[:, column] = -1
    return covered
