"""What detectors are built from, by back end. They are sections of params.yaml: no torch is imported here."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from models.config import Section

TIMM_FPN = "timm_fpn"
Architecture = Literal[
    "timm_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
]

VISUAL_GENOME = "visual_genome"
CLASSES = "MODEL.ROI_HEADS.NUM_CLASSES"
# Keys of detectron2's config that `options` cannot change, and what says it instead.
SET_ELSEWHERE = {
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "detector.min_score",
    "MODEL.RETINANET.SCORE_THRESH_TEST": "detector.min_score",
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": "detector.nms_iou",
    "MODEL.RETINANET.NMS_THRESH_TEST": "detector.nms_iou",
    "TEST.DETECTIONS_PER_IMAGE": "max_detections",
    "INPUT.MIN_SIZE_TEST": "detector.detectron2.min_size_px",
    "INPUT.MAX_SIZE_TEST": "detector.detectron2.max_size_px",
    "MODEL.WEIGHTS": "detector.source",
    "MODEL.DEVICE": "engine.device",
    CLASSES: "the weights",
}


class BoxRules(Section):
    """Which of a frame's boxes stay, whatever found them."""

    min_score: float = Field(ge=0, le=1, description="confidence below which a box is dropped")
    nms_iou: float = Field(ge=0, le=1, description="overlap (IoU) above which the worse of two boxes of a class goes")
    labels: Literal["all", "best"] = Field(
        description="all: a box counts once in every class that it is found as; best: once, in its best one"
    )


class DetectionRules(BoxRules):
    """`BoxRules` with what is no user's choice.

    Attributes:
        max_detections: Boxes per frame at most.
    """

    max_detections: int = Field(default=100, ge=1)


class FrameSizes(Section):
    """The size that frames are scaled to, the aspect ratio kept."""

    min_size_px: int = Field(ge=1, description="short side that frames are scaled to, pixels")
    max_size_px: int = Field(ge=1, description="longest that the long side may become, pixels")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_size_px < self.min_size_px:
            raise ValueError(f"max_size_px = {self.max_size_px} must not be below min_size_px = {self.min_size_px}")
        return self


class TimmFpn(Section):
    """A small network on a timm backbone under a feature pyramid, which learns from scratch.

    Each level is twice as coarse as the one before. It has anchors of two sizes, a factor of the square root of 2
    apart, in three shapes each.
    """

    backbone: str = Field(min_length=1, description="name of a timm model")
    stride_px: int = Field(ge=1, description="stride of the finest level, pixels")
    levels: int = Field(ge=1, le=5, description="levels of the pyramid")
    anchor_px: float = Field(gt=0, description="side of the smallest anchor, pixels")
    fpn_channels: int = Field(ge=1, description="channels of the pyramid")
    head_channels: int = Field(ge=1, description="width of the box head")


class TorchvisionNetwork(FrameSizes):
    """Which of torchvision's networks, and at what size it sees frames."""

    architecture: Architecture = Field(
        description="timm_fpn: the network of the sub-section timm_fpn; else torchvision's network of that name"
    )


class FasterRcnnConfig(TorchvisionNetwork, DetectionRules):
    """What `build_faster_rcnn` needs; kept with the weights.

    Attributes:
        n_classes: Classes of objects, the background not counted.
        timm_fpn: The network, for the architecture timm_fpn; None, whatever was given, for the published ones.
        rpn_boxes: Boxes of the first stage that the second looks at; of timm_fpn alone.
        frozen_norms: Batch normalisation as constants, as the weights of published architectures have it.
    """

    n_classes: int = Field(ge=1)
    timm_fpn: TimmFpn | None = None
    rpn_boxes: int = Field(default=50, ge=1)
    frozen_norms: bool = False

    @model_validator(mode="before")
    @classmethod
    def _hold_what_is_read(cls, values: dict[str, Any]) -> dict[str, Any]:
        return values if values.get("architecture") == TIMM_FPN else values | {"timm_fpn": None}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.architecture == TIMM_FPN and self.timm_fpn is None:
            raise ValueError("the architecture timm_fpn needs the section timm_fpn")
        return self


class DetectronNetwork(FrameSizes):
    """Which of detectron2's networks, and at what size it sees frames."""

    config: str = Field(
        min_length=1,
        description="visual_genome, or a config of its zoo, such as COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    )
    options: str = Field(description="changes to the config, as on detectron2's command line: KEY VALUE KEY VALUE")

    @field_validator("options")
    @classmethod
    def _are_pairs_of_own_keys(cls, options: str) -> str:
        words = options.split()
        if len(words) % 2:
            raise ValueError("a value is needed for every key: KEY VALUE KEY VALUE")
        # Where the weights do not tell their classes, the options may.
        taken = [key for key in words[::2] if key in SET_ELSEWHERE and key != CLASSES]
        if taken:
            raise ValueError("; ".join(f"it has {key}, which is set by {SET_ELSEWHERE[key]}" for key in taken))
        return options


class DetectronConfig(DetectronNetwork, DetectionRules):
    """What `build_detectron` needs; kept with the weights.

    Attributes:
        n_classes: Classes that the weights know, the background not counted; 0: as the config says.
        n_attributes: Attributes that they know, none aside; 0: no such layers.
    """

    n_classes: int = Field(ge=0)
    n_attributes: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _count_classes_once(self) -> Self:
        if self.n_classes and CLASSES in self.options.split()[::2]:
            raise ValueError(f"options has {CLASSES}, which is set by {SET_ELSEWHERE[CLASSES]}")
        return self
