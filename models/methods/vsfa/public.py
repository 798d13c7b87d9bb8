"""Public weights of VSFA: the regressor's checkpoint, and the ImageNet weights of its feature network.

The release's `models/VSFA.pt` holds the regressor alone, trained on KoNViD-1k with labels divided by 4.64, so its
scores times 4.64 are on that data set's scale of 1-5. It was trained on natural video.
"""

from collections.abc import Mapping

from torch import Tensor

from models.methods.vsfa.config import Memory, VsfaConfig, VsfaPooling
from models.methods.vsfa.features import FrameFeatures, build_frame_features
from models.methods.vsfa.network import VsfaNet, build_vsfa
from models.public import load_public

RELEASE_LABEL_SCALE = 4.64
MODULES = {"reduce": "ann.fc0", "recurrent": "rnn", "quality": "q"}
# A layer of the release that its forward pass never reaches.
UNUSED = {"ann.fc.weight": (128, 128), "ann.fc.bias": (128,)}
# ImageNet's classifier, in the files that hold the whole network.
UNUSED_OF_RESNET = {"fc.weight": (1000, 2048), "fc.bias": (1000,)}


def from_public(state_dict: Mapping[str, Tensor], *, memory: Memory = "released") -> VsfaNet:
    """The regressor of a public checkpoint.

    Args:
        state_dict: The release's names: `ann.fc0`, `rnn`, `q`; `ann.fc`, which is never used, may be there. `module.`
            before all names is taken off.
        memory: See `VsfaPooling`; the published weights and numbers go with `released`.

    Returns:
        The network in evaluation mode: features (B, T, 4096) float32 and B lengths -> (B,).

    Raises:
        PublicStateError: Keys do not fit.
    """
    network = build_vsfa(VsfaConfig(label_scale=RELEASE_LABEL_SCALE, pooling=VsfaPooling(memory=memory)))
    load_public(network, state_dict, of="VSFA", public_name=public_name, unused=UNUSED)
    return network.eval()


def frame_features(resnet_state_dict: Mapping[str, Tensor]) -> FrameFeatures:
    """The feature network with ImageNet weights of a ResNet-50; the release takes torchvision's IMAGENET1K_V1.

    Args:
        resnet_state_dict: torchvision's or timm's names, with the classifier or without. `module.` before all names is
            taken off.

    Returns:
        The network in evaluation mode: (N, 3, H, W) normalised -> (N, 4096) float32.

    Raises:
        PublicStateError: Keys do not fit.
    """
    features = build_frame_features("resnet50")
    load_public(features.network, resnet_state_dict, of="ResNet-50", public_name=str, unused=UNUSED_OF_RESNET)
    return features


def public_name(place: str) -> str:
    """The release's name of a parameter of `VsfaNet`."""
    module, _, kind = place.partition(".")
    return f"{MODULES[module]}.{kind}"
