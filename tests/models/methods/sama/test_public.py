"""SAMA's network: golden outputs, scores from frames, and the score of its training."""

import pytest
import torch

from models.errors import ShapeError
from models.methods import sama
from models.methods.fast_vqa.losses import fragment_loss
from models.methods.fast_vqa.network import split_clips
from models.methods.fast_vqa.patches import normalised
from models.methods.fast_vqa.public import FragmentWeightsError
from models.methods.sama.config import PUBLISHED
from models.methods.sama.sampling import frame_indices, scaled_fragments, training_score
from tests.models.methods.fast_vqa.golden import check_network, golden_frames, golden_weights
from tests.models.methods.fast_vqa.test_losses import golden_pair
from tests.models.methods.sama.golden import GOLDEN


@pytest.fixture(scope="module")
def weights():
    return golden_weights(base=GOLDEN["base"])


@pytest.fixture(scope="module")
def network(weights):
    return sama.from_public({"state_dict": {f"module.{key}": value for key, value in weights.items()}})


def test_golden_outputs(network):
    case = GOLDEN["model"]
    quality = check_network(network, case)
    assert training_score(quality).tolist() == pytest.approx(case["training_style_score_sum_over_time"], abs=2e-3)


def test_from_frames_to_the_scores_of_clips(network):
    case = GOLDEN["end_to_end"]
    frames = golden_frames(case["frames_seed"], case["frames_shape_TxHxWx3"])
    indices = frame_indices(len(frames), PUBLISHED.sampling, None)
    assert indices[::32] == case["starts"]
    cut = scaled_fragments([frames[index] for index in indices], PUBLISHED.sampling, None)
    pixels = normalised(torch.from_numpy(cut)[None])
    assert [pixels.mean().item(), pixels.std().item()] == pytest.approx(case["normalised_mean_std"], rel=1e-4)
    # The last clip alone, whose end the last frame fills: four take half a minute.
    with torch.inference_mode():
        score = network(split_clips(pixels, clips=4)[3:])
    assert score.item() == pytest.approx(case["clip_scores"][3], abs=5e-4)


def test_the_network_has_no_adaptive_window(network):
    # A smaller input keeps the window of 8 x 7 x 7 and is filled up to it.
    assert not network.fragments_backbone.adaptive
    with torch.inference_mode():
        assert network.quality_map(torch.zeros(1, 3, 4, 64, 64)).shape == (1, 1, 2, 2, 2)


def test_a_key_too_few(weights):
    with pytest.raises(FragmentWeightsError, match=r"not the weights of SAMA; 1 key does not fit: missing vqa_head"):
        sama.from_public({key: value for key, value in weights.items() if key != "vqa_head.fc_last.bias"})


@pytest.mark.parametrize("case", GOLDEN["losses"])
def test_golden_losses(case):
    scores, mos = golden_pair(case["seed"], case["n"])
    terms = fragment_loss(scores, mos, rank_weight=PUBLISHED.training.rank_weight)
    assert [term.item() for term in terms] == pytest.approx([case["total"], case["plcc"], case["rank"]], abs=1e-5)


def test_the_score_of_training_adds_up_time():
    # Two time steps of means 2 and 5.
    quality = torch.tensor([[[[[1.0, 3.0]], [[4.0, 6.0]]]]])
    assert training_score(quality).tolist() == [7.0]
    with pytest.raises(ShapeError, match=r"shape \(1, 2, 1, 2\); needed: \(B, 1, t, h, w\)"):
        training_score(quality[0])
