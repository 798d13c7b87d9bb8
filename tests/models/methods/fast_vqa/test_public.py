"""Public weights: golden outputs of every stage, and every key accounted for."""

import hashlib
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.video import swin3d_t
from torchvision.models.video.swin_transformer import SwinTransformer3d

from models.methods import fast_vqa
from models.methods.fast_vqa.config import NETWORK_B, NETWORK_M
from models.methods.fast_vqa.network import build_fragment_net
from models.methods.fast_vqa.position_bias import table_rows
from models.methods.fast_vqa.public import FragmentWeightsError, load_public, load_video_swin
from models.methods.fast_vqa.swin import build_swin
from tests.models.methods.fast_vqa.golden import GOLDEN, check_network, golden_weights, public_keys

# Public names and layout at widths that build in no time.
TINY = NETWORK_B.model_copy(
    update={"embed_width": 8, "depths": (2, 1), "heads": (1, 2), "window": (2, 3, 3), "head_width": 4}
)
TABLE = "fragments_backbone.layers.0.blocks.0.attn.relative_position_bias_table"
INDEX = "fragments_backbone.layers.0.blocks.0.attn.relative_position_index"


@pytest.fixture(scope="module")
def tiny_weights() -> dict[str, Tensor]:
    return golden_weights(TINY, base=0)


def load_tiny(weights: dict[str, Any]) -> None:
    load_public(build_fragment_net(TINY), weights, source="a tiny network")


@pytest.mark.parametrize(
    ("network", "digest"),
    [
        # Of the lists of the real checkpoints' keys, a line each: `name (shape) dtype`.
        (NETWORK_B, "dbf8a7bc77eb6004f6a43620483dcebe2e83420752bcc13f07892c8d82e3581c"),
        (NETWORK_M, "81907e4e6de575c2982a95de782dc1a15da8f0e517a89e9a998beae33f6e9bab"),
    ],
)
def test_the_keys_are_those_of_the_real_checkpoints(network, digest):
    lines = [
        f"{name} {shape} {'int64' if name.endswith('index') else 'float32'}\n" for name, shape in public_keys(network)
    ]
    assert hashlib.sha256("".join(lines).encode()).hexdigest() == digest


def test_every_key_has_one_place(weights_b, network_b, weights_m, network_m):
    for weights, network, parameters in ((weights_b, network_b, 28_127_901), (weights_m, network_m, 27_597_255)):
        own = network.state_dict()
        assert {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in weights.items()}
        assert all(torch.equal(own[key], value) for key, value in weights.items())
        assert sum(value.numel() for value in own.values()) == parameters
        assert not network.training


@pytest.mark.parametrize("case", GOLDEN["models"][:3], ids=["B", "MS", "MT"])
def test_golden_outputs_of_b(network_b, case):
    check_network(network_b, case)


def test_golden_outputs_of_m(network_m):
    check_network(network_m, GOLDEN["models"][3])
    # The later public code would shrink M's window, to (2, 2, 2): another network, which is not that of the weights.
    network_m.fragments_backbone.adaptive = True
    try:
        check_network(network_m, GOLDEN["models"][4])
    finally:
        network_m.fragments_backbone.adaptive = False


def test_a_wrapped_checkpoint_with_indices(tiny_weights):
    plain, wrapped = build_fragment_net(TINY), build_fragment_net(TINY, seed=1)
    load_public(plain, tiny_weights, source="")
    indices = {
        name: table_rows(TINY.window, TINY.window) for name, _ in public_keys(TINY) if name.endswith("position_index")
    }
    state = {f"module.{key}": value for key, value in (tiny_weights | indices).items()}
    load_public(wrapped, {"state_dict": state, "validation_results": [0.8]}, source="")
    for key, value in plain.state_dict().items():
        assert torch.equal(wrapped.state_dict()[key], value), key


def test_all_problems_are_listed_together(tiny_weights):
    damaged = dict(tiny_weights)
    del damaged["vqa_head.fc_last.bias"]
    damaged["surprise"] = torch.zeros(2, 2)
    damaged["fragments_backbone.norm.weight"] = torch.zeros(8)
    with pytest.raises(FragmentWeightsError) as error:
        load_tiny(damaged)
    text = str(error.value)
    assert "a tiny network; 3 keys do not fit" in text
    assert "missing vqa_head.fc_last.bias (1,)" in text
    assert "unknown surprise (2, 2)" in text
    assert "fragments_backbone.norm.weight is (8,), expected (16,)" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({INDEX: table_rows(TINY.window, TINY.window).flip(0)}, f"1 key does not fit: of another order .* {INDEX}"),
        ({INDEX.replace("blocks.0", "blocks.7"): torch.zeros(18, 18)}, "index of no block: .*blocks.7"),
        ({"vqa_head.fc_last.bias": torch.tensor([math.nan])}, "not finite vqa_head.fc_last.bias"),
        ({"vqa_head.fc_last.bias": 3}, r"1 key does not fit: no tensor vqa_head.fc_last.bias \(int\)"),
        # A prefix that only some names have is none.
        ({"module.vqa_head.fc_last.bias": torch.zeros(1)}, "unknown module.vqa_head.fc_last.bias"),
    ],
)
def test_what_would_load_a_wrong_network_is_refused(tiny_weights, changes, words):
    with pytest.raises(FragmentWeightsError, match=words):
        load_tiny(tiny_weights | changes)


