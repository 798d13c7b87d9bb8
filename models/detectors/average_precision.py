"""COCO's average precision of detections, by COCO's own code (pycocotools)."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from models.detectors.interface import Detections
from models.errors import ShapeError

# Places of the wanted figures among the twelve of COCO's summary.
AP, AP50, AP75 = 0, 1, 2


def average_precision(
    found: Sequence[Detections],
    boxes_xyxy_px: Sequence[Tensor],
    labels: Sequence[Tensor],
    *,
    n_classes: int,
    crowds: Sequence[tuple[Tensor, Tensor]] | None = None,
) -> dict[str, float]:
    """`ap` (mean over IoU 0.5 to 0.95), `ap50` and `ap75` over all classes that have objects, each 0..1.

    A value an image each: found; boxes_xyxy_px (N, 4) float32 and labels (N,) int64 of the objects that are there,
    1..n_classes. crowds: boxes (M, 4) and labels (M,) of regions in which detections count neither way, as COCO has it.
    At most 100 detections an image count. Raises ShapeError for lists of unequal lengths, or without any
    object: nothing is known of such data.
    """
    if not len(found) == len(boxes_xyxy_px) == len(labels):
        raise ShapeError(f"{len(found)} detections, {len(boxes_xyxy_px)} boxes, {len(labels)} labels; needed: as many")
    if not sum(map(len, labels)):
        raise ShapeError(f"{len(labels)} images without an object; average precision needs one")
    with redirect_stdout(io.StringIO()):
        objects = zip(boxes_xyxy_px, labels, strict=True)
        truth = _coco(list(objects), crowds or [], n_classes=n_classes)
        rows = [
            torch.cat(
                [torch.full((len(one.scores), 1), image), _xywh(one.boxes_xyxy_px), one.scores[:, None],
                 one.labels[:, None]], dim=1,
            )
            for image, one in enumerate(found, start=1)
        ]  # fmt: skip
        everything = torch.cat(rows).double().numpy()
        if not len(everything):
            return {"ap": 0.0, "ap50": 0.0, "ap75": 0.0}
        evaluation = COCOeval(truth, truth.loadRes(everything), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(evaluation.stats[place]) for name, place in (("ap", AP), ("ap50", AP50), ("ap75", AP75))}


def _coco(objects: Sequence[tuple[Tensor, Tensor]], crowds: Sequence[tuple[Tensor, Tensor]], *, n_classes: int) -> COCO:
    """Boxes and labels an image in COCO's own structure; ids count from 1, since COCO takes 0 for no object."""
    annotations: list[dict[str, Any]] = []
    for is_crowd, images in enumerate((objects, crowds)):
        for image, (boxes, classes) in enumerate(images, start=1):
            for box, label in zip(_xywh(boxes).tolist(), classes.tolist(), strict=True):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image,
                        "category_id": label,
                        "bbox": box,
                        "area": box[2] * box[3],
                        "iscrowd": is_crowd,
                    }
                )
    truth = COCO()
    truth.dataset = {
        "images": [{"id": image} for image in range(1, len(objects) + 1)],
        "categories": [{"id": label} for label in range(1, n_classes + 1)],
        "annotations": annotations,
    }
    truth.createIndex()
    return truth


def _xywh(boxes_xyxy_px: Tensor) -> Tensor:
    return torch.cat([boxes_xyxy_px[:, :2], boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]], dim=1)
