"""RoIAlign and RoDAlign: golden values, a slow loop from the definition, torchvision, and the edges."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import ops

from models.errors import ShapeError
from models.s2cnet.roi import region_features

GOLDEN = json.loads((Path(__file__).parent / "data" / "s2cnet_golden.json").read_text())["ops"]


def both(features: Tensor, boxes: Sequence[Tensor], *, output_size: int, **options: Any) -> Tensor:
    """(sum of N_b, C, 2, P, P): what is inside of every box, and what is outside."""
    flat = region_features(features, boxes, output_size=output_size, **options)
    return flat.reshape(len(flat), features.shape[1], 2, output_size, output_size)


def roi_align(*arguments: Any, **options: Any) -> Tensor:
    return both(*arguments, **options)[:, :, 0]


def rod_align(*arguments: Any, **options: Any) -> Tensor:
    return both(*arguments, **options)[:, :, 1]


def features_of(shape: tuple[int, ...], *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def bilinear(plane: Tensor, y: float, x: float) -> float:
    """One sample under the release's rule, written from its definition."""
    height, width = plane.shape
    top, left = min(math.floor(y), height - 2), min(math.floor(x), width - 2)
    down, right = y - top, x - left
    value = (
        plane[top, left] * (1 - down) * (1 - right)
        + plane[top, left + 1] * (1 - down) * right
        + plane[top + 1, left] * down * (1 - right)
        + plane[top + 1, left + 1] * down * right
    )
    return float(value)


def slow_release(features: Tensor, box: list[float], size: int, scale: float, *, discard: bool) -> Tensor:
    """RoI or RoD values (C, P, P) of one map (C, H, W) and one box, a point at a time."""
    n_channels, height, width = features.shape
    x0, y0, x1, y1 = (edge * scale for edge in box)
    lattice = torch.zeros(n_channels, size + 1, size + 1, dtype=features.dtype)
    for channel in range(n_channels):
        for row in range(size + 1):
            for column in range(size + 1):
                if discard:
                    y, x = row * (height - 1.001) / size, column * (width - 1.001) / size
                    keep = not (y0 <= y <= y1 and x0 <= x <= x1)
                else:
                    y, x = y0 + row * (y1 - y0 + 1) / size, x0 + column * (x1 - x0 + 1) / size
                    keep = 0 <= y < height and 0 <= x < width
                if keep:
                    lattice[channel, row, column] = bilinear(features[channel], y, x)
    return (lattice[:, :-1, :-1] + lattice[:, :-1, 1:] + lattice[:, 1:, :-1] + lattice[:, 1:, 1:]) / 4


