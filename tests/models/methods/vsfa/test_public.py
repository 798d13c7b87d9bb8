"""VSFA with public names of weights: golden values, and every key accounted for."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.methods import vsfa
from models.methods.vsfa.network import VsfaNet
from models.methods.vsfa.sampling import normalised_frames
from models.public import PublicStateError
from tests.models.methods.public_weights import COUNTER, Keys, digest, filled, normal, resnet50_keys

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
KEYS: Keys = [
    ("ann.fc0.weight", (128, 4096)),
    ("ann.fc0.bias", (128,)),
    ("ann.fc.weight", (128, 128)),
    ("ann.fc.bias", (128,)),
    ("rnn.weight_ih_l0", (96, 128)),
    ("rnn.weight_hh_l0", (96, 32)),
    ("rnn.bias_ih_l0", (96,)),
    ("rnn.bias_hh_l0", (96,)),
    ("q.weight", (1, 32)),
    ("q.bias", (1,)),
]
# Of the published lists of keys.
DIGESTS = {
    "0e3eabc8fc5a1d43d08e981d4204c747584754d1ee240bc3c06518b9ac6537ae": KEYS,
    "ae1c625d9bad840da2ae32a63e3fe39767c4fde07f187dfc0c43f0f307e78e35": resnet50_keys(),
}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return filled(KEYS, base=GOLDEN["base"])


@pytest.fixture(scope="module")
def network(state) -> VsfaNet:
    return vsfa.from_public(state)


@pytest.fixture(scope="module")
def resnet_state() -> dict[str, Tensor]:
    return filled(resnet50_keys(), base=GOLDEN["trunk"]["base"])


@pytest.fixture(scope="module")
def trunk(resnet_state):
    return vsfa.frame_features(resnet_state)


def close(found: Tensor, expected, *, tolerance: float = 1e-5) -> None:
    """Ten times closer than the golden values ask for; an independent build was within 5e-7 of them."""
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), atol=tolerance, rtol=0)


def test_the_keys_are_those_of_the_published_files() -> None:
    assert {digest(keys): keys for keys in DIGESTS.values()} == DIGESTS


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"T={case['T']}")
def test_golden_values_of_the_regressor(network, case) -> None:
    # The inputs' seed follows from the length.
    features = normal(11000 + case["T"], 1, case["T"], 4096).abs()
    with torch.inference_mode():
        reduced = network.reduce(features)
        states, _ = network.recurrent(reduced)
        close(reduced[0, 0, :4], case["reduced_first_frame_first4"])
        close(states[0, -1, :4], case["gru_last_frame_first4"])
        close(network.frame_quality(features)[0], case["frame_quality"])
        close(network.felt_quality(features, [case["T"]])[0], case["pooled"])
        close(network(features, [case["T"]]), [case["score"]])
        close(network.double()(features.double(), [case["T"]]), [case["score_float64"]], tolerance=1e-9)
    network.float()


def test_a_padded_batch_scores_as_its_videos_alone(network) -> None:
    long, short = GOLDEN["padded_batch"]["lengths"]
    features = torch.zeros(2, long, 4096)
    features[0] = normal(11000 + long, 1, long, 4096).abs()[0]
    features[1, :short] = normal(11000 + short, 1, short, 4096).abs()[0]
    with torch.inference_mode():
        scores = network(features, [long, short])
        close(scores, GOLDEN["padded_batch"]["scores"])
        alone = network(features[1:, :short], torch.tensor([short]))
        torch.testing.assert_close(scores[1:], alone, atol=1e-6, rtol=0)
        # What stands after the end does not count, whatever it is.
        features[1, short:] = 100.0
        assert torch.equal(network(features, torch.tensor([long, short])), scores)


def test_golden_values_of_the_trunk(trunk) -> None:
    golden = GOLDEN["trunk"]
    found = trunk(normal(golden["input_seed"], *golden["input_shape"]))
    assert found.shape == (3, 4096)
    tolerance = 1e-5 * golden["frame0_mean_of_means"]
    close(found[0, :6], golden["frame0_mean_first6"], tolerance=tolerance)
    close(found[0, 2048:2054], golden["frame0_std_first6"], tolerance=tolerance)
    close(found[2, -4:], golden["last_frame_last4"], tolerance=tolerance)
    assert found[0, :2048].mean().item() == pytest.approx(golden["frame0_mean_of_means"], rel=1e-5)
    assert found[0, 2048:].mean().item() == pytest.approx(golden["frame0_mean_of_stds"], rel=1e-5)


def test_golden_score_from_bytes(network, trunk) -> None:
    golden = GOLDEN["end_to_end"]
    shape = golden["frames_shape_TxHxWx3"]
    frames = np.random.default_rng(golden["frames_seed"]).integers(0, 256, shape, dtype=np.uint8)
    pixels = normalised_frames(torch.from_numpy(frames).permute(0, 3, 1, 2))
    close(pixels[0, 0, 0, :3], golden["normalised_first3"], tolerance=1e-6)
    # In one batch or frame by frame.
    features = torch.cat([trunk(pixels[:1]), trunk(pixels[1:])])
    assert features.mean().item() == pytest.approx(golden["feature_mean"], rel=1e-5)
    with torch.inference_mode():
        close(network(features[None] / 256, [shape[0]]), [golden["score"]])
    assert hashlib.sha256(frames.tobytes()).hexdigest() == golden["input_sha256"]


def test_a_wrapped_checkpoint_and_one_without_what_is_never_used(network, state, trunk, resnet_state) -> None:
    features = normal(1, 1, 5, 4096)
    used = {key: value for key, value in state.items() if not key.startswith("ann.fc.")}
    with torch.inference_mode():
        expected = network(features, [5])
        for given in ({f"module.{key}": value for key, value in state.items()}, used):
            assert torch.equal(vsfa.from_public(given)(features, [5]), expected)
    # As torchvision's file has it: with the classifier, and without counters where it is an old one.
    whole = {f"module.{key}": value for key, value in resnet_state.items() if not key.endswith(COUNTER)}
    whole |= {"module.fc.weight": torch.zeros(1000, 2048), "module.fc.bias": torch.zeros(1000)}
    frames = normal(2, 1, 3, 64, 64)
    assert torch.equal(vsfa.frame_features(whole)(frames), trunk(frames))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"q.bias": None}, r"VSFA; 1 key does not fit: missing q\.bias \(1,\)"),
        ({"ann.fc1.weight": torch.zeros(2, 3)}, r"unknown ann\.fc1\.weight \(2, 3\)"),
        ({"q.weight": torch.zeros(32)}, r"q\.weight is \(32,\), expected \(1, 32\)"),
        ({"ann.fc.bias": torch.zeros(7)}, r"ann\.fc\.bias is \(7,\), expected \(128,\)"),
        ({"q.bias": torch.tensor([math.nan])}, r"not finite q\.bias"),
        ({"q.bias": 3}, r"1 key does not fit: no tensor q\.bias \(int\)"),
        # A prefix on some keys is no prefix of all.
        ({"q.bias": None, "module.q.bias": torch.zeros(1)}, r"2 keys .*missing q\.bias.*unknown module\.q\.bias"),
    ],
)
def test_keys_that_do_not_fit_are_counted_and_named(state, changes, words) -> None:
    changed = {key: value for key, value in (state | changes).items() if value is not None}
    with pytest.raises(PublicStateError, match=words):
        vsfa.from_public(changed)


def test_all_misfits_are_named_together(state, resnet_state) -> None:
    with pytest.raises(PublicStateError, match=r"ResNet-50; 275 keys do not fit: missing conv1\.weight .*unknown ann"):
        # 318 keys less 53 counters are missing, and 10 are unknown.
        vsfa.frame_features(state)
    with pytest.raises(PublicStateError, match=r"VSFA; 8 keys do not fit: missing ann\.fc0\.weight .* and 2 more"):
        vsfa.from_public({})
    with pytest.raises(PublicStateError, match=r"fc\.weight is \(10, 2048\), expected \(1000, 2048\)"):
        vsfa.frame_features(resnet_state | {"fc.weight": torch.zeros(10, 2048)})
