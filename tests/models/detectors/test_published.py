"""torchvision's published architectures: old and new keys of their weights, and the same boxes as torchvision's own."""

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from models.detectors.build import build_detector
from models.detectors.faster_rcnn import PUBLISHED, FasterRcnn
from models.detectors.interface import DetectorError
from models.detectors.published import CLASS_SCORES, read_published
from tests.configs import faster_rcnn_config

SMALLEST = "fasterrcnn_mobilenet_v3_large_320_fpn"


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names before torchvision 0.13 put these convolutions into blocks."""
    renamed = {}
    for name, value in state.items():
        if name.startswith("rpn.head.conv"):
            name = name.replace("conv.0.0.", "conv.")
        elif name.startswith("backbone.fpn"):
            name = name.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        renamed[name] = value
    return renamed


def without_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def filled(read: tuple[dict[str, Tensor], int, bool], architecture: str, **settings: float) -> FasterRcnn:
    state, n_classes, frozen = read
    config = faster_rcnn_config(architecture, n_classes, min_size_px=64, max_size_px=96, frozen_norms=frozen)
    detector = build_detector(config.model_copy(update=settings))
    detector.network.load_state_dict(state)
    return detector


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_every_key_of_the_91_classes_has_its_place(architecture: str) -> None:
    # The meta device has shapes without numbers: nothing is drawn or stored for 40 million weights.
    with torch.device("meta"):
        reference = torchvision.models.get_model(architecture, weights=None, weights_backbone=None, num_classes=91)
        state = reference.state_dict()
        if architecture != "fasterrcnn_resnet50_fpn_v2":
            state = old_names(without_counters(state))
            assert "rpn.head.conv.weight" in state
            assert "backbone.fpn.inner_blocks.0.weight" in state
        present, n_classes, frozen = read_published(state, architecture=architecture)
        detector = build_detector(faster_rcnn_config(architecture, n_classes, 64, 96, frozen_norms=frozen))
    assert n_classes == 90
    own = detector.network.state_dict()
    assert {name: value.shape for name, value in present.items()} == {name: own[name].shape for name in own}
    norms = [module for module in detector.modules() if isinstance(module, FrozenBatchNorm2d | nn.BatchNorm2d)]
    assert all(isinstance(norm, FrozenBatchNorm2d) for norm in norms) == frozen
    # torchvision sets the epsilon of the oldest weights to zero, and no other.
    assert {norm.eps for norm in norms} == {0.0 if architecture == "fasterrcnn_resnet50_fpn" else 1e-5}


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    """torchvision's smallest network for three classes, with statistics and scores that are not those of a new one."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = torchvision.models.get_model(
            SMALLEST, weights=None, weights_backbone=None, num_classes=4, min_size=64, max_size=96,
            box_score_thresh=0.0, box_detections_per_img=20, rpn_score_thresh=0.0,
        )  # fmt: skip
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean = torch.empty(module.num_features).uniform_(-0.1, 0.1)
                module.running_var = torch.empty(module.num_features).uniform_(0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize("old", [True, False])
def test_same_boxes_as_torchvision(reference: nn.Module, old: bool) -> None:
    state = reference.state_dict()
    read = read_published(old_names(without_counters(state)) if old else state, architecture=SMALLEST)
    assert read.n_classes == 3
    assert read.frozen_norms == old
    detector = filled(read, SMALLEST, min_score=0.0, max_detections=20)
    # The published builder drops first-stage boxes below 0.05; the untrained reference must not lose all of them.
    detector.network.rpn.score_thresh = 0.0
    frame = np.random.default_rng(0).integers(0, 256, (70, 100, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = reference([torch.from_numpy(frame).permute(2, 0, 1) / 255])[0]
    (found,) = detector.detect([frame])
    assert len(found.scores) == 20
    # Frozen normalisation rounds in another order: a few units in the last place, in pixels up to 100.
    torch.testing.assert_close(found.boxes_xyxy_px, expected["boxes"], atol=1e-3, rtol=0)
    torch.testing.assert_close(found.scores, expected["scores"], atol=1e-5, rtol=0)
    assert torch.equal(found.labels, expected["labels"])


def test_states_that_are_none_of_these() -> None:
    scores = torch.zeros(4, 8)
    with pytest.raises(DetectorError, match="'timm_fpn' has no published weights; allowed: fasterrcnn_resnet50_fpn,"):
        read_published({CLASS_SCORES: scores}, architecture="timm_fpn")
    with pytest.raises(DetectorError, match=f"no {CLASS_SCORES}"):
        read_published({"fc.weight": scores}, architecture=SMALLEST)
    for shape in ((), (4,), (1, 8), (4, 8, 1)):
        with pytest.raises(
            DetectorError, match=rf"{CLASS_SCORES} has the shape \({', '.join(map(str, shape))},?\); needed"
        ):
            read_published({CLASS_SCORES: torch.zeros(shape)}, architecture=SMALLEST)
    both = {CLASS_SCORES: scores, "rpn.head.conv.bias": scores, "rpn.head.conv.0.0.bias": scores}
    with pytest.raises(DetectorError, match=r"two keys of the weights stand for rpn\.head\.conv\.0\.0\.bias"):
        read_published(both, architecture=SMALLEST)
