"""detectron2's detectors behind this project's interface. detectron2 itself is imported only when one is built."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from models.detectors.class_wise import best_of_classes
from models.detectors.interface import LABELS, Detections, DetectorError
from models.detectors.passes import check_finite, detect_in_passes

VISUAL_GENOME = "visual_genome"
FINDERS = ("GeneralizedRCNN", "RetinaNet", "PanopticFPN")
# detectron2 at 02b5c4e2; setuptools 81 took pkg_resources away, which detectron2's model zoo imports.
INSTALL = (
    'pip install "setuptools<81" && pip install --no-build-isolation '
    '"detectron2 @ git+https://github.com/facebookresearch/detectron2@02b5c4e295e990042a714712c21dc79b731e8833"'
)
# Below this side the strides of the networks leave nothing of a frame.
LEAST_SIDE_PX = 32
# Scaled pixels in one pass: one frame of 600x800. C4 networks take the backbone's last stage for each of 300 boxes, two
# gigabytes a frame.
PASS_PX = 2**19
# Faster R-CNN's, and the first of a cascade's; other networks do not say in one tensor how many classes they know.
CLASS_SCORES = ("roi_heads.box_predictor.cls_score.weight", "roi_heads.box_predictor.0.cls_score.weight")
ATTRIBUTE_SCORES = "roi_heads.box_predictor.attr_score.weight"


@dataclass(frozen=True)
class DetectronConfig:
    """What `build_detectron` needs; stored beside the weights.

    config: "visual_genome", or a file of detectron2's own configs, such as COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml.
    options: changes to it as on detectron2's command line, `KEY VALUE KEY VALUE`.
    n_classes, n_attributes: as many as the weights have, the background not counted; n_classes 0: as the config says.
    min_size_px, max_size_px, min_score, nms_iou, labels, max_detections: as in FasterRcnnConfig.
    """

    config: str
    n_classes: int
    min_size_px: int
    max_size_px: int
    n_attributes: int = 0
    options: str = ""
    min_score: float = 0.05
    nms_iou: float = 0.5
    max_detections: int = 100
    labels: str = "all"

    def __post_init__(self) -> None:
        problems = []
        for name, least in (("n_classes", 0), ("n_attributes", 0), ("min_size_px", 1), ("max_detections", 1)):
            if getattr(self, name) < least:
                problems.append(f"{name} is {getattr(self, name)}; allowed: {least} or more")
        if self.max_size_px < self.min_size_px:
            problems.append(f"max_size_px is {self.max_size_px}; allowed: min_size_px ({self.min_size_px}) or more")
        if self.labels not in LABELS:
            problems.append(f"labels is {self.labels!r}; allowed: {', '.join(LABELS)}")
        if len(self.options.split()) % 2:
            problems.append(f"options is {self.options!r}; a value is needed for every key: KEY VALUE KEY VALUE")
        if problems:
            raise DetectorError("detectron2: " + "; ".join(problems))


class DetectronDetector(nn.Module):
    """A detectron2 network as a `Detector`.

    network: takes detectron2's list of {"image", "height", "width"} and gives {"instances"}. input_format: "RGB" or
    "BGR", the order of its channels.
    """

    def __init__(self, network: Any, config: DetectronConfig, *, input_format: str) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.input_format = input_format
        network.backbone.register_forward_hook(lambda _module, _inputs, features: check_finite(features))

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
        # Boxes come back in units of the frame, also where the image was padded at its right or lower edge.
        out = {
            "height": height * images[0].shape[1] / scaled_height,
            "width": width * images[0].shape[2] / scaled_width,
        }
        outputs = self.network([{"image": image, **out} for image in images])
        return [_detections(output["instances"], height, width) for output in outputs]

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

    settings = _upstream_config(config)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
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


def count_classes(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """How many classes and attributes weights in detectron2's names are for; 0 classes: they do not tell."""
    scores = next((state[name] for name in CLASS_SCORES if name in state), None)
    if scores is None:
        return 0, 0
    n_classes = len(scores) - 1
    if n_classes < 1:
        raise DetectorError(f"the class scores have {n_classes + 1} rows; needed: one a class and the background's")
    attributes = state.get(ATTRIBUTE_SCORES)
    return n_classes, 0 if attributes is None else len(attributes) - 1


def _upstream_config(config: DetectronConfig) -> Any:
    import detectron2
    from detectron2.config import get_cfg

    folder = Path(str(detectron2.__file__)).parent / "model_zoo" / "configs"
    is_visual_genome = config.config == VISUAL_GENOME
    name = "Base-RCNN-C4.yaml" if is_visual_genome else config.config
    path = folder / name
    if not name or not path.is_file() or ".." in Path(name).parts:
        raise DetectorError(
            f"detectron2 has no config {config.config!r}; allowed: {VISUAL_GENOME}, or a file of its model zoo such as "
            "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"
        )
    settings = get_cfg()
    settings.merge_from_file(str(path))
    if is_visual_genome:
        from models.detectors.visual_genome import set_visual_genome

        set_visual_genome(settings, n_attributes=config.n_attributes)
    try:
        settings.merge_from_list(config.options.split())
    except (AssertionError, KeyError, ValueError) as error:
        raise DetectorError(f"detectron2 refuses the options {config.options!r}: {error}") from None
    model = settings.MODEL
    model.DEVICE = "cpu"
    if config.n_classes:
        model.ROI_HEADS.NUM_CLASSES = config.n_classes
    for heads in (model.ROI_HEADS, model.RETINANET):
        heads.SCORE_THRESH_TEST = config.min_score
        heads.NMS_THRESH_TEST = config.nms_iou
    settings.TEST.DETECTIONS_PER_IMAGE = config.max_detections
    return settings


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


def _detections(instances: Any, height: int, width: int) -> Detections:
    """detectron2's result on the CPU, best first; equal scores keep detectron2's order."""
    boxes, scores, labels = (
        values.cpu() for values in (instances.pred_boxes.tensor, instances.scores, instances.pred_classes)
    )
    boxes = clip_boxes_to_image(boxes, (height, width))
    # What lay in the padding has nothing left in the frame.
    kept = torch.nonzero((boxes[:, 2:] > boxes[:, :2]).all(dim=1)).squeeze(1)
    order = kept[scores[kept].argsort(descending=True, stable=True)]
    return Detections(boxes[order].float(), scores[order].float(), labels[order] + 1)
