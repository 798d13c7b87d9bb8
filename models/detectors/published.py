"""Weights that torchvision wrote for one of its published Faster R-CNN architectures."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from models.detectors.faster_rcnn import PUBLISHED
from models.detectors.interface import DetectorError

CLASS_SCORES = "roi_heads.box_predictor.cls_score.weight"

# torchvision put convolutions into blocks of their own after it had published the weights of ResNet-50 v1 and of the
# MobileNets; loading by torchvision renames them in passing (ops/feature_pyramid_network.py and
# models/detection/rpn.py of 0.29.2), but keys that are renamed in passing cannot be accounted for.
RENAMED = (
    (re.compile(r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)"), r"\1.0.\2"),
    (re.compile(r"(rpn\.head\.conv)\.(weight|bias)"), r"\1.0.0.\2"),
)


class PublishedState(NamedTuple):
    """A state dict in torchvision's present names, and what it says about its network."""

    state: dict[str, Tensor]
    n_classes: int
    frozen_norms: bool


def read_published(state: Mapping[str, Tensor], *, architecture: str) -> PublishedState:
    """Bring a checkpoint's keys to their present names; nothing is left out.

    n_classes comes from the class scores, whose first row is the background; frozen_norms from the counters that
    only trainable batch normalisation has. Raises DetectorError for an architecture that is not published, a state
    without class scores or without classes, and for two keys of one present name.
    """
    if architecture not in PUBLISHED:
        raise DetectorError(f"{architecture!r} has no published weights; allowed: {', '.join(PUBLISHED)}")
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key
        for pattern, present in RENAMED:
            name = pattern.sub(present, name) if pattern.fullmatch(name) else name
        if name in renamed:
            raise DetectorError(f"two keys of the weights stand for {name}, one of them is {key}")
        renamed[name] = value
    if CLASS_SCORES not in renamed:
        raise DetectorError(f"the weights have no {CLASS_SCORES}: not a Faster R-CNN of torchvision's")
    shape = tuple(renamed[CLASS_SCORES].shape)
    if len(shape) != 2 or shape[0] < 2:
        raise DetectorError(f"{CLASS_SCORES} has the shape {shape}; needed: rows for the background and every class")
    counted = any(key.endswith("num_batches_tracked") for key in renamed)
    return PublishedState(renamed, shape[0] - 1, frozen_norms=not counted)
