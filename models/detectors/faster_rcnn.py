"""Faster R-CNN (Ren et al., 1506.01497) with a feature pyramid (Lin et al., 1612.03144), from torchvision's parts.

Two families: a small network on any convolutional timm backbone, that learns from scratch, and the architectures that
torchvision publishes weights for.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d, MultiScaleRoIAlign, clip_boxes_to_image

from models.backbones import IMAGENET_MEAN, IMAGENET_STD, check_timm_name, seeded
from models.detectors.class_wise import all_of_classes, best_of_classes
from models.detectors.config import FasterRcnnConfig, TimmFpn
from models.detectors.interface import Detections, DetectorError
from models.detectors.passes import check_finite, check_frame, detect_in_passes

PIXEL_MAX = 255.0

# Scaled pixels in one pass of `detect`.
PASS_PX = 2**23

ANCHOR_RATIOS = (0.5, 1.0, 2.0)
LARGEST_ANCHOR_PX = 2.0**10
SCALES_AN_OCTAVE = 2
# Boxes a frame that the losses of the two stages look at; frames with a few objects need no more.
RPN_EXAMPLES = 64
BOX_EXAMPLES = 16
ROI_SIDE = 5

# Published architectures, and the epsilon of their frozen normalisation: torchvision zeroes it for the first one, whose
# weights are older than the epsilon (torchvision 0.29.2, models/detection/faster_rcnn.py).
PUBLISHED = {
    "fasterrcnn_resnet50_fpn": 0.0,
    "fasterrcnn_resnet50_fpn_v2": 1e-5,
    "fasterrcnn_mobilenet_v3_large_fpn": 1e-5,
    "fasterrcnn_mobilenet_v3_large_320_fpn": 1e-5,
}


class FrameTransform(GeneralizedRCNNTransform):
    """torchvision's scaling and normalisation, for frames of any shape: no side is scaled away to nothing."""

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """The maps of every level, finest first: (B, 3, H, W) -> (B, D, h, w) each."""
        height, width = image.shape[-2:]
        size = scaled_size(height, width, min_size_px=self.min_size[-1], max_size_px=self.max_size)
        if size != (height, width):
            image = nn.functional.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]
        if target is not None:
            target["boxes"] = resize_boxes(target["boxes"], [height, width], list(size))
        return image, target


def scaled_size(height: int, width: int, *, min_size_px: int, max_size_px: int) -> tuple[int, int]:
    """(height, width) in pixels that the network sees: the same ratio, rounded down, at least 1."""
    scale = min(min_size_px / min(height, width), max_size_px / max(height, width))
    return max(1, math.floor(height * scale)), max(1, math.floor(width * scale))


