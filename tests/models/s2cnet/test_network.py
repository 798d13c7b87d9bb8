"""The whole network: both variants train, few or no objects, batches, configurations that cannot be."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from models.config import problems_of
from models.errors import NonFiniteError, ShapeError
from models.s2cnet import network as s2cnet
from models.s2cnet.network import S2CNet, build_s2cnet
from tests.configs import s2cnet_config

TINY = s2cnet_config(
    backbone="test_resnet",
    reduced_channels=2,
    align_size=3,
    embed_width=8,
    heads=2,
    layers=2,
    mlp_width=16,
    objects=3,
    head_width=12,
    dropout=0.0,
)
CANDIDATES = torch.tensor(
    [[4.0, 4.0, 60.0, 60.0], [0.0, 0.0, 40.0, 40.0], [20.0, 10.0, 64.0, 64.0], [8.0, 0.0, 64.0, 50.0]]
)
OBJECTS = torch.tensor([[10.0, 12.0, 30.0, 33.0], [40.0, 40.0, 60.0, 62.0], [0.0, 30.0, 20.0, 64.0]])
NONE = torch.zeros(0, 4)


def tiny(variant: str, *, readout: str = "nodes", seed: int = 0) -> S2CNet:
    return build_s2cnet(TINY.model_copy(update={"variant": variant, "readout": readout}), seed=seed)


def images(n: int, *, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


BOTH = pytest.mark.parametrize(
    ("variant", "readout"),
    [("paper", "candidate"), ("paper", "nodes"), ("release", "nodes"), ("release", "candidate")],
)


@BOTH
def test_both_variants_learn(variant, readout):
    network = tiny(variant, readout=readout).train()
    inputs = images(2)
    targets = torch.tensor([[1.0, -1.0, 0.5, -0.5], [-1.0, 1.0, 0.0, 0.3]])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        scores = torch.stack(network(inputs, [CANDIDATES] * 2, [OBJECTS, OBJECTS[:1]]))
        loss = (scores - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@BOTH
def test_every_parameter_gets_a_gradient(variant, readout):
    network = tiny(variant, readout=readout).train()
    sum(each.square().sum() for each in network(images(2), [CANDIDATES] * 2, [OBJECTS] * 2)).backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []


@BOTH
def test_a_batch_is_its_images(variant, readout):
    network = tiny(variant, readout=readout).eval()
    inputs = images(3)
    candidates, objects = [CANDIDATES, CANDIDATES[1:2], CANDIDATES[:3]], [OBJECTS[:2], OBJECTS, NONE]
    with torch.inference_mode():
        together = network(inputs, candidates, objects)
        alone = [network.score(*each) for each in zip(inputs, candidates, objects, strict=True)]
    assert [len(each) for each in together] == [4, 1, 3]
    for found, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@BOTH
def test_images_without_objects_get_scores(variant, readout):
    network = tiny(variant, readout=readout).eval()
    with torch.inference_mode():
        found = network(images(2), [CANDIDATES] * 2, [NONE, NONE])
        other = network(images(2), [CANDIDATES] * 2, [OBJECTS[:1], OBJECTS])
    assert torch.isfinite(torch.cat(found)).all()
    assert not torch.allclose(torch.cat(found), torch.cat(other), atol=1e-4)


def test_padding_stays_out_of_the_batch_normalisation():
    """In training the statistics are those of the real candidates: the mean of the hidden layer shows it."""
    network = tiny("release").train()
    seen = []
    next(network.head.children()).register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[0]))
    network(images(2), [CANDIDATES, CANDIDATES[:1]], [OBJECTS, OBJECTS])
    assert seen == [5]


@BOTH
def test_what_all_candidates_share_is_computed_once(variant, readout):
    network: Any = tiny(variant, readout=readout).eval()
    layer = network.graph.layers[0]
    rows: dict[str, list[int]] = {"embedded": [], "gate": [], "keys": []}

    def count(name: str, module: torch.nn.Module) -> None:
        module.register_forward_hook(lambda _module, inputs, _output: rows[name].append(inputs[0][..., 0].numel()))

    count("embedded", network.embed[0])
    count("gate", network.graph.gate.linear)
    count("keys", layer.to_key_value)
    with torch.inference_mode():
        network(images(2), [CANDIDATES] * 2, [OBJECTS] * 2)
    # Two images of 4 candidates and 3 objects: 8 and 6, whatever a candidate's graph holds; never 2 * 4 * 4 = 32.
    assert rows["embedded"] == [14]
    assert rows["keys"] == [8, 6]
    # The second layer's nodes differ from graph to graph.
    assert rows["gate"] == [8, 6, 32]


@BOTH
def test_many_candidates_pass_in_parts(variant, readout, monkeypatch):
    network = tiny(variant, readout=readout).eval()
    inputs, candidates = images(3), [CANDIDATES, CANDIDATES[:1], torch.cat([CANDIDATES] * 2)]
    with torch.inference_mode():
        whole = network(inputs, candidates, [OBJECTS, NONE, OBJECTS[:1]])
        monkeypatch.setattr(s2cnet, "CANDIDATES_A_PASS", 9)  # three of each image at a time
        parts = network(inputs, candidates, [OBJECTS, NONE, OBJECTS[:1]])
    assert [len(each) for each in parts] == [4, 1, 8]
    for found, expected in zip(parts, whole, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_no_candidates_no_scores():
    with torch.inference_mode():
        assert [len(each) for each in tiny("release").eval()(images(2), [NONE, CANDIDATES], [OBJECTS] * 2)] == [0, 4]
        assert len(tiny("release").eval().score(images(1)[0], NONE, OBJECTS)) == 0


def test_the_head_stays_exact_under_autocast():
    network = tiny("release").eval()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        seen = []
        network.head.register_forward_hook(lambda _module, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
        scores = network.score(images(1)[0], CANDIDATES, OBJECTS)
    assert seen == [(torch.float32, torch.float32)]
    assert scores.dtype == torch.float32


def test_the_image_and_the_objects_matter():
    network = tiny("release").eval()
    with torch.inference_mode():
        first = network.score(images(1)[0], CANDIDATES, OBJECTS)
        other_image = network.score(images(1, seed=1)[0], CANDIDATES, OBJECTS)
        moved = network.score(images(1)[0], CANDIDATES, OBJECTS + 3)
    assert not torch.allclose(first, other_image, atol=1e-4)
    assert not torch.allclose(first, moved, atol=1e-5)


def test_seeds():
    before = torch.random.get_rng_state()
    first, again, other = (build_s2cnet(TINY, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["embed.0.weight"], other["embed.0.weight"])


@pytest.mark.parametrize(
    ("inputs", "candidates", "objects", "error", "words"),
    [
        (torch.zeros(1, 3, 60, 64), [CANDIDATES], [NONE], ShapeError, "multiples of 32"),
        (torch.zeros(1, 1, 64, 64), [CANDIDATES], [NONE], ShapeError, "(1, 1, 64, 64)"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), [CANDIDATES], [NONE], ShapeError, "uint8"),
        (torch.zeros(2, 3, 64, 64), [CANDIDATES], [NONE, NONE], ShapeError, "1 lists for 2 images"),
        (torch.zeros(1, 3, 64, 64), [torch.zeros(4)], [NONE], ShapeError, "candidates_xyxy_px[0]"),
        (torch.zeros(1, 3, 64, 64), [CANDIDATES], [torch.full((1, 4), torch.nan)], NonFiniteError, "objects"),
    ],
)
def test_inputs_that_cannot_be(inputs, candidates, objects, error, words):
    network = tiny("release").eval()
    with pytest.raises(error) as caught:
        network(inputs, candidates, objects)
    assert words in str(caught.value)


def test_all_problems_of_a_configuration_are_listed():
    with pytest.raises(ValidationError) as error:
        s2cnet_config(variant="journal", heads=3, layers=0, dropout=1.0)
    text = problems_of(error.value)
    for words in (
        "variant = 'journal': input should be 'paper' or 'release'".replace("input", "Input"),
        "layers = 0: ",
        "dropout = 1.0: ",
    ):
        assert words in text
