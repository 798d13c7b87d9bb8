"""The sections of params.yaml: one frozen, closed model each, the unit of every value in its description.

`stages.params` reads a file into them and words the errors.
"""

import os
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator


def available_cores() -> int:
    """Cores that this process may use, where the system can tell, else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Section(BaseModel):
    """A closed, frozen section: unknown keys are errors; text such as `1e-05` (as DVC writes it) becomes a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML reads yes, no, on and off as truth values, which Python would count as 1 and 0.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in (int, float):
            raise ValueError("input should be a number, not true or false")
        return value


class DemoParams(Section):
    """The embedded data set."""

    seed: int = Field(ge=0, description="seed of everything that is rendered")
    prompts: int = Field(ge=1, description="prompts; a video is rendered for each prompt and generator")
    generators: int = Field(ge=1, le=26, description="simulated text-to-video models")
    object_images: int = Field(ge=2, description="still images with object boxes, a fifth of them held out")
    crop_images: int = Field(ge=2, description="still images with rated crops, a fifth of them held out")
    scale: float = Field(gt=0, le=8, description="size of all frames, in units of about 96 px")
    restlessness: float = Field(
        ge=0, le=4, description="how far the frames of a video differ in quality, relative to the shipped demo; 0: not"
    )


# The scores that a row of VQualA 2025's labels holds.
VQUALA_TARGETS = ("Overall_MOS", "Traditional_MOS", "Alignment_MOS", "Aesthetic_MOS", "Temporal_MOS")


class DatasetParams(Section):
    """Which videos, and how their labels are written (read by prepare)."""

    format: Literal["t2vqa_db", "kvq", "vquala", "table", "folder"] = Field(
        description="format of the labels; folder: videos without scores, which can be scored and nothing else"
    )
    root: str = Field(min_length=1, description="folder of the data set; DVC tracks it")
    labels: str = Field(
        min_length=1,
        description="label file, relative to dataset.root, or a folder of lists train.*, val.*, test.*; "
        "the format folder ignores it",
    )
    videos: str = Field(description="folder that the labels' file names start from, relative to dataset.root")
    target: str = Field(
        min_length=1, description="column that is the MOS, for table and vquala; the other formats have one: mos"
    )
    pairs: str = Field(
        description="workbook of rated pairs (.xlsx, as KVQ's), relative to dataset.root; empty: there are none"
    )
    mos_min: float = Field(description="lowest possible MOS on the data set's own scale")
    mos_max: float = Field(description="highest possible MOS on the data set's own scale")
    generator_pattern: str = Field(
        description="regular expression with a group `generator`, searched in file names; empty: no generators"
    )
    group_pattern: str = Field(
        description="regular expression with a group `group`, searched in file names: what split.by group keeps "
        "together; empty, or without a match: the prompt, else the video alone"
    )
    max_missing_fraction: float = Field(
        ge=0, le=1, description="share of the frames that a header promises that may be missing"
    )

    @field_validator("generator_pattern", "group_pattern")
    @classmethod
    def _names_its_group(cls, pattern: str, info: ValidationInfo) -> str:
        name = str(info.field_name).removesuffix("_pattern")
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from None
        if pattern and name not in groups:
            raise ValueError(f"the group (?P<{name}>...) is missing")
        return pattern

    @model_validator(mode="after")
    def _ordered(self) -> "DatasetParams":
        if self.mos_min >= self.mos_max:
            raise ValueError(f"mos_min = {self.mos_min:g} must be below mos_max = {self.mos_max:g}")
        return self

    @model_validator(mode="after")
    def _has_the_target(self) -> "DatasetParams":
        allowed = {"table": None, "vquala": VQUALA_TARGETS}.get(self.format, ("mos",))
        if allowed is not None and self.target not in allowed:
            raise ValueError(f"target = {self.target!r} with format = {self.format}; allowed: {', '.join(allowed)}")
        return self


class SplitParams(Section):
    """Which videos train, select and test the model."""

    by: Literal["group", "video", "dataset", "generator"] = Field(
        description="what stays in one part: group (prompt), video, dataset (its own lists), or generator: all videos "
        "of split.held_out are the test part, the rest is dealt by group"
    )
    held_out: str = Field(description="the generator that split.by generator tests on; the others ignore it")
    seed: int = Field(ge=0, description="seed of the split")
    val_fraction: float = Field(
        gt=0, lt=1, description="share of the videos that selects the epoch; of those not in a fixed test part"
    )
    test_fraction: float = Field(
        gt=0,
        lt=1,
        description="share of the videos that is touched once, at the end; dataset and generator fix the test part",
    )

    @model_validator(mode="after")
    def _leaves_training(self) -> "SplitParams":
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction + test_fraction must be below 1, so that videos are left to train on")
        return self

    @model_validator(mode="after")
    def _names_a_generator(self) -> "SplitParams":
        if self.by == "generator" and not self.held_out:
            raise ValueError("held_out is empty; with by = generator it names the generator to test on")
        return self


