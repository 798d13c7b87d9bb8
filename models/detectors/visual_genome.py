"""Faster R-CNN on ResNet-101 C4, trained on Visual Genome, as bottom-up attention published it.

detectron2's modules, and our own parts for the five places where it differs from them.

Facts: airsplay/py-bottom-up-attention at 85ec9b7 and facebookresearch/detectron2 at 02b5c4e2. Imports detectron2, so it
is itself imported only when that backend is chosen.
"""

from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, ROI_HEADS_REGISTRY, build_resnet_backbone
from detectron2.modeling.backbone.resnet import BasicStem
from detectron2.modeling.roi_heads import FastRCNNOutputLayers, Res5ROIHeads
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

CLASS_EMBEDDING_WIDTH = 256
ATTRIBUTE_WIDTH = 512
RES5_DILATION = 2


def set_visual_genome(config: CfgNode, *, n_attributes: int) -> None:
    """Change a config with detectron2's Base-RCNN-C4 in it to the published network; the number of classes is left.

    n_attributes: 400 in the published weights with attributes; 0: no attribute head.
    """
    model = config.MODEL
    model.PIXEL_MEAN = [102.9801, 115.9465, 122.7717]
    model.PIXEL_STD = [1.0, 1.0, 1.0]
    model.MASK_ON = False
    model.RESNETS.DEPTH = 101
    model.BACKBONE.NAME = build_caffe_resnet_backbone.__name__
    model.RPN.CONV_DIMS = [512]
    model.RPN.PRE_NMS_TOPK_TEST = 6000
    model.RPN.POST_NMS_TOPK_TEST = 300
    model.ANCHOR_GENERATOR.SIZES = [[64, 128, 256, 512]]
    model.ROI_HEADS.NAME = VisualGenomeHeads.__name__
    model.ROI_BOX_HEAD.POOLER_TYPE = "ROIPool"
    model.ROI_BOX_HEAD.POOLER_RESOLUTION = 14
    model.ROI_BOX_HEAD.N_ATTRIBUTES = n_attributes
    config.INPUT.FORMAT = "BGR"


class CaffeStem(BasicStem):
    """The first convolution, with Caffe's way of pooling: no padding, and a last window that may reach past the edge.

    (B, 3, H, W) -> (B, D, H / 4, W / 4), rounded up.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D, H / 4, W / 4)."""
        return max_pool2d(relu(self.conv1(x)), kernel_size=3, stride=2, padding=0, ceil_mode=True)


@BACKBONE_REGISTRY.register()
def build_caffe_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """detectron2's ResNet with the stem above."""
    backbone: nn.Module = build_resnet_backbone(cfg, input_shape)
    own = cfg.MODEL.RESNETS
    backbone.stem = CaffeStem(input_shape.channels, own.STEM_OUT_CHANNELS, own.NORM)
    return backbone


class AttributePredictor(FastRCNNOutputLayers):
    """Classes and boxes, beside the layers for attributes that the published weights hold; nothing here runs those."""

    @configurable
    def __init__(self, *, input_shape: ShapeSpec, n_attributes: int, **others: Any) -> None:
        super().__init__(input_shape=input_shape, **others)
        self.cls_embedding = nn.Embedding(self.num_classes + 1, CLASS_EMBEDDING_WIDTH)
        self.fc_attr = nn.Linear(input_shape.channels + CLASS_EMBEDDING_WIDTH, ATTRIBUTE_WIDTH)
        self.attr_score = nn.Linear(ATTRIBUTE_WIDTH, n_attributes + 1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """The arguments of `__init__`, from detectron2's config."""
        arguments: dict[str, Any] = super().from_config(cfg, input_shape)
        return arguments | {"n_attributes": cfg.MODEL.ROI_BOX_HEAD.N_ATTRIBUTES}


@ROI_HEADS_REGISTRY.register()
class VisualGenomeHeads(Res5ROIHeads):
    """detectron2's C4 heads whose last stage keeps the resolution and looks further instead."""

    @configurable
    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """The arguments of `__init__`, from detectron2's config."""
        parts: dict[str, Any] = super().from_config(cfg, input_shape)
        if cfg.MODEL.ROI_BOX_HEAD.N_ATTRIBUTES:
            channels = parts["box_predictor"].cls_score.in_features
            parts["box_predictor"] = AttributePredictor(cfg, ShapeSpec(channels=channels, height=1, width=1))
        return parts

    @classmethod
    def _build_res5_block(cls, cfg: CfgNode) -> tuple[nn.Sequential, int]:
        blocks, channels = super()._build_res5_block(cfg)
        for layer in (blocks[0].conv1, blocks[0].conv2, blocks[0].shortcut):
            layer.stride = (1, 1)
        for block in blocks:
            block.conv2.padding = block.conv2.dilation = (RES5_DILATION, RES5_DILATION)
        return blocks, channels
