"""What detectron2's detectors are built from: this project's settings, and detectron2's own config that they give."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from models.detectors.config import VISUAL_GENOME, DetectronConfig
from models.detectors.interface import DetectorError

# detectron2 at 02b5c4e2; setuptools 81 took pkg_resources away, which detectron2's model zoo imports.
INSTALL = (
    'pip install "setuptools<81" && pip install --no-build-isolation '
    '"detectron2 @ git+https://github.com/facebookresearch/detectron2@02b5c4e295e990042a714712c21dc79b731e8833"'
)
# Faster R-CNN's, and the first of a cascade's; other networks do not say in one tensor how many classes they know.
CLASS_SCORES = ("roi_heads.box_predictor.cls_score.weight", "roi_heads.box_predictor.0.cls_score.weight")
ATTRIBUTE_SCORES = "roi_heads.box_predictor.attr_score.weight"


def count_classes(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """How many classes and attributes weights in detectron2's names are for; 0 classes: they do not tell.

    Raises DetectorError for scores that are no matrix with a row for the background and one a class.
    """
    name = next((name for name in CLASS_SCORES if name in state), None)
    if name is None:
        return 0, 0
    attributes = count_rows(state, ATTRIBUTE_SCORES) - 1 if ATTRIBUTE_SCORES in state else 0
    return count_rows(state, name) - 1, attributes


def count_rows(state: Mapping[str, Tensor], name: str) -> int:
    """Rows of the weights of a layer that scores the background and at least one class; DetectorError for others."""
    shape = tuple(state[name].shape)
    if len(shape) != 2 or shape[0] < 2:
        raise DetectorError(
            f"{name} has the shape {shape}; needed: two dimensions, rows for the background and a class"
        )
    return shape[0]


def upstream_config(config: DetectronConfig) -> Any:
    """detectron2's CfgNode; raise DetectorError for a config that it does not have and options that it refuses."""
    import detectron2
    from detectron2.config import get_cfg

    folder = Path(str(detectron2.__file__)).parent / "model_zoo" / "configs"
    is_visual_genome = config.config == VISUAL_GENOME
    name = Path("Base-RCNN-C4.yaml" if is_visual_genome else config.config)
    # The zoo's other files are programs, which detectron2 runs.
    if name.suffix != ".yaml" or name.is_absolute() or ".." in name.parts or not (folder / name).is_file():
        raise DetectorError(
            f"detectron2 has no config {config.config!r}; allowed: {VISUAL_GENOME}, or a .yaml file of its model zoo "
            "such as COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"
        )
    settings = get_cfg()
    settings.merge_from_file(str(folder / name))
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
