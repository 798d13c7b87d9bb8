"""FAST-VQA and SAMA as the stages see them: samples, pieces, losses, starts, and videos that are too small."""

import numpy as np
import pytest
import torch

from models.methods import load_method, method_names
from models.methods.fast_vqa.clips import FragmentSamplingError
from models.methods.fast_vqa.family import FragmentMethod
from models.methods.fast_vqa.losses import OneVideoError, fragment_loss
from models.methods.fast_vqa.network import split_clips
from models.methods.fast_vqa.patches import normalised
from models.methods.fast_vqa.public import FragmentWeightsError
from models.methods.interface import MethodError, VideoView
from models.methods.reading import AllFrames
from models.methods.sama.sampling import training_score
from tests.configs import shipped_section

NAMES = ["fast_vqa", "sama"]


def method_of(name: str) -> FragmentMethod:
    found = load_method(name, shipped_section(name))
    assert isinstance(found, FragmentMethod)
    return found


def video(n_frames: int, *, height: int = 160, width: int = 170, seed: int = 0) -> VideoView:
    random = np.random.default_rng(seed)
    return VideoView(list(random.integers(0, 256, (n_frames, height, width, 3), dtype=np.uint8)))


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_a_clip_in_training_and_all_clips_at_test(name: str) -> None:
    assert name in method_names()
    method, view = method_of(name), video(13)
    assert method.params.plan(count=3) == AllFrames()
    one, other = (method.sample(view, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert tuple(one.shape) == method.sample_shape(6) == (3, 6, 128, 128)
    assert not torch.equal(one, other)
    test = method.sample(view, None)
    assert tuple(test.shape) == (3, 12, 128, 128)
    torch.testing.assert_close(test, method.sample(view, None), rtol=0, atol=0)
    pieces = method.pieces(view)
    torch.testing.assert_close(torch.cat([piece.values for piece in pieces], dim=1), test, rtol=0, atol=0)


def test_pieces_say_which_frames_they_show() -> None:
    # FAST-VQA, 13 frames, 8 places for a clip of 6, two clips: 0.5 * 8 / 2 = 2 and 6.
    segments = [piece.segments for piece in method_of("fast_vqa").pieces(video(13))]
    assert segments == [[[2, 3, 4, 5, 6, 7]], [[6, 7, 8, 9, 10, 11]]]
    # SAMA: parts of 6 frames, a clip at the start of each.
    segments = [piece.segments for piece in method_of("sama").pieces(video(13))]
    assert segments == [[[0, 1, 2, 3, 4, 5]], [[6, 7, 8, 9, 10, 11]]]


@pytest.mark.parametrize("name", NAMES)
def test_a_video_gets_the_mean_of_its_clips(name: str) -> None:
    method, view = method_of(name), video(13)
    network = method.build(seed=3).eval()
    with torch.inference_mode():
        output = network(method.sample(view, None)[None])
        alone = [method.score(network, piece.values[None]) for piece in method.pieces(view)]
        clips = split_clips(normalised(method.sample(view, None)[None]), clips=2)
        expected = network.fragments(clips)
    torch.testing.assert_close(torch.cat([each.scores[0] for each in alone]), expected)
    torch.testing.assert_close(method.scores(output), expected.mean(dim=0, keepdim=True))
    assert all(each.deviations.eq(0).all() for each in alone)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_training_compares(name: str) -> None:
    """FAST-VQA compares means, SAMA sums over time: its rank term is larger, its correlation the same."""
    method = method_of(name)
    maps = torch.randn(4, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mos = torch.tensor([10.0, 80.0, 40.0, 30.0])
    compared = training_score(maps) if name == "sama" else maps.mean(dim=(1, 2, 3, 4))
    expected = fragment_loss(compared, mos, rank_weight=0.3)
    torch.testing.assert_close(method.loss(maps, mos, {}), expected.total)
    terms = method.terms(maps, mos, {})
    assert {key: value.tolist() for key, value in terms.items()} == {
        "plcc": [pytest.approx(expected.plcc.item())] * 4,
        "rank": [pytest.approx(expected.rank.item())] * 4,
    }
    with pytest.raises(OneVideoError, match="a batch of 1 video has no order"):
        method.loss(maps[:1], mos[:1], {})
    assert method.least_batch == 2


@pytest.mark.parametrize("name", NAMES)
def test_rates(name: str) -> None:
    method = method_of(name)
    network = method.build(seed=0)
    backbone, head = method.groups(network, weight_decay=0.05, layer_decay=1)
    assert (backbone["lr_scale"], head["lr_scale"]) == (0.5, 1)
    assert len(backbone["params"]) + len(head["params"]) == len(list(network.parameters()))
    with pytest.raises(MethodError, match="allowed: layer_decay 1"):
        method.groups(network, weight_decay=0.05, layer_decay=0.7)
    # 4 steps an epoch, 2 epochs, half of them with a rising rate: 0, 1/4 .. 1, then (1 + cos(pi k / 8)) / 2.
    found = [method.rate_factor(step, epochs=2, steps_per_epoch=4, warmup_fraction=0.5) for step in range(8)]
    assert found == pytest.approx([0, 0.25, 0.5, 0.75, 1, 0.9619398, 0.8535534, 0.6913417], abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_starts_from_public_weights(name: str) -> None:
    method = method_of(name)
    assert method.start() is None
    source = method.build(seed=5)
    for state in (source.fragments.state_dict(), {f"module.{k}": v for k, v in source.fragments.state_dict().items()}):
        network = method.build(seed=6)
        method.start_from(network, state)
        for key, value in network.state_dict().items():
            torch.testing.assert_close(value, source.state_dict()[key], rtol=0, atol=0)
    # A Video-Swin fills the backbone alone.
    network = method.build(seed=6)
    head = network.fragments.vqa_head.fc_last.weight.clone()
    swin = {f"backbone.{key}": value for key, value in source.fragments.fragments_backbone.state_dict().items()
            if "fragment_position" not in key}  # fmt: skip
    method.start_from(network, swin | {"cls_head.fc_cls.bias": torch.zeros(400)})
    torch.testing.assert_close(network.fragments.vqa_head.fc_last.weight, head, rtol=0, atol=0)
    name_of = "fragments_backbone.patch_embed.proj.weight"
    found, wanted = (each.fragments.state_dict()[name_of] for each in (network, source))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    with pytest.raises(FragmentWeightsError, match="these are not the weights of a Video-Swin"):
        method.start_from(network, {"backbone.conv1.weight": torch.zeros(1)})


def test_starts_say_where_a_file_is_served() -> None:
    section = shipped_section("fast_vqa")
    start = load_method("fast_vqa", section.model_copy(update={"pretrained": "weights/FAST_VQA_B_1_4.pth"})).start()
    assert start is not None
    assert (start.key, start.path, start.is_timm) == ("pretrained", "weights/FAST_VQA_B_1_4.pth", False)
    assert start.url.endswith("/v2.0.0/FAST_VQA_B_1_4.pth")
    other = load_method("sama", shipped_section("sama").model_copy(update={"pretrained": "own.pth"})).start()
    assert other is not None
    assert other.url == ""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("n_frames", "height", "width"), [(1, 160, 170), (2, 160, 170), (13, 20, 300)])
def test_short_videos_and_small_frames_are_scored(name: str, n_frames: int, height: int, width: int) -> None:
    """One frame, fewer than a clip has, frames below the grid of 128 pixels: frames repeat, and are enlarged."""
    method, view = method_of(name), video(n_frames, height=height, width=width)
    for sample in (method.sample(view, None), method.sample(view, torch.Generator().manual_seed(0))):
        assert sample.shape[0] == 3
        assert sample.float().std() > 1
    for piece in method.pieces(view):
        assert set(piece.segments[0]) <= set(range(n_frames))


@pytest.mark.parametrize("name", NAMES)
def test_videos_without_a_sample(name: str) -> None:
    method = method_of(name)
    with pytest.raises(FragmentSamplingError, match="the video has 0 frames; needed: at least 1"):
        method.pieces(VideoView([]))
    mixed = VideoView([*video(6).frames, *video(6, width=180).frames])
    with pytest.raises(FragmentSamplingError, match="the same for all"):
        method.pieces(mixed)