def test_weights_that_are_refused_change_nothing(tiny_weights):
    network = build_fragment_net(TINY)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(FragmentWeightsError):
        load_public(network, tiny_weights | {"surprise": torch.zeros(1)}, source="")
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_weights_of_the_other_variant(weights_m):
    with pytest.raises(FragmentWeightsError, match=r"not the weights of FAST-VQA-B; 22 keys do not fit: missing"):
        fast_vqa.from_public(weights_m)
    with pytest.raises(FragmentWeightsError, match=r"variant is 'S'; allowed: 'B', 'M'"):
        fast_vqa.from_public(weights_m, variant="S")  # type: ignore[arg-type]


@pytest.mark.parametrize("empty", [{}, {"state_dict": {}}, {"state_dict": 3}])
def test_no_weights(empty):
    with pytest.raises(FragmentWeightsError, match=r"weights hold (nothing|state_dict); needed: names and tensors"):
        load_tiny(empty)


def small_swin(window: tuple[int, int, int]) -> SwinTransformer3d:
    """torchvision's Video-Swin at a small width, with random tables: its own start near zero."""
    torch.manual_seed(0)
    network = SwinTransformer3d(
        [2, 4, 4], embed_dim=8, depths=[2, 3], num_heads=[1, 2], window_size=list(window), num_classes=5
    )
    for name, weight in network.named_parameters():
        if name.endswith("table"):
            torch.nn.init.normal_(weight)
    return network.eval()


SMALL_SWIN = TINY.model_copy(update={"depths": (2, 3), "window": (8, 7, 7)})


@pytest.mark.parametrize("size", [(32, 224, 224), (18, 60, 68)], ids=["whole windows", "padding"])
def test_torchvision_is_an_independent_reference(size):
    """Without a gate the network is torchvision's: windows, shifts, masks, padding and merges agree."""
    theirs = small_swin((8, 7, 7))
    ours = build_swin(SMALL_SWIN.model_copy(update={"adaptive_window": False, "gated_bias": False})).eval()
    assert load_video_swin(ours, theirs.state_dict()) == []
    pixels = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = theirs.norm(theirs.features(theirs.patch_embed(pixels)))
        found = ours(pixels).permute(0, 2, 3, 4, 1)
    # Normalised features of size 1; float32 in another order of summation.
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_a_start_from_the_authors_names():
    theirs = small_swin((8, 7, 7)).state_dict()
    first, second = build_swin(SMALL_SWIN), build_swin(SMALL_SWIN)
    load_video_swin(first, theirs)
    names = {
        "patch_embed": "patch_embed",
        "features.0": "layers.0.blocks",
        "features.1": "layers.0.downsample",
        "features.2": "layers.1.blocks",
        "norm": "norm",
        "head": "head",
    }
    renamed = {}
    for key, value in theirs.items():
        ours = next(f"{new}{key.removeprefix(old)}" for old, new in names.items() if key.startswith(f"{old}."))
        ours = ours.replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")
        renamed[f"cls_head.{key}" if key.startswith("head.") else f"backbone.{ours}"] = value
    gate = "layers.0.blocks.0.attn.fragment_position_bias_table"
    with torch.no_grad():
        second.get_parameter(gate).fill_(1)
    load_video_swin(second, {"state_dict": renamed})
    for key, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[key], value), key
    # P is in no such file: it starts at zero, whatever it was.
    assert not second.get_parameter(gate).any()


def test_tables_of_another_window_keep_their_values():
    theirs = small_swin((8, 7, 7)).state_dict()
    backbone = build_swin(SMALL_SWIN.model_copy(update={"window": (4, 4, 4), "gated_bias": False}))
    with torch.no_grad():
        for weight in backbone.parameters():
            weight.fill_(7)
    kept = load_video_swin(backbone, theirs)
    assert len(kept) == 5
    for key, value in backbone.state_dict().items():
        assert bool((value == 7).all()) == (key in kept), key


def test_a_start_that_does_not_fit():
    state = small_swin((8, 7, 7)).state_dict()
    del state["norm.bias"]
    state["features.2.0.attn.relative_position_bias_table"] = torch.zeros(2535, 3)
    with pytest.raises(FragmentWeightsError, match=r"of a Video-Swin; 2 keys do not fit: missing norm.bias \(16,\)"):
        load_video_swin(build_swin(SMALL_SWIN), state)


def test_the_published_start_of_torchvision_fits():
    with torch.device("meta"):
        names = swin3d_t().state_dict()
    assert load_video_swin(build_swin(NETWORK_B), {key: _real(key, value) for key, value in names.items()}) == []


def _real(key: str, value: Tensor) -> Tensor:
    return table_rows((8, 7, 7), (8, 7, 7)).flatten() if key.endswith("index") else torch.zeros(value.shape)
