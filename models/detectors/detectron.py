"""detectron2's detectors behind this project's interface. detectron2 itself is imported only when one is built."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from models.backbones import seeded
from models.detectors.class_wise import best_of_classes
from models.detectors.config import DetectronConfig
from models.detectors.detectron_config import INSTALL, upstream_config
from models.detectors.interface import Detections, DetectorError
from models.detectors.passes import check_finite, detect_in_passes
from models.errors import NonFiniteError

FINDERS = ("GeneralizedRCNN", "RetinaNet", "PanopticFPN")
# Below this side the strides of the networks leave nothing of a frame.
LEAST_SIDE_PX = 32
# Scaled pixels in one pass: one frame of 600x800. C4 networks take the backbone's last stage for each of 300 boxes, two
# gigabytes a frame.
PASS_PX = 2**19
# Deltas are multiplied by the sides of boxes, in pixels; from here on that need not be finite any more.
LARGEST_OUTPUT = 1e30


class DetectronDetector(nn.Module):
    """A detectron2 network as a `Detector`.

    network: one of `FINDERS`; only its boxes are computed, no masks, key points or segments. input_format: "RGB" or
    "BGR", the order of its channels.
    """

    def __init__(self, network: Any, config: DetectronConfig, *, input_format: str) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.input_format = input_format
        network.backbone.register_forward_hook(lambda _module, _inputs, features: check_finite(features))
        _watch_outputs(network)
        heads = getattr(network, "roi_heads", None)
        if heads is not None:
            heads.mask_on = heads.keypoint_on = False

    @torch.inference_mode()
    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """See `Detector.detect`."""
        self.network.eval()
        return detect_in_passes(
            frames, self._detect_group, scaled_px=lambda *size: math.prod(self._scaled_size(*size)), pass_px=PASS_PX
        )

    def _detect_group(self, frames: list[np.ndarray]) -> list[Detections]:
        height, width = frames[0].shape[:2]
        scaled_height, scaled_width = self._scaled_size(height, width)
        images = [self._to_tensor(frame, scaled_height, scaled_width) for frame in frames]
        scale = width / scaled_width, height / scaled_height
        return [_detections(instances, scale, height, width) for instances in self._find(images)]

    def _find(self, images: list[Tensor]) -> list[Any]:
        """detectron2's Instances of every image, in pixels of that image."""
        from detectron2.modeling.meta_arch import GeneralizedRCNN

        _, height, width = images[0].shape
        batch = [{"image": image, "height": height, "width": width} for image in images]
        if isinstance(self.network, GeneralizedRCNN):
            # PanopticFPN is one too; its own way also gives every pixel a class, and needs masks for that.
            instances: list[Any] = GeneralizedRCNN.inference(self.network, batch, do_postprocess=False)
            return instances
        return [output["instances"] for output in self.network(batch)]

    def _scaled_size(self, height: int, width: int) -> tuple[int, int]:
        from detectron2.data.transforms import ResizeShortestEdge

        limits = self.config.min_size_px, self.config.max_size_px
        scaled_height, scaled_width = ResizeShortestEdge.get_output_shape(height, width, *limits)
        return max(1, scaled_height), max(1, scaled_width)

    def _to_tensor(self, frame: np.ndarray, height: int, width: int) -> Tensor:
        """(H, W, 3) uint8 RGB -> (3, height, width) float32 in 0..255, in the network's order of channels."""
        from detectron2.data.transforms import ResizeTransform

        ordered = frame[:, :, ::-1] if self.input_format == "BGR" else frame
        resize = ResizeTransform(*frame.shape[:2], height, width)
        image = torch.from_numpy(np.ascontiguousarray(resize.apply_image(ordered).transpose(2, 0, 1))).float()
        missing = [max(0, LEAST_SIDE_PX - side) for side in (height, width)]
        if any(missing):
            # Padding is what the network subtracts, so that it sees zeros there, as in detectron2's own padding.
            mean = self.network.pixel_mean.cpu()
            padded = mean.expand(3, height + missing[0], width + missing[1]).clone()
            padded[:, :height, :width] = image
            image = padded
        return image


