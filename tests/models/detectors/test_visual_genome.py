"""The five places where the published Visual Genome network differs from detectron2's, and its attribute layers."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, relu

from tests.configs import detectron_config

pytest.importorskip("detectron2")

from models.detectors.build import build_detector
from models.detectors.config import VISUAL_GENOME
from models.detectors.visual_genome import CaffeStem
from tests.models.detectors.test_detectron import RESNET


def build(n_attributes: int = 0, options: str = f"{RESNET} MODEL.RPN.CONV_DIMS [8]", n_classes: int = 5) -> Any:
    config = detectron_config(VISUAL_GENOME, n_classes, 64, 96, n_attributes=n_attributes, options=options)
    return build_detector(config, seed=3).network


def test_the_published_layout() -> None:
    """Names and shapes of the published weights, and their number: 63.5 million."""
    network = build(options="", n_classes=1600)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for name, shape in {
        "backbone.stem.conv1.weight": (64, 3, 7, 7),
        "backbone.res4.22.conv3.norm.running_var": (1024,),
        "proposal_generator.rpn_head.conv.weight": (512, 1024, 3, 3),
        # 4 sizes of 3 shapes at every place.
        "proposal_generator.rpn_head.objectness_logits.weight": (12, 512, 1, 1),
        "roi_heads.res5.0.shortcut.weight": (2048, 1024, 1, 1),
        "roi_heads.box_predictor.cls_score.weight": (1601, 2048),
        "roi_heads.box_predictor.bbox_pred.weight": (6400, 2048),
    }.items():
        assert shapes[name] == shape
    assert round(sum(weight.numel() for weight in network.parameters()) / 1e6, 1) == 63.5


def test_anchors_and_pooling() -> None:
    network = build()
    (anchors,) = network.proposal_generator.anchor_generator.cell_anchors
    areas = (anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1])
    assert sorted({round(area**0.5) for area in areas.tolist()}) == [64, 128, 256, 512]
    (pooler,) = network.roi_heads.pooler.level_poolers
    assert type(pooler).__name__ == "RoIPool"
    assert network.roi_heads.pooler.output_size == (14, 14)
    assert network.pixel_mean.flatten().tolist() == pytest.approx([102.9801, 115.9465, 122.7717])
    assert network.input_format == "BGR"


@pytest.mark.parametrize("side", [16, 17, 18, 19])
def test_the_stem_pools_as_caffe_does(side: int) -> None:
    """Windows start at 0, 2, 4, ...; the last one may reach past the edge, where nothing is larger."""
    torch.manual_seed(0)
    stem = CaffeStem(3, 4, "FrozenBN")
    image = torch.randn(1, 3, side, side)
    features = relu(stem.conv1(image))
    last = features.shape[2]
    padded = nn.functional.pad(features, (0, 2, 0, 2), value=-torch.inf)
    expected = max_pool2d(padded, 3, 2)[:, :, : -(-(last - 3) // 2) + 1, : -(-(last - 3) // 2) + 1]
    assert torch.equal(stem(image), expected)


def test_the_last_stage_keeps_the_resolution() -> None:
    res5 = build().roi_heads.res5
    torch.manual_seed(0)
    features = torch.randn(2, 32, 14, 14)

    def convolve(layer: Any, x: Tensor, **how: Any) -> Tensor:
        return layer.norm(conv2d(x, layer.weight, **how))

    expected = features
    for block in res5:
        inner = relu(convolve(block.conv1, expected))
        inner = relu(convolve(block.conv2, inner, padding=2, dilation=2))
        short = expected if block.shortcut is None else convolve(block.shortcut, expected)
        expected = relu(convolve(block.conv3, inner) + short)
    with torch.no_grad():
        found = res5(features)
    assert found.shape == (2, 64, 14, 14)
    torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=1e-5)


def test_the_layers_for_attributes_have_the_published_shapes() -> None:
    predictor = build(n_attributes=7).roi_heads.box_predictor
    shapes = {name: tuple(value.shape) for name, value in predictor.state_dict().items()}
    assert shapes["cls_embedding.weight"] == (6, 256)
    assert shapes["fc_attr.weight"] == (512, 64 + 256)
    assert shapes["attr_score.weight"] == (8, 512)
