"""Parameters of the stage detector."""

from typing import Literal

from pydantic import Field

from models.config import Section


class DetectorParams(Section):
    """The object detector: trained on COCO-format boxes, or imported."""

    backend: Literal["torchvision", "detectron2", "table"] = Field(
        description="library of the detector; table: boxes that you bring along, found elsewhere"
    )
    source: str = Field(
        min_length=1,
        description="torchvision: folder to train on (train.json, val.json, images/); torchvision, detectron2: weights "
        "file to import; table: Parquet file, or folder of text files VIDEO_ID/FRAME_INDEX.txt",
    )
    sha256: str | None = Field(
        pattern="^[0-9a-fA-F]{64}$", description="SHA-256 that the file detector.source has to have; null: any"
    )
    licence: str | None = Field(description="licence of imported weights or boxes, kept with them; null: unknown")
    config: str = Field(
        min_length=1,
        description="detectron2: visual_genome, or a config of its zoo, COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    )
    options: str = Field(description="detectron2: changes to the config, as on its command line: KEY VALUE KEY VALUE")
    architecture: Literal[
        "timm_fpn",
        "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_v2",
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn",
    ] = Field(description="timm_fpn: the backbone below and a feature pyramid; else torchvision's network of that name")
    backbone: str = Field(min_length=1, description="timm_fpn: name of a timm model")
    stride_px: int = Field(ge=1, description="timm_fpn: stride of the finest level, pixels")
    levels: int = Field(ge=1, le=5, description="timm_fpn: levels of the pyramid")
    anchor_px: float = Field(gt=0, description="timm_fpn: side of the smallest anchor, pixels")
    fpn_channels: int = Field(ge=1, description="timm_fpn: channels of the pyramid")
    head_channels: int = Field(ge=1, description="timm_fpn: width of the box head")
    min_size_px: int = Field(ge=1, description="short side that frames are scaled to, pixels")
    max_size_px: int = Field(ge=1, description="longest that the long side may become, pixels")
    min_score: float = Field(ge=0, le=1, description="confidence below which a box is dropped")
    nms_iou: float = Field(ge=0, le=1, description="overlap (IoU) above which the worse of two boxes of a class goes")
    labels: Literal["all", "best"] = Field(
        description="all: a box counts once in every class that it is found as; best: once, in its best one"
    )
    every: int = Field(ge=1, description="objects are looked for in every k-th frame, whose boxes the next ones take")
    merge_classes: bool = Field(description="learn one class, object, whatever the categories say")
    pretrained: str | None = Field(
        description="file of weights of the same architecture to start from, its classes aside; null: from scratch"
    )
    epochs: int = Field(ge=1, description="passes over the training images")
    batch_images: int = Field(ge=1, description="images a step")
    learning_rate: float = Field(gt=0, description="peak learning rate of AdamW, per step")
    weight_decay: float = Field(ge=0, description="weight decay of AdamW, per unit of learning rate")
    warmup_fraction: float = Field(ge=0, lt=1, description="share of the steps with a rising learning rate")
    flip: bool = Field(description="mirror images at random, left to right")
    color_jitter: float = Field(
        ge=0, lt=1, description="strength of random changes of brightness, contrast, saturation"
    )
    zoom: float = Field(ge=0, lt=1, description="strength of random zooming in and out of training images")
    recall_boxes: int = Field(ge=1, description="best boxes an image that the reported recall looks at")
    seed: int = Field(ge=0, description="seed of weights, order and augmentation")