class Pyramid(nn.Module):
    """A timm backbone under a feature pyramid.

    body: (B, 3, H, W) -> a list of maps (B, D_i, H_i, W_i), from fine to coarse. fpn: those, by name -> the same with
    out_channels each.
    """

    def __init__(self, body: nn.Module, fpn: FeaturePyramidNetwork, *, out_channels: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = fpn
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """The levels of the pyramid by name: (B, 3, H, W) -> (B, C, h, w) each."""
        levels: OrderedDict[str, Tensor] = self.fpn(
            OrderedDict((str(level), map_) for level, map_ in enumerate(self.body(images)))
        )
        return levels


class SharedBoxPredictor(nn.Module):
    """Class scores and one box for all classes: a few examples a class are too few to learn a box of its own from."""

    def __init__(self, in_features: int, n_outputs: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(in_features, n_outputs)
        self.bbox_pred = nn.Linear(in_features, 4)
        self.n_outputs = n_outputs

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) -> logits (N, n_outputs), and box deltas (N, 4 n_outputs) that are the same for every class."""
        return self.cls_score(features), self.bbox_pred(features).repeat(1, self.n_outputs)


class FasterRcnn(nn.Module):
    """A torchvision network as a `Detector`, and its losses for training.

    network: takes RGB tensors (3, H, W) in 0..1 and normalises and scales them itself.
    """

    def __init__(self, network: FasterRCNN, config: FasterRcnnConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config
        network.rpn.head.register_forward_hook(_check_first_stage)

    def losses(
        self, frames: Sequence[np.ndarray], boxes_xyxy_px: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """The four terms of the training loss, scalars.

        Objectness and boxes of the first stage, classes and boxes of the second.

        frames: (H, W, 3) uint8 RGB. boxes_xyxy_px: (N, 4) float32 a frame, N may be 0. labels: (N,) int64,
        1..n_classes. Leaves the network in training mode. The sampling of boxes draws from torch's global generator.
        Raises ShapeError.
        """
        device = self._device
        for place, frame in enumerate(frames):
            check_frame(frame, place)
        images = [_to_tensor(frame, device) for frame in frames]
        targets = [
            {"boxes": boxes.to(device), "labels": classes.to(device)}
            for boxes, classes in zip(boxes_xyxy_px, labels, strict=True)
        ]
        self.network.train()
        terms: dict[str, Tensor] = self.network(images, targets)
        return terms

    @torch.inference_mode()
    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """See `Detector.detect`."""
        mode = self.network.training
        self.network.eval()
        try:
            return detect_in_passes(frames, self._detect_group, scaled_px=self._scaled_px, pass_px=PASS_PX)
        finally:
            self.network.train(mode)

    def _detect_group(self, frames: list[np.ndarray]) -> list[Detections]:
        """Torchvision's own steps of a pass, with a look at what a broken network gives, and a choice at the end."""
        height, width = frames[0].shape[:2]
        images, _ = self.network.transform([_to_tensor(frame, self._device) for frame in frames])
        features = self.network.backbone(images.tensors)
        check_finite(features)
        proposals, _ = self.network.rpn(images, features)
        heads = self.network.roi_heads
        pooled = heads.box_head(heads.box_roi_pool(features, proposals, images.image_sizes))
        logits, deltas = heads.box_predictor(pooled)
        # The coder gives another shape when a pass has no proposals at all.
        boxes = heads.box_coder.decode(deltas, proposals).reshape(*logits.shape, 4)
        check_finite({"class scores": logits, "box deltas": deltas, "boxes": boxes}, of="second stage")
        counts = [len(each) for each in proposals]
        parts = zip(boxes.split(counts), logits.softmax(dim=1).split(counts), images.image_sizes, strict=True)
        chosen = [self._choose(*part) for part in parts]
        results = self.network.transform.postprocess(chosen, images.image_sizes, [(height, width)] * len(frames))
        return [_detections(result, height, width) for result in results]

    def _choose(self, boxes: Tensor, scores: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """A frame's detections in torchvision's form, from boxes (N, C + 1, 4) and scores (N, C + 1)."""
        settings = self.config
        # Column 0 is the background.
        inside, own = clip_boxes_to_image(boxes[:, 1:], size), scores[:, 1:]
        rows, classes = (all_of_classes if settings.labels == "all" else best_of_classes)(
            inside, own, nms_iou=settings.nms_iou, min_score=settings.min_score, max_boxes=settings.max_detections
        )
        return {"boxes": inside[rows, classes], "scores": own[rows, classes], "labels": classes + 1}

    def _scaled_px(self, height: int, width: int) -> int:
        limits = {"min_size_px": self.config.min_size_px, "max_size_px": self.config.max_size_px}
        return math.prod(scaled_size(height, width, **limits))

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self.network.parameters()).device
        return device


def build_faster_rcnn(config: FasterRcnnConfig, *, seed: int = 0) -> FasterRcnn:
    """The network on the CPU, with random weights that depend on `seed` alone; downloads nothing.

    Raises BackboneError for a backbone that timm lacks, DetectorError for one that has no maps of the wanted strides.
    """
    with seeded(seed):
        network = _published(config) if config.timm_fpn is None else _timm_fpn(config, config.timm_fpn)
    # torchvision's own builders cannot be given a transform.
    network.transform = FrameTransform(config.min_size_px, config.max_size_px, [*IMAGENET_MEAN], [*IMAGENET_STD])
    return FasterRcnn(network, config)


def _timm_fpn(config: FasterRcnnConfig, own: TimmFpn) -> FasterRCNN:
    strides = [own.stride_px * 2**level for level in range(own.levels)]
    body, channels = _timm_body(own.backbone, strides)
    names = [str(level) for level in range(own.levels)]
    sides = tuple(
        tuple(own.anchor_px * 2 ** (level + step / SCALES_AN_OCTAVE) for step in range(SCALES_AN_OCTAVE))
        for level in range(own.levels)
    )
    return FasterRCNN(
        Pyramid(body, FeaturePyramidNetwork(channels, own.fpn_channels), out_channels=own.fpn_channels),
        min_size=config.min_size_px,
        max_size=config.max_size_px,
        rpn_anchor_generator=AnchorGenerator(sides, (ANCHOR_RATIOS,) * own.levels),
        rpn_pre_nms_top_n_train=8 * config.rpn_boxes,
        rpn_pre_nms_top_n_test=4 * config.rpn_boxes,
        rpn_post_nms_top_n_train=2 * config.rpn_boxes,
        rpn_post_nms_top_n_test=config.rpn_boxes,
        rpn_fg_iou_thresh=0.6,
        rpn_batch_size_per_image=RPN_EXAMPLES,
        box_roi_pool=MultiScaleRoIAlign(names, output_size=ROI_SIDE, sampling_ratio=2),
        box_head=TwoMLPHead(own.fpn_channels * ROI_SIDE**2, own.head_channels),
        box_predictor=SharedBoxPredictor(own.head_channels, config.n_classes + 1),
        box_batch_size_per_image=BOX_EXAMPLES,
        box_score_thresh=config.min_score,
        box_nms_thresh=config.nms_iou,
        box_detections_per_img=config.max_detections,
    )


def _timm_body(name: str, strides: list[int]) -> tuple[nn.Module, list[int]]:
    """The backbone up to the coarsest of the wanted strides, and the channels of its maps."""
    check_timm_name(name)
    try:
        whole: Any = timm.create_model(name, pretrained=False, features_only=True)
        have = whole.feature_info.reduction()
        missing = [stride for stride in strides if stride not in have]
        if missing:
            raise DetectorError(f"backbone {name!r} has no features of stride {missing}; it has: {have}")
        indices = [have.index(stride) for stride in strides]
        body: Any = timm.create_model(name, pretrained=False, features_only=True, out_indices=indices)
        with torch.no_grad():
            maps = body.eval()(torch.zeros(1, 3, 2 * strides[-1], 2 * strides[-1]))
    except (AssertionError, RuntimeError, TypeError, AttributeError) as error:
        raise DetectorError(f"backbone {name!r} gives no feature maps: {error}") from error
    channels = body.feature_info.channels()
    if any(map_.ndim != 4 or map_.shape[1] != width for map_, width in zip(maps, channels, strict=True)):
        shapes = [tuple(map_.shape) for map_ in maps]
        raise DetectorError(f"backbone {name!r} gives features {shapes}; needed: (B, D, H, W) with D of {channels}")
    return body.train(), channels


def _published(config: FasterRcnnConfig) -> FasterRCNN:
    network = torchvision.models.get_model(
        config.architecture,
        weights=None,
        weights_backbone=None,
        num_classes=config.n_classes + 1,
        min_size=config.min_size_px,
        max_size=config.max_size_px,
        box_score_thresh=config.min_score,
        box_nms_thresh=config.nms_iou,
        box_detections_per_img=config.max_detections,
    )
    if config.frozen_norms:
        _freeze_norms(network, epsilon=PUBLISHED[config.architecture])
    return network


def _freeze_norms(module: nn.Module, *, epsilon: float) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps=epsilon))
        else:
            _freeze_norms(child, epsilon=epsilon)


def _to_tensor(frame: np.ndarray, device: torch.device) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in 0..1."""
    pixels = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))
    return pixels.to(device).float() / PIXEL_MAX


def _check_first_stage(head: nn.Module, _inputs: tuple[Any, ...], output: tuple[list[Tensor], list[Tensor]]) -> None:
    """Look at the first stage before it drops boxes that are none; a training looks at its loss."""
    if head.training:
        return
    objectness, deltas = output
    found = {f"objectness {place}": map_ for place, map_ in enumerate(objectness)}
    # Deltas count in sides of an anchor: what overflows in pixels is no box either.
    found |= {f"box deltas {place}": LARGEST_ANCHOR_PX * map_ for place, map_ in enumerate(deltas)}
    check_finite(found, of="first stage")


def _detections(result: dict[str, Tensor], height: int, width: int) -> Detections:
    """What was chosen, on the CPU, in pixels of the frame."""
    boxes, scores, labels = (result[name].cpu() for name in ("boxes", "scores", "labels"))
    # Scaling back to the frame's pixels can round past its edge.
    return Detections(clip_boxes_to_image(boxes, (height, width)), scores, labels)