@pytest.mark.parametrize(("align", "name"), [(roi_align, "roi_align"), (rod_align, "rod_align")])
def test_golden_values_of_the_release(align, name):
    values = np.random.default_rng(GOLDEN["feature_seed"]).standard_normal(GOLDEN["feature_shape"])
    features = torch.from_numpy(values.astype(np.float32))
    boxes = [torch.tensor(GOLDEN["boxes_xyxy_px"])]
    found = align(
        features,
        boxes,
        output_size=GOLDEN["output_size"],
        spatial_scale=GOLDEN["spatial_scale"],
        rule="release",
    )
    torch.testing.assert_close(found, torch.tensor(GOLDEN[name]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("align", "discard"), [(roi_align, False), (rod_align, True)])
def test_release_rule_against_a_slow_loop(align, discard):
    features = features_of((2, 2, 5, 7), dtype=torch.float64)
    boxes = [
        [
            [3.0, 2.0, 40.0, 30.0],
            [0.0, 0.0, 112.0, 80.0],
            [-20.0, -9.0, 20.0, 50.0],
        ],  # inside, all, over the border
        [[90.0, 60.0, 140.0, 120.0], [50.0, 30.0, 50.0, 30.0]],  # past the far corner, a point
    ]
    found = align(features, [torch.tensor(each) for each in boxes], output_size=4, spatial_scale=1 / 16)
    expected = torch.stack(
        [
            slow_release(features[image], box, 4, 1 / 16, discard=discard)
            for image, each in enumerate(boxes)
            for box in each
        ]
    )
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_aligned_rule_is_torchvisions():
    features = features_of((3, 4, 9, 12), dtype=torch.float64)
    boxes = [
        torch.tensor([[5.0, 3.0, 77.0, 61.0], [-30.0, -14.0, 33.0, 200.0]], dtype=torch.float64),
        torch.zeros(0, 4, dtype=torch.float64),
        torch.tensor([[0.0, 0.0, 96.0, 72.0], [90.0, 70.0, 130.0, 95.0]], dtype=torch.float64),
    ]
    found = roi_align(features, boxes, output_size=5, spatial_scale=1 / 8, rule="aligned")
    expected = ops.roi_align(features, boxes, 5, spatial_scale=1 / 8, sampling_ratio=2, aligned=True)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_aligned_discard_is_the_whole_map_without_the_box():
    features = features_of((1, 2, 6, 6), dtype=torch.float64)
    frame = torch.tensor([[0.0, 0.0, 6.0, 6.0]], dtype=torch.float64)
    # The left half is x <= 3: of 4 bins of 1.5 px the two left ones go, the two right ones stay as they were.
    left = torch.tensor([[0.0, 0.0, 3.0, 6.0]], dtype=torch.float64)
    whole = ops.roi_align(features, [frame], 4, spatial_scale=1.0, sampling_ratio=2, aligned=True)
    found = rod_align(features, [left], output_size=4, spatial_scale=1.0, rule="aligned")
    torch.testing.assert_close(found[..., 2:], whole[..., 2:], atol=1e-12, rtol=0)
    assert torch.equal(found[..., :2], torch.zeros_like(found[..., :2]))


@pytest.mark.parametrize("rule", ["release", "aligned"])
def test_a_box_over_everything_discards_nothing_but_itself(rule):
    features = features_of((1, 3, 8, 8))
    everything = [torch.tensor([[0.0, 0.0, 128.0, 128.0]])]
    found = rod_align(features, everything, output_size=5, spatial_scale=1 / 16, rule=rule)
    assert torch.equal(found, torch.zeros(1, 3, 5, 5))


def test_a_constant_map_gives_its_constant():
    # Bilinear weights sum to 1 wherever the lattice lies inside the map, also where the ratio extrapolates.
    features = torch.full((1, 1, 8, 8), 2.5)
    boxes = [torch.tensor([[16.0, 16.0, 96.0, 80.0]])]
    found = roi_align(features, boxes, output_size=15, spatial_scale=1 / 16)
    torch.testing.assert_close(found, torch.full((1, 1, 15, 15), 2.5), atol=1e-6, rtol=0)


@pytest.mark.parametrize("align", [roi_align, rod_align])
@pytest.mark.parametrize("rule", ["release", "aligned"])
def test_gradients(align, rule):
    features = features_of((2, 2, 4, 5), dtype=torch.float64).requires_grad_()
    boxes = [
        torch.tensor([[-10.0, 5.0, 50.0, 41.0], [0.0, 0.0, 80.0, 64.0]]),
        torch.tensor([[20.0, 8.0, 61.0, 60.0]]),
    ]
    assert torch.autograd.gradcheck(
        lambda values: align(values, boxes, output_size=3, spatial_scale=1 / 16, rule=rule), (features,)
    )


@pytest.mark.parametrize("align", [roi_align, rod_align])
def test_images_without_boxes(align):
    features = features_of((3, 2, 4, 4), dtype=torch.float64)
    box = torch.tensor([[8.0, 8.0, 40.0, 56.0]])
    none = torch.zeros(0, 4)
    found = align(features, [none, box, none], output_size=3, spatial_scale=1 / 16)
    torch.testing.assert_close(found, align(features[1:2], [box], output_size=3, spatial_scale=1 / 16))
    assert align(features, [none] * 3, output_size=3, spatial_scale=1 / 16).shape == (0, 2, 3, 3)


@pytest.mark.parametrize("rule", ["release", "aligned"])
def test_maps_of_one_pixel(rule):
    # One pixel of value 3, kept by RoI (the point 0 lies inside) and by RoD for a box that lies elsewhere.
    features = torch.full((1, 1, 1, 1), 3.0)
    away = [torch.tensor([[40.0, 40.0, 60.0, 60.0]])]
    found = rod_align(features, away, output_size=2, spatial_scale=1 / 16, rule=rule)
    torch.testing.assert_close(found, torch.full((1, 1, 2, 2), 3.0))


def test_region_features_take_channel_by_channel():
    # Each channel is constant: 1, 2, 3. The box covers the whole map, so nothing is outside of it.
    features = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1).expand(1, 3, 8, 8)
    boxes = [torch.tensor([[0.0, 0.0, 8.0, 8.0]])]
    found = region_features(features, boxes, output_size=2, spatial_scale=1.0, rule="aligned")
    # Four values inside, four outside, then the next channel.
    assert found.tolist() == [[1.0] * 4 + [0.0] * 4 + [2.0] * 4 + [0.0] * 4 + [3.0] * 4 + [0.0] * 4]


def test_half_precision_features_keep_the_lattice():
    features = features_of((1, 2, 16, 16))
    boxes = [torch.tensor([[13.0, 10.0, 253.0, 181.0]])]
    full = roi_align(features, boxes, output_size=15, spatial_scale=1 / 16)
    half = roi_align(features.bfloat16(), boxes, output_size=15, spatial_scale=1 / 16)
    assert half.dtype == torch.bfloat16
    # bfloat16 has 8 bits: values of up to about 3, in sums of 4 products.
    torch.testing.assert_close(half.float(), full, atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ("features", "boxes", "words"),
    [
        (torch.zeros(3, 4, 4), [torch.zeros(1, 4)], "(B, C, H, W)"),
        (torch.zeros(2, 3, 4, 4), [torch.zeros(1, 4)], "1 lists of boxes for 2"),
        (torch.zeros(1, 3, 4, 4), [torch.zeros(1, 5)], "(1, 5)"),
    ],
)
def test_wrong_shapes_are_named(features, boxes, words):
    with pytest.raises(ShapeError) as error:
        roi_align(features, boxes, output_size=3, spatial_scale=1 / 16)
    assert words in str(error.value)