class DecodeParams(Section):
    """Which frames of a video are used, and how they are stored."""

    frames: int = Field(ge=1, le=1024, description="frames a video, evenly spaced over its decoded frames")
    encoding: Literal["png", "webp", "jpeg"] = Field(description="png and webp are lossless, jpeg is not")
    jpeg_quality: int = Field(ge=1, le=100, description="quality of jpeg on OpenCV's scale; the others ignore it")


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


class ProposeParams(Section):
    """Which objects of a frame the cropper is told of."""

    top_n: int = Field(ge=1, le=100, description="objects a frame, best first")
    score_threshold: float = Field(ge=0, le=1, description="confidence below which an object is dropped")
    nms_iou: float = Field(
        ge=0, le=1, description="overlap (IoU) above which the worse of two objects goes, any class; 1: none goes"
    )
    min_boxes: int = Field(ge=0, le=100, description="objects a frame that stay whatever their confidence, best first")
    max_boxes: int = Field(ge=1, le=100, description="objects a frame at most, before top_n")

    @model_validator(mode="after")
    def _ordered(self) -> "ProposeParams":
        if self.min_boxes > self.max_boxes:
            raise ValueError(f"min_boxes = {self.min_boxes} must not be above max_boxes = {self.max_boxes}")
        return self


class CropperParams(Section):
    """S2CNet: trained on crop scores in GAIC's format, or imported."""

    source: str = Field(
        min_length=1, description="folder to train on (images/, annotations/), or checkpoint file to import"
    )
    objects: Literal["detector", "files"] = Field(
        description="objects of the training images: the detector's, or boxes in SOURCE/bbox/NAME.txt"
    )
    variant: Literal["paper", "release"] = Field(description="equations 7-11 as printed, or the public network")
    backbone: str = Field(min_length=1, description="mobilenet_v2, vgg16, or the name of a timm model")
    pretrained: str | None = Field(description="file of weights for the backbone; null: from scratch")
    sampling: Literal["release", "aligned"] = Field(description="sampling rule of RoIAlign and RoDAlign")
    input_short_side_px: int = Field(ge=32, le=1024, description="short side of the network's input, pixels")
    reduced_channels: int = Field(ge=1, description="channels of the fused feature map")
    align_size: int = Field(ge=1, description="cells an axis of RoIAlign and RoDAlign")
    embed_width: int = Field(ge=1, description="width of a graph node")
    heads: int = Field(ge=1, description="attention heads; they divide embed_width")
    layers: int = Field(ge=1, description="graph layers")
    mlp_width: int = Field(ge=1, description="hidden width inside the graph layers")
    head_width: int = Field(ge=6, description="hidden width of the score head")
    dropout: float = Field(ge=0, lt=1, description="dropout in the score head, probability")
    rank_weight: float = Field(ge=0, description="weight of the ranking loss beside the regression loss")
    val_fraction: float = Field(gt=0, lt=1, description="share of the training images that selects the epoch")
    epochs: int = Field(ge=1, description="passes over the training images")
    batch_images: int = Field(ge=1, description="images a step, each with all its candidates")
    learning_rate: float = Field(gt=0, description="peak learning rate of AdamW, per step")
    weight_decay: float = Field(ge=0, description="weight decay of AdamW, per unit of learning rate")
    warmup_fraction: float = Field(ge=0, lt=1, description="share of the steps with a rising learning rate")
    flip: bool = Field(description="mirror images and boxes at random, left to right")
    color_jitter: float = Field(
        ge=0, lt=1, description="strength of random changes of brightness, contrast, saturation"
    )
    seed: int = Field(ge=0, description="seed of weights, order and augmentation")


