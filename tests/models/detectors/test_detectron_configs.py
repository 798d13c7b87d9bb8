"""detectron2's configs beyond plain Faster R-CNN, the options that are refused, and networks that are broken."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from models.config import problems_of
from models.detectors.build import build_detector
from models.detectors.config import SET_ELSEWHERE
from models.detectors.detectron import DetectronDetector
from models.detectors.detectron_config import count_classes
from models.detectors.interface import DetectorError
from models.errors import NonFiniteError
from tests.models.detectors.test_detectron import FPN, HEADS, RESNET, noise, tiny

RETINA = f"{RESNET} MODEL.FPN.OUT_CHANNELS 8 MODEL.ANCHOR_GENERATOR.SIZES [[8],[16],[32],[64],[128]]"
SCORES = "roi_heads.box_predictor.cls_score.weight"

MASKS = " MODEL.ROI_MASK_HEAD.CONV_DIM 8"
# With the options that make their other parts as small as those of the boxes.
MORE_THAN_BOXES = {
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml": MASKS,
    "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml": MASKS,
    "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml": f"{MASKS} MODEL.SEM_SEG_HEAD.CONVS_DIM 32",
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml": " MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS [8]",
}
CASCADE = "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml"


def own_way(detector: DetectronDetector, frame: np.ndarray) -> Any:
    """What detectron2 gives for one frame whose shorter side is scaled from 50 to 48 pixels, masks and all."""
    from detectron2.data.transforms import ResizeShortestEdge

    ordered = frame[:, :, ::-1]
    image = ResizeShortestEdge([48, 48], 96).get_transform(ordered).apply_image(ordered)
    tensor = torch.as_tensor(image.astype("float32").transpose(2, 0, 1))
    with torch.no_grad():
        height, width = frame.shape[:2]
        return detector.network([{"image": tensor, "height": height, "width": width}])[0]["instances"]


@pytest.mark.parametrize("config", MORE_THAN_BOXES)
def test_networks_that_find_more_than_boxes(config: str) -> None:
    pytest.importorskip("detectron2")
    options = RESNET + HEADS + MORE_THAN_BOXES[config]
    detector = build_detector(tiny(config=config, options=options, max_detections=20), seed=1)
    frame, heads = noise(0, 50, 70), detector.network.roi_heads
    (found,) = detector.detect([frame])
    assert (heads.mask_on, heads.keypoint_on) == (False, False)
    # detectron2 finds no key points with the weights of a new network: it stops there.
    heads.mask_on = "Keypoints" not in config
    expected = own_way(detector, frame)
    assert expected.has("pred_masks") == heads.mask_on
    assert 10 < len(found.scores) == len(expected)
    assert torch.equal(found.boxes_xyxy_px, expected.pred_boxes.tensor)
    assert torch.equal(found.scores, expected.scores)
    # The frame is smaller than the strides, and is padded: the masks' scale would be no whole number.
    small, tiniest = detector.detect([noise(1, 7, 13), noise(2, 1, 1)])
    assert 0 < len(small.scores) <= 20
    assert (small.boxes_xyxy_px <= torch.tensor([13, 7, 13, 7])).all()
    assert (tiniest.boxes_xyxy_px <= 1).all()


@pytest.mark.parametrize(
    "config",
    [
        "new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py",
        "COCO-Detection/fcos_R_50_FPN_1x.py",
        "common/train.py",
        "COCO-Detection",
        ".yaml",
    ],
)
def test_files_that_are_no_config(config: str) -> None:
    pytest.importorskip("detectron2")
    with pytest.raises(DetectorError, match=rf"no config '{config}'; allowed: visual_genome, or a \.yaml file"):
        build_detector(tiny(config=config, options=""))


def test_configs_are_those_of_the_zoo_alone(tmp_path: Any) -> None:
    pytest.importorskip("detectron2")
    (tmp_path / "own.yaml").write_text("VERSION: 2\n")
    with pytest.raises(DetectorError, match=r"no config '.*own\.yaml'"):
        build_detector(tiny(config=str(tmp_path / "own.yaml")))


@pytest.mark.parametrize("key", SET_ELSEWHERE)
def test_options_that_something_else_sets(key: str) -> None:
    with pytest.raises(ValidationError) as error:
        tiny(options=f"MODEL.RESNETS.DEPTH 50 {key} 7")
    assert f"{key}, which is set by {SET_ELSEWHERE[key]}" in problems_of(error.value)


def test_every_such_option_is_a_key_of_detectron2() -> None:
    pytest.importorskip("detectron2")
    from detectron2.config import get_cfg

    known = get_cfg()
    for key in SET_ELSEWHERE:
        *parents, last = key.split(".")
        node = known
        for parent in parents:
            node = node[parent]
        assert last in node
    # Weights of RetinaNet do not tell how many classes they know: there the options do.
    detector = build_detector(
        tiny(
            config="COCO-Detection/retinanet_R_50_FPN_1x.yaml",
            n_classes=0,
            options=f"{RETINA} MODEL.RETINANET.NUM_CLASSES 4",
        )
    )
    assert detector.network.num_classes == 4


@pytest.mark.parametrize("shape", [(), (4,), (4, 8, 1), (1, 8), (0, 8)])
def test_class_scores_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(DetectorError, match=rf"{SCORES} has the shape \({', '.join(map(str, shape))},?\); needed"):
        count_classes({SCORES: torch.zeros(shape)})
    attributes = SCORES.replace("cls_score", "attr_score")
    with pytest.raises(DetectorError, match=rf"{attributes} has the shape"):
        count_classes({SCORES: torch.zeros(4, 8), attributes: torch.zeros(shape)})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e38])
@pytest.mark.parametrize(
    ("changes", "broken", "what"),
    [
        ({"labels": "all"}, "proposal_generator.rpn_head.anchor_deltas", "box deltas (StandardRPNHead)"),
        ({"labels": "best"}, "proposal_generator.rpn_head.objectness_logits", "scores (StandardRPNHead)"),
        ({"labels": "all"}, "roi_heads.box_predictor.bbox_pred", "box deltas (FastRCNNOutputLayers)"),
        ({"labels": "best"}, "roi_heads.box_predictor.cls_score", "scores (FastRCNNOutputLayers)"),
        (
            {"config": CASCADE, "options": RESNET + HEADS + MORE_THAN_BOXES[CASCADE]},
            "roi_heads.box_predictor.1.bbox_pred",
            "box deltas (FastRCNNOutputLayers)",
        ),
        (
            {"config": "COCO-Detection/retinanet_R_50_FPN_1x.yaml", "n_classes": 0, "options": RETINA},
            "head.bbox_pred",
            "box deltas (RetinaNetHead)",
        ),
    ],
)
def test_outputs_that_are_not_finite(changes: dict, broken: str, what: str, value: float) -> None:
    """1e38 is finite, and is not any more when it is multiplied by the side of a box."""
    pytest.importorskip("detectron2")
    detector = build_detector(tiny(**changes), seed=1)
    with torch.no_grad():
        detector.network.get_parameter(f"{broken}.bias").fill_(value)
    with pytest.raises(NonFiniteError) as error:
        detector.detect([noise(0, 50, 70)])
    assert f"the detector's {what} are not finite" in str(error.value)


def test_no_proposals_are_no_error() -> None:
    pytest.importorskip("detectron2")
    detector = build_detector(tiny(config=FPN), seed=1)
    detector.network.proposal_generator.min_box_size = 1e9
    assert [len(found.scores) for found in detector.detect([noise(0, 50, 70)])] == [0]
