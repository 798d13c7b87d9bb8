"""The public checkpoint: golden scores, and every key accounted for."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.s2cnet.network import GAICV1, GAICV2, build_s2cnet, from_release
from models.s2cnet.release import CheckpointError, release_name, release_shape

DATA = Path(__file__).parent / "data"
GOLDEN = json.loads((DATA / "s2cnet_golden.json").read_text())


def release_values() -> dict[str, Tensor]:
    """Names and shapes of the release, with the values that the golden scores were computed with."""
    state = {}
    for index, line in enumerate((DATA / "s2cnet_checkpoint_keys.txt").read_text().splitlines()):
        match = re.fullmatch(r"(\S+) \(([\d, ]*)\) (\w+)", line)
        assert match is not None, line
        name, shape = match[1], tuple(int(part) for part in match[2].split(",") if part.strip())
        values: Any = np.random.default_rng(index).standard_normal(shape).astype(np.float32)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
            continue
        if name.endswith("running_var"):
            values = 0.5 + np.abs(values)
        elif len(shape) >= 2:
            values = values * math.sqrt(2 / math.prod(shape[1:]))
        elif name.endswith("weight"):
            values = 1 + 0.1 * values
        else:
            values = 0.1 * values
        state[name] = torch.from_numpy(np.asarray(values, dtype=np.float32))
    return state


@pytest.fixture(scope="module")
def release_state() -> dict[str, Tensor]:
    return release_values()


@pytest.fixture(scope="module")
def network(release_state):
    return from_release(release_state)


@pytest.fixture(scope="module")
def golden_image() -> Tensor:
    values = np.random.default_rng(10000).standard_normal(GOLDEN["image_shape"])
    return torch.from_numpy(values.astype(np.float32))


CANDIDATES = torch.tensor(GOLDEN["candidates_xyxy_px"])
OBJECTS = torch.tensor(GOLDEN["object_boxes_xyxy_px"], dtype=torch.float32)


def test_golden_scores(network, golden_image):
    with torch.inference_mode():
        scores = network.score(golden_image[0], CANDIDATES, OBJECTS)
    # 1e-4 is what float32 allows between two orders of summation through the whole network.
    torch.testing.assert_close(scores, torch.tensor(GOLDEN["scores"]), atol=1e-4, rtol=0)


def test_a_batch_scores_as_its_images_alone(network, golden_image):
    other = golden_image.flip(3)
    with torch.inference_mode():
        first, second, third = network(
            torch.cat([golden_image, other, golden_image]),
            [CANDIDATES, CANDIDATES[:7], CANDIDATES[40:]],
            [OBJECTS, OBJECTS[:2], OBJECTS],
        )
        alone = network.score(other[0], CANDIDATES[:7], OBJECTS[:2])
    golden = torch.tensor(GOLDEN["scores"])
    torch.testing.assert_close(first, golden, atol=1e-4, rtol=0)
    torch.testing.assert_close(third, golden[40:], atol=1e-4, rtol=0)
    torch.testing.assert_close(second, alone, atol=1e-5, rtol=0)


def test_objects_past_the_fifth_are_not_looked_at(network, golden_image):
    extra = torch.cat([OBJECTS, torch.tensor([[100.0, 100.0, 180.0, 190.0]])])
    with torch.inference_mode():
        found = network.score(golden_image[0], CANDIDATES[:5], extra)
        expected = network.score(golden_image[0], CANDIDATES[:5], OBJECTS)
    assert torch.equal(found, expected)


def test_every_key_has_one_place(release_state, network):
    # In the checkpoint's own shapes, as the published list of keys has them.
    own = network.state_dict()
    assert {release_name(place): release_shape(place, own) for place in own} == {
        key: tuple(value.shape) for key, value in release_state.items()
    }
    assert len(release_state) == len(own) == 367
    assert network.config == GAICV2
    assert not network.training


def test_a_wrapped_checkpoint(release_state, golden_image):
    wrapped = {f"module.{key}": value for key, value in release_state.items()}
    with torch.inference_mode():
        scores = from_release(wrapped).score(golden_image[0], CANDIDATES[:3], OBJECTS)
    torch.testing.assert_close(scores, torch.tensor(GOLDEN["scores"][:3]), atol=1e-4, rtol=0)


def test_all_problems_are_listed_together(release_state):
    damaged = dict(release_state)
    del damaged["DimRed.bias"]
    damaged["Feat_ext.feature3.0.1.conv.2.weight"] = torch.zeros(3)
    damaged["surprise"] = torch.zeros(2, 2)
    damaged["node_emb.0.weight"] = torch.zeros(256, 1296)
    with pytest.raises(CheckpointError) as error:
        from_release(damaged)
    text = str(error.value)
    assert "4 keys do not fit" in text
    assert "missing DimRed.bias (8,)" in text
    assert "unknown Feat_ext.feature3.0.1.conv.2.weight (3,)" in text
    assert ", surprise (2, 2)" in text
    assert "node_emb.0.weight is (256, 1296), expected (256, 3600)" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # As many numbers as the head wants, in another order: a wrong network if it were loaded.
        ({"FC_layers.0.0.weight": torch.zeros(768, 16, 6, 16)}, r"\(768, 16, 6, 16\), expected \(768, 6, 16, 16\)"),
        ({"FC_layers.0.0.weight": torch.zeros(768, 1536)}, r"\(768, 1536\), expected \(768, 6, 16, 16\)"),
        # Names that belong to another part of the backbone, and to the other release's head.
        ({"Feat_ext.feature4.0.0.0.weight": torch.zeros(32, 3, 3, 3)}, "unknown Feat_ext.feature4.0.0.0.weight"),
        ({"FC_layers.7.weight": torch.zeros(1, 128, 1, 1)}, "unknown FC_layers.7.weight"),
        ({"module.DimRed.bias": torch.zeros(8)}, r"there twice .* DimRed\.bias"),
        ({"DimRed.bias": torch.full((8,), math.nan)}, "not finite DimRed.bias"),
        ({"epoch": 3}, r"no tensor epoch \(int\)"),
    ],
)
def test_what_would_load_a_wrong_network_is_refused(release_state, changes, words):
    with pytest.raises(CheckpointError, match=words):
        from_release(release_state | changes)


def test_the_network_of_gaicv1(release_state):
    # Configuration of that release: 9x9 cells (8 * 2 * 81 = 1296 values a node), 10 objects, the score from a
    # linear layer over the candidate's node.
    state = {key: value for key, value in release_state.items() if not key.startswith("FC_layers")}
    generator = torch.Generator().manual_seed(0)
    state["node_emb.0.weight"] = torch.randn(256, 1296, generator=generator) / 36
    state["FC_layers.weight"] = torch.randn(1, 256, generator=generator)
    state["FC_layers.bias"] = torch.tensor([0.25])
    network: Any = from_release(state)
    assert network.config == GAICV1
    image = torch.randn(3, 64, 64, generator=generator)
    boxes = torch.tensor([[4.0, 4.0, 50.0, 60.0], [10.0, 0.0, 64.0, 64.0]])
    with torch.inference_mode():
        scores = network.score(image, boxes, boxes[:1])
        # The last layer computes the candidate's row alone: the same as all rows, of which the first is read.
        network.graph.candidate_only = False
        network.head = torch.nn.Sequential(FirstNode(256), network.head)
        everything = network.score(image, boxes, boxes[:1])
    torch.testing.assert_close(scores, everything, atol=1e-5, rtol=1e-5)


class FirstNode(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, nodes: Tensor) -> Tensor:
        return nodes[:, : self.width]


def test_a_network_of_ours_is_no_release():
    with pytest.raises(CheckpointError, match=r"unknown features\.backbone"):
        from_release(build_s2cnet(GAICV2).state_dict())