class CropParams(Section):
    """How the crop of a frame is chosen."""

    method: Literal["s2cnet", "center", "random", "full"] = Field(description="who chooses the crop")
    scope: Literal["frame", "video"] = Field(
        description="frame: each frame its own crop (the paper); video: one crop, by its mean score"
    )
    candidates: Literal["grid", "1:1", "4:3", "3:4", "16:9", "9:16"] = Field(
        description="grid: the anchors of GAIC; else all crops of that aspect ratio, width:height"
    )
    min_area_fraction: float = Field(
        ge=0, le=1, description="least share of the frame that a crop of fixed aspect ratio covers; the grid ignores it"
    )
    full_frame: bool = Field(description="make the whole frame a candidate too")
    precision: Literal["fp32", "bf16"] = Field(
        description="of the network's large products; bf16 pays where the hardware computes it (AMX, a GPU)"
    )
    seed: int = Field(ge=0, description="seed of crop.method random")


class FclParams(Section):
    """Frame Consistency Loss."""

    reduction: Literal["video", "batch"] = Field(description="product of MAE and BCE per video, or of batch means")


class FgmParams(Section):
    """Adversarial weight perturbation."""

    epsilon: float = Field(
        ge=0,
        description="norm of the perturbation, in weight units: some thousandths of the norm of all weights; 0: no FGM",
    )


class TrainParams(Section):
    """The quality model and its training."""

    backbone: str = Field(min_length=1, description="name of a timm model")
    pretrained: str | None = Field(description="file of timm weights for the backbone; null: from scratch")
    pooling: Literal["mean", "mean_std"] = Field(description="how the feature map becomes a vector")
    input_px: int = Field(ge=16, le=2048, description="side of the square crops that the network sees, pixels")
    dropout: float = Field(ge=0, lt=1, description="dropout before the last layer, probability")
    loss: Literal["fcl", "mae", "bce"] = Field(description="training loss")
    fcl: FclParams
    fgm: FgmParams
    epochs: int = Field(ge=1, description="passes over the training part")
    batch_videos: int = Field(ge=1, description="videos a step")
    learning_rate: float = Field(gt=0, description="peak learning rate of AdamW, per step")
    weight_decay: float = Field(ge=0, description="weight decay of AdamW, per unit of learning rate")
    warmup_fraction: float = Field(ge=0, lt=1, description="share of the steps with a rising learning rate")
    layer_decay: float = Field(
        gt=0,
        le=1,
        description="factor of the learning rate from one layer of the backbone down to the next; 1: all alike",
    )
    ema_decay: float = Field(
        ge=0, lt=1, description="share that the running mean of the weights keeps each step, once warm; 0: no mean"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(description="numbers of the backbone in training (autocast)")
    channels_last: bool = Field(description="keep images channels last in memory; faster for convolutions on a GPU")
    checkpointing: bool = Field(description="compute activations twice to keep fewer of them; less memory, more time")
    compile: bool = Field(description="compile the backbone (torch.compile): minutes at the start, faster steps")
    flip: bool = Field(description="mirror videos at random, left to right")
    seed: int = Field(ge=0, description="seed of weights, order and augmentation")


class EvaluateParams(Section):
    """Intervals of the metrics."""

    bootstrap_samples: int = Field(ge=100, description="resamples of the test videos")
    confidence: float = Field(gt=0.5, lt=1, description="coverage of the intervals")
    seed: int = Field(ge=0, description="seed of the resampling")


class EngineParams(Section):
    """How stages run.

    shards and max_failed_fraction change what is written, and two change trained weights: threads, by which sums differ
    in their last bits, and processes, which draw dropout masks of their own. The others change nothing.
    """

    workers: int = Field(ge=0, description="processes for work without a network; 0: one a core")
    threads: int = Field(
        ge=0, description="threads of a network on a CPU; small ones are fastest with 1, large ones with 0: one a core"
    )
    batch_frames: int = Field(ge=1, description="frames a network sees at once")
    device: Literal["auto", "cpu", "cuda"] = Field(description="where networks run; auto: a GPU when there is one")
    processes: int = Field(ge=0, description="processes that train the quality model, a GPU each; 0: one for each GPU")
    cache_gib: float = Field(
        ge=0, description="memory for training crops, GiB; a part that does not fit is decoded each epoch"
    )
    shards: int = Field(ge=1, le=1000, description="Parquet files a table of many videos is spread over")
    max_failed_fraction: float = Field(ge=0, le=1, description="share of videos that may fail before a stage fails")

    @property
    def n_workers(self) -> int:
        return self.workers or available_cores()

    @property
    def n_threads(self) -> int:
        return self.threads or available_cores()


class Params(Section):
    """All of params.yaml."""

    demo: DemoParams
    dataset: DatasetParams
    split: SplitParams
    decode: DecodeParams
    detector: DetectorParams
    propose: ProposeParams
    cropper: CropperParams
    crop: CropParams
    train: TrainParams
    evaluate: EvaluateParams
    engine: EngineParams
