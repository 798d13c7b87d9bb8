"""Public weights of SimpleVQA: the quality network's checkpoint, and those of its motion network.

`UGC_BVQA_model.pth` was trained on LSVQ, natural video, with labels on 0-100, and is stored with `module.` before each
name. `SLOWFAST_8x8_R50.pyth` holds its tensors under `model_state`, with a classifier of Kinetics-400.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from models.methods.simple_vqa.config import SimpleVqaConfig
from models.methods.simple_vqa.features import MotionFeatures, build_motion_features
from models.methods.simple_vqa.network import SimpleVqaNet, build_simple_vqa
from models.public import load_public

UNUSED_OF_SLOWFAST = {"blocks.6.proj.weight": (400, 2304), "blocks.6.proj.bias": (400,)}
# Parts of our names of SlowFast -> the published ones.
SLOWFAST_PARTS = (
    (re.compile(r"\.slow\."), ".multipathway_blocks.0."),
    (re.compile(r"\.fast\."), ".multipathway_blocks.1."),
    (re.compile(r"\.units\."), ".res_blocks."),
    (re.compile(r"\.shortcut\."), ".branch1_"),
    (re.compile(r"\.residual\."), ".branch2."),
    (re.compile(r"\.fusion\.conv\."), ".multipathway_fusion.conv_fast_to_slow."),
    (re.compile(r"\.fusion\.norm\."), ".multipathway_fusion.norm."),
)


def from_public(state_dict: Mapping[str, Tensor]) -> SimpleVqaNet:
    """The quality network of a public checkpoint.

    Args:
        state_dict: torchvision's names of ResNet-50 without its classifier, and `quality.0` and `.1`. `module.` before
            all names is taken off.

    Returns:
        The network in evaluation mode: frames (B, F, 3, H, W) normalised and motion (B, F, 2304) -> (B,), on LSVQ's
        scale of 0-100.

    Raises:
        PublicStateError: Keys do not fit.
    """
    network = build_simple_vqa(SimpleVqaConfig())
    load_public(network, state_dict, of="SimpleVQA", public_name=_quality_name, unused={})
    return network.eval()


def motion_features(slowfast_state_dict: Mapping[str, Tensor]) -> MotionFeatures:
    """The motion network of public weights of SlowFast R50 8x8.

    Args:
        slowfast_state_dict: pytorchvideo's names, with the classifier `blocks.6.proj` or without. `module.` before all
            names is taken off.

    Returns:
        The network in evaluation mode: clips (B, 3, 32, 224, 224) normalised -> (B, 2304) float32, slow then fast.

    Raises:
        PublicStateError: Keys do not fit.
    """
    features = build_motion_features()
    load_public(
        features.network,
        slowfast_state_dict,
        of="SlowFast R50 8x8",
        public_name=slowfast_name,
        unused=UNUSED_OF_SLOWFAST,
    )
    return features


def slowfast_name(place: str) -> str:
    """The name in pytorchvideo of a parameter of `SlowFast`."""
    for part, published in SLOWFAST_PARTS:
        place = part.sub(published, place)
    return place


def _quality_name(place: str) -> str:
    return place.removeprefix("trunk.")
