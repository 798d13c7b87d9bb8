"""Preprocessing, scoring of mixed frames, and the rules that choose a crop."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.errors import NonFiniteError, ShapeError
from models.s2cnet import scoring as cropping
from models.s2cnet.candidates import full_frame, grid_anchors, make_candidates
from models.s2cnet.network import build_s2cnet
from models.s2cnet.scoring import (
    best_index,
    best_index_of_video,
    center_index,
    input_size,
    normalise,
    random_index,
    resize_frame,
    scale_boxes,
    score_frames,
)
from tests.configs import candidate_config, s2cnet_config

GRID = candidate_config()
NO_OBJECTS = np.zeros((0, 4), dtype=np.float32)


def noise(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("frame", "short_side", "expected"),
    [
        ((720, 1280), 256, (256, 448)),  # 455.1 is 14.2 times 32
        ((300, 400), 256, (256, 352)),  # 341.3 is 10.7 times 32
        ((96, 96), 96, (96, 96)),
        ((50, 50), 10, (32, 32)),
        ((1000, 10), 32, (3200, 32)),
    ],
)
def test_input_sizes_by_hand(frame, short_side, expected):
    height, width = frame
    assert input_size(height, width, short_side) == expected


def test_boxes_are_scaled_an_axis_at_a_time_and_rounded_outwards():
    # From 100x200 (h x w) to 256x448: factors 2.24 across, 2.56 down.
    # x: 10.5 * 2.24 = 23.52 -> 23, 60 * 2.24 = 134.4 -> 135; y: 20 * 2.56 = 51.2 -> 51, 75 * 2.56 = 192 -> 192.
    found = scale_boxes(np.array([[10.5, 20, 60, 75]]), old_size=(100, 200), new_size=(256, 448))
    np.testing.assert_array_equal(found, [[23, 51, 135, 192]])
    assert scale_boxes(NO_OBJECTS, old_size=(3, 4), new_size=(32, 32)).shape == (0, 4)


def test_pixels_are_divided_by_256():
    # (128 / 256 - mean) / std, by channel.
    found = normalise(torch.full((1, 2, 3, 3), 128, dtype=torch.uint8))
    assert found.shape == (1, 3, 2, 3)
    expected = [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    torch.testing.assert_close(found[0, :, 1, 2], torch.tensor(expected))


def test_frames_of_the_networks_size_stay_as_they_are():
    frame = noise(64, 96)
    np.testing.assert_array_equal(resize_frame(frame, 64), frame)
    assert resize_frame(noise(50, 75), 64).shape == (64, 96, 3)


@pytest.fixture(scope="module")
def network():
    config = s2cnet_config(
        backbone="test_resnet",
        reduced_channels=2,
        align_size=3,
        embed_width=8,
        heads=2,
        mlp_width=16,
        head_width=12,
    )
    return build_s2cnet(config).eval()


def test_what_a_frame_gets_depends_on_that_frame_alone(network):
    frames = [noise(70, 90), noise(64, 64, seed=1), noise(70, 90, seed=2), noise(70, 90, seed=3)]
    objects = [np.array([[5, 5, 40, 50]], dtype=np.float32), NO_OBJECTS, NO_OBJECTS, NO_OBJECTS + 1]
    together = score_frames(network, frames, objects, short_side_px=64, candidates=GRID, batch_frames=2)
    for frame, boxes, found in zip(frames, objects, together, strict=True):
        alone = score_frames(network, [frame], [boxes], short_side_px=64, candidates=GRID)[0]
        size = (frame.shape[0], frame.shape[1])
        expected = make_candidates(size, GRID, network_size=input_size(*size, 64)).frame_xyxy_px
        np.testing.assert_array_equal(found.candidates_xyxy_px, expected)
        # The bound that docs/concepts/stale.md names.
        np.testing.assert_allclose(found.scores, alone.scores, rtol=0, atol=1e-5)
        assert found.scores.dtype == np.float32


def test_the_network_sees_scaled_boxes():
    seen: dict[str, Any] = {}

    def spy(images: Tensor, candidates: Sequence[Tensor], objects: Sequence[Tensor]) -> list[Tensor]:
        seen.update(images=images, candidates=candidates, objects=objects)
        return [torch.arange(len(each), dtype=torch.float32) for each in candidates]

    frame, boxes = noise(32, 48), np.array([[4, 8, 24, 30]], dtype=np.float32)
    found = score_frames(spy, [frame], [boxes], short_side_px=64, candidates=candidate_config(full_frame=True))[0]
    assert seen["images"].shape == (1, 3, 64, 96)
    assert seen["objects"][0].tolist() == [[8, 16, 48, 60]]
    assert seen["candidates"][0][-1].tolist() == [0, 0, 96, 64]
    assert found.candidates_xyxy_px[-1].tolist() == [0, 0, 48, 32]
    assert found.scores[-1] == len(found.candidates_xyxy_px) - 1


def test_anchors_reach_the_network_unrounded():
    seen: list[Tensor] = []

    def spy(images: Tensor, candidates: Sequence[Tensor], objects: Sequence[Tensor]) -> list[Tensor]:
        seen.extend(candidates)
        return [torch.zeros(len(each)) for each in candidates]

    score_frames(spy, [noise(180, 320)], [NO_OBJECTS], short_side_px=256, candidates=GRID)
    np.testing.assert_array_equal(seen[0].numpy(), grid_anchors(256, 448))


def test_passes_are_bounded_by_their_candidates(monkeypatch):
    monkeypatch.setattr(cropping, "CANDIDATES_A_PASS", 200)
    sizes = []

    def spy(images: Tensor, candidates: Sequence[Tensor], objects: Sequence[Tensor]) -> list[Tensor]:
        sizes.append(len(images))
        return [torch.zeros(len(each)) for each in candidates]

    frames, objects = [noise(64, 64, seed=seed) for seed in range(5)], [NO_OBJECTS] * 5
    # 90 candidates a frame: two frames a pass. All squares of a square: thousands, one frame a pass.
    assert len(score_frames(spy, frames, objects, short_side_px=64, candidates=GRID)) == 5
    assert sizes == [2, 2, 1]
    score_frames(
        spy, frames, objects, short_side_px=64, candidates=candidate_config(candidates="1:1", min_area_fraction=0)
    )
    assert sizes[3:] == [1] * 5


def test_a_whole_that_rounding_moves_grows_as_in_the_release():
    # 100 * (352 / 640) is 55.00000000000001 in float64, and 56 after the release's ceiling.
    found = scale_boxes(np.array([[0, 0, 100, 480]]), old_size=(480, 640), new_size=(256, 352))
    np.testing.assert_array_equal(found, [[0, 0, 56, 256]])


def test_no_frames(network):
    assert score_frames(network, [], [], short_side_px=64, candidates=GRID) == []


def test_errors_name_what_is_wrong(network):
    with pytest.raises(ShapeError, match="2 frames and 1 lists"):
        score_frames(network, [noise(8, 8)] * 2, [NO_OBJECTS], short_side_px=64, candidates=GRID)
    with pytest.raises(ShapeError, match=r"\(8, 8\)"):
        score_frames(network, [np.zeros((8, 8), np.uint8)], [NO_OBJECTS], short_side_px=64, candidates=GRID)

    def broken(images: Tensor, candidates: Sequence[Tensor], objects: Sequence[Tensor]) -> list[Tensor]:
        return [torch.full((len(each),), torch.nan) for each in candidates]

    with pytest.raises(NonFiniteError, match="frame 0"):
        score_frames(broken, [noise(64, 64)], [NO_OBJECTS], short_side_px=64, candidates=GRID)


def test_best_candidates_and_ties():
    assert best_index(np.array([1.0, 3.0, 3.0, 2.0], dtype=np.float32)) == 1
    # Means 2, 2.5, 2.5: the second, though the third is best in the first frame.
    frames = [np.array([4.0, 2.0, 5.0], dtype=np.float32), np.array([0.0, 3.0, 0.0], dtype=np.float32)]
    assert best_index_of_video(frames) == 1
    with pytest.raises(ShapeError, match=r"\(2,\), \(3,\)"):
        best_index_of_video([np.zeros(3, np.float32), np.zeros(2, np.float32)])
    with pytest.raises(ShapeError, match="K at least 1"):
        best_index(np.zeros(0, np.float32))


def test_the_central_candidate_by_hand():
    # Centred anchors run from bin i to bin 11 - i; the largest goes from 0.5 to 11.5 bins of 10 px.
    candidates = make_candidates((120, 120), GRID, network_size=(120, 120)).frame_xyxy_px
    np.testing.assert_array_equal(candidates[center_index(candidates, 120, 120)], [5, 5, 115, 115])
    boxes = np.array([[0, 0, 50, 50], [30, 30, 70, 71], [29, 30, 71, 70], [30, 30, 70, 70]], dtype=np.float32)
    assert center_index(boxes, 100, 100) == 2
    assert center_index(full_frame(20, 30), 20, 30) == 0


def test_chance_is_seeded_and_even():
    draws = [random_index(6, content=f"v{i}", frame_index=3, seed=0) for i in range(600)]
    again = [random_index(6, content=f"v{i}", frame_index=3, seed=0) for i in range(600)]
    assert draws == again
    # 100 each are expected, with a standard deviation of 9: 60 to 140 is more than four of them.
    assert all(60 < count < 140 for count in Counter(draws).values())
    assert len(Counter(draws)) == 6
    other_seed = [random_index(6, content=f"v{i}", frame_index=3, seed=1) for i in range(600)]
    whole_video = [random_index(6, content=f"v{i}", frame_index=None, seed=0) for i in range(600)]
    assert draws != other_seed
    assert draws != whole_video
    # A fixed value: a choice must not change with a release of the libraries.
    assert random_index(90, content="videos/a.mp4", frame_index=0, seed=7) == 42
