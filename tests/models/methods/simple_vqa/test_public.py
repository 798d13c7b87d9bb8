"""SimpleVQA with public names of weights: golden values, and every key accounted for."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.methods import simple_vqa
from models.methods.simple_vqa.features import MotionFeatures
from models.methods.simple_vqa.network import SimpleVqaNet
from models.methods.simple_vqa.public import slowfast_name
from models.methods.simple_vqa.slowfast import build_slowfast, slow_positions
from models.public import PublicStateError
from tests.models.methods.public_weights import COUNTER, digest, filled, normal, resnet50_keys, slowfast_keys

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
HEAD = [
    ("quality.0.weight", (128, 9472)),
    ("quality.0.bias", (128,)),
    ("quality.1.weight", (1, 128)),
    ("quality.1.bias", (1,)),
]
KEYS = [*resnet50_keys(), *HEAD]
# Widths of what stands in a segment's features, in this order.
BLOCKS = {
    "mean2": 512,
    "std2": 512,
    "mean3": 1024,
    "std3": 1024,
    "mean4": 2048,
    "std4": 2048,
    "slow": 2048,
    "fast": 256,
}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return filled(KEYS, base=GOLDEN["base"])


@pytest.fixture(scope="module")
def network(state) -> SimpleVqaNet:
    return simple_vqa.from_public(state)


@pytest.fixture(scope="module")
def slowfast_state() -> dict[str, Tensor]:
    return filled(slowfast_keys(), base=GOLDEN["slowfast"]["base"])


@pytest.fixture(scope="module")
def motion_network(slowfast_state) -> MotionFeatures:
    return simple_vqa.motion_features(slowfast_state)


def test_the_keys_are_those_of_the_published_files() -> None:
    assert digest(KEYS) == "b353cc47a3da03073d1677632f05b95db153d6970fc6bca88bc586695782fbd6"
    assert digest(slowfast_keys()) == "465a41339ebfd0359e9181b04930ddf48a86c5de4ecfd929a353fd531b27b011"
    counted = [(name, shape) for name, shape in slowfast_keys() if not name.endswith((COUNTER, "mean", "var"))]
    # With the unused head, as the model zoo counts.
    assert sum(math.prod(shape) for _, shape in counted) == 34_566_488


@pytest.mark.parametrize("case", GOLDEN["quality_model"], ids=lambda case: f"{case['frames_shape'][-1]}px")
def test_golden_values_of_the_quality_network(network, case) -> None:
    frames = normal(case["frames_seed"], *case["frames_shape"])
    motion = 100 * normal(case["motion_seed"], 1, frames.shape[1], 2304).abs()
    with torch.inference_mode():
        features = network.segment_features(frames, motion)
        assert features.shape == (1, frames.shape[1], case["feature_dim"])
        blocks = dict(zip(BLOCKS, features[0, 0].split(list(BLOCKS.values())), strict=True))
        for name, block in blocks.items():
            mean = case["chunk0_block_means"][name]
            assert block.mean().item() == pytest.approx(mean, rel=1e-5), name
            assert block[:2].tolist() == pytest.approx(case["chunk0_block_first2"][name], abs=1e-4 * mean), name
        hidden = network.quality[0](features)[0, 0, :4]
        assert hidden.tolist() == pytest.approx(case["hidden_chunk0_first4"], abs=1e-2)
        scores = network.segment_scores(frames, motion)
        assert scores[0].tolist() == pytest.approx(case["chunk_scores"], rel=2e-5)
        score = network(frames, motion)
        assert score.shape == (1,)
        assert score.item() == pytest.approx(case["score"], rel=2e-5)


def test_golden_values_of_the_motion_network(motion_network) -> None:
    golden = GOLDEN["slowfast"]
    clips = normal(golden["input_seed"], *golden["input_shape"])
    outputs = []
    hooks = [
        block.register_forward_hook(lambda module, inputs, output: outputs.append(output))
        for block in motion_network.network.blocks
    ]
    features = motion_network(clips)
    for hook in hooks:
        hook.remove()
    found = [(slow.mean().item(), fast.mean().item(), [*slow.shape], [*fast.shape]) for slow, fast in outputs]
    for block, (slow, fast, slow_shape, fast_shape) in zip(
        found, golden["block_output_mean_slow_fast_and_shapes"], strict=True
    ):
        assert block == (pytest.approx(slow, rel=2e-5), pytest.approx(fast, rel=2e-5), slow_shape, fast_shape)
    assert features.shape == (1, 2304)
    slow, fast = features[0].split([2048, 256])
    assert slow[:8].tolist() == pytest.approx(golden["slow_first8"], abs=2e-5 * golden["slow_mean"])
    assert fast[:8].tolist() == pytest.approx(golden["fast_first8"], abs=2e-5 * golden["fast_mean"])
    assert slow.mean().item() == pytest.approx(golden["slow_mean"], rel=1e-5)
    assert slow.std().item() == pytest.approx(golden["slow_std"], rel=1e-3)
    assert fast.mean().item() == pytest.approx(golden["fast_mean"], rel=1e-5)
    assert slow_positions(32, 8) == golden["slow_frame_positions"]


def test_a_wrapped_checkpoint_scores_the_same(network, state) -> None:
    frames, motion = normal(1, 1, 2, 3, 64, 64), normal(2, 1, 2, 2304)
    # Without counters, as files of before they were kept.
    wrapped = {f"module.{key}": value for key, value in state.items() if not key.endswith(COUNTER)}
    with torch.inference_mode():
        assert torch.equal(simple_vqa.from_public(wrapped)(frames, motion), network(frames, motion))
    assert not network.training


def test_every_name_of_slowfast_has_one_place(slowfast_state) -> None:
    own = build_slowfast().state_dict()
    used = {key: tuple(value.shape) for key, value in slowfast_state.items() if not key.startswith("blocks.6.")}
    assert {slowfast_name(place): tuple(value.shape) for place, value in own.items()} == used
    assert len(used) == len(own) == 660


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quality.0.bias": None}, r"SimpleVQA; 1 key does not fit: missing quality\.0\.bias \(128,\)"),
        ({"fc.weight": torch.zeros(1000, 2048)}, r"unknown fc\.weight \(1000, 2048\)"),
        # The head of a network without motion.
        ({"quality.0.weight": torch.zeros(128, 7168)}, r"\(128, 7168\), expected \(128, 9472\)"),
        ({"quality.1.bias": torch.tensor([math.inf])}, r"not finite quality\.1\.bias"),
        ({"epoch": 3}, r"no tensor epoch \(int\)"),
    ],
)
def test_keys_that_do_not_fit_are_counted_and_named(state, changes, words) -> None:
    changed = {key: value for key, value in (state | changes).items() if value is not None}
    with pytest.raises(PublicStateError, match=words):
        simple_vqa.from_public(changed)


def test_keys_of_slowfast_that_do_not_fit(slowfast_state, state) -> None:
    with pytest.raises(PublicStateError, match=r"SlowFast R50 8x8; 1 key .*missing blocks\.0\..*\.0\.conv\.weight"):
        simple_vqa.motion_features({key: value for key, value in slowfast_state.items() if "blocks.0.conv" not in key})
    with pytest.raises(PublicStateError, match=r"blocks\.6\.proj\.bias is \(5,\), expected \(400,\)"):
        simple_vqa.motion_features(slowfast_state | {"blocks.6.proj.bias": torch.zeros(5)})
    with pytest.raises(PublicStateError, match=r"unknown conv1\.weight \(64, 3, 7, 7\)"):
        simple_vqa.motion_features(state)