def build_detectron(config: DetectronConfig, *, seed: int = 0) -> DetectronDetector:
    """The network on the CPU, with random weights that depend on `seed` alone; downloads nothing.

    Raises DetectorError when detectron2 is not installed, has no such config, or refuses the options.
    """
    try:
        import detectron2  # noqa: F401
    except ImportError as error:
        raise DetectorError(
            f"the backend detectron2 needs detectron2, which is not installed ({error}); "
            f"it is built from its source, about two minutes, beside torch:\n  {INSTALL}"
        ) from None
    from detectron2.modeling import build_model

    settings = upstream_config(config)
    with seeded(seed):
        try:
            network = build_model(settings)
        except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise DetectorError(f"detectron2 cannot build {config.config} {config.options}: {error}") from error
    architecture = settings.MODEL.META_ARCHITECTURE
    # Fast R-CNN has no proposals of its own: they are part of its input.
    if architecture not in FINDERS or getattr(network, "proposal_generator", network) is None:
        raise DetectorError(f"{config.config}: {architecture} finds no objects alone; allowed: {', '.join(FINDERS)}")
    if config.labels == "best":
        _choose_best_classes(network, config)
    return DetectronDetector(network.eval(), config, input_format=settings.INPUT.FORMAT)


def _watch_outputs(network: Any) -> None:
    """Let the parts that score and move boxes raise NonFiniteError: detectron2 drops such boxes without a word."""
    from detectron2.modeling.roi_heads import FastRCNNOutputLayers

    def check(module: nn.Module, _inputs: Any, outputs: Any) -> None:
        for what, values in zip(("scores", "box deltas"), outputs, strict=True):
            for part in [values] if isinstance(values, Tensor) else values:
                if not (part.abs() < LARGEST_OUTPUT).all():
                    raise NonFiniteError(
                        f"the detector's {what} ({type(module).__name__}) are not finite: its weights are broken"
                    )

    heads = [network.head if hasattr(network, "head") else network.proposal_generator.rpn_head]
    # A cascade has several.
    heads += [module for module in network.modules() if isinstance(module, FastRCNNOutputLayers)]
    for head in heads:
        head.register_forward_hook(check)


def _choose_best_classes(network: Any, config: DetectronConfig) -> None:
    """Let the box predictor give every box once, instead of once a class."""
    from detectron2.modeling.roi_heads import FastRCNNOutputLayers
    from detectron2.structures import Boxes, Instances

    predictor = getattr(getattr(network, "roi_heads", None), "box_predictor", None)
    if not isinstance(predictor, FastRCNNOutputLayers):
        raise DetectorError(
            f"{config.config}: labels best needs one box predictor, as Faster R-CNN has it; allowed here: labels all"
        )

    def inference(predictions: Any, proposals: list[Any]) -> tuple[list[Any], list[Tensor]]:
        found, kept = [], []
        parts = predictor.predict_boxes(predictions, proposals), predictor.predict_probs(predictions, proposals)
        for deltas, scores, proposal in zip(*parts, proposals, strict=True):
            height, width = proposal.image_size
            boxes = clip_boxes_to_image(deltas.unflatten(1, (-1, 4)), (height, width))
            # The last column is the background.
            rows, classes = best_of_classes(
                boxes,
                scores[:, :-1],
                nms_iou=config.nms_iou,
                min_score=config.min_score,
                max_boxes=config.max_detections,
            )
            own = boxes[rows, classes if boxes.shape[1] > 1 else 0]
            found.append(
                Instances((height, width), pred_boxes=Boxes(own), scores=scores[rows, classes], pred_classes=classes)
            )
            kept.append(rows)
        return found, kept

    predictor.inference = inference


def _detections(instances: Any, scale: tuple[float, float], height: int, width: int) -> Detections:
    """detectron2's result on the CPU, in pixels of the frame, best first; equal scores keep detectron2's order.

    scale: pixels of the frame in one of the image, along x and y; the image can go on where the frame has ended.
    """
    instances.pred_boxes.scale(*scale)
    boxes, scores, labels = (
        values.cpu() for values in (instances.pred_boxes.tensor, instances.scores, instances.pred_classes)
    )
    boxes = clip_boxes_to_image(boxes, (height, width))
    # What lay in the padding has nothing left in the frame.
    kept = torch.nonzero((boxes[:, 2:] > boxes[:, :2]).all(dim=1)).squeeze(1)
    order = kept[scores[kept].argsort(descending=True, stable=True)]
    return Detections(boxes[order].float(), scores[order].float(), labels[order] + 1)
