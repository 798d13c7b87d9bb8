"""Parameters of the stage detector."""

from typing import Literal

from pydantic import Field

from models.config import COUNT_MAX, ShellText
from models.detectors.config import BoxRules, DetectronNetwork, TimmFpn, TorchvisionNetwork
from stages.params.schema.training import ImageTraining


class TorchvisionParams(TorchvisionNetwork):
    """Read with `backend: torchvision`."""

    timm_fpn: TimmFpn


class DetectorTraining(ImageTraining):
    """Read where `source` is a folder, which only torchvision's networks are trained on."""

    pretrained: str | None = Field(
        description="file of weights of the same architecture to start from, its classes aside; null: from scratch"
    )
    merge_classes: bool = Field(description="learn one class, object, whatever the categories say")
    zoom: float = Field(ge=0, lt=1, description="strength of random zooming in and out of training images")
    recall_boxes: int = Field(ge=1, le=COUNT_MAX, description="best boxes per image that the reported recall looks at")


class DetectorParams(BoxRules):
    """The object detector: trained on COCO-format boxes, or imported.

    The keys of this level are read whatever the back end, each sub-section only with the one that it names.
    """

    backend: Literal["torchvision", "detectron2", "table"] = Field(
        description="library of the detector; table: boxes that you bring along, found elsewhere"
    )
    source: ShellText = Field(
        min_length=1,
        description="torchvision: folder to train on (train.json, val.json, images/); torchvision, detectron2: weights "
        "file to import; table: Parquet file, or folder of text files VIDEO_ID/FRAME_INDEX.txt",
    )
    sha256: str | None = Field(
        pattern="^[0-9a-fA-F]{64}$", description="SHA-256 that the file detector.source has to have; null: any"
    )
    licence: str | None = Field(description="licence of imported weights or boxes, kept with them; null: unknown")
    torchvision: TorchvisionParams
    detectron2: DetectronNetwork
    training: DetectorTraining
