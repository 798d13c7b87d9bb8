"""What networks on a backbone share: names, seeds, and the words for keys that do not fit."""

import pytest
import torch

from models.backbones import BackboneError, check_timm_name, misfits, say_misfits, seeded, shapes_of
from models.errors import listed


def test_a_name_that_timm_lacks_names_the_nearest() -> None:
    check_timm_name("convnext_tiny")
    check_timm_name("convnext_tiny.fb_in1k")
    with pytest.raises(BackboneError, match=r"no backbone 'convnext_tinny'; nearest: .*convnext_tiny"):
        check_timm_name("convnext_tinny")
    with pytest.raises(BackboneError, match="nearest: mobilenet_vx"):
        check_timm_name("mobilenet_vy", others=["mobilenet_vx"])
    with pytest.raises(BackboneError, match="nearest: none"):
        check_timm_name("0")


def test_a_seed_counts_alone_and_leaves_the_global_state() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    with seeded(1):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    with seeded(1):
        assert torch.equal(torch.rand(3), first)
    with seeded(2):
        assert not torch.equal(torch.rand(3), first)


def test_keys_that_do_not_fit() -> None:
    own = {"a": (1,), "b": (2, 3), "norm.num_batches_tracked": ()}
    assert misfits(own, own, counters_needed=True) == {}
    given = {"b": (3, 2), "c": (4,)}
    assert misfits(given, own) == {
        "missing": ["a (1,)"],
        "unknown": ["c (4,)"],
        "of another shape": ["b is (3, 2), expected (2, 3)"],
    }
    assert misfits(given, own, closed=False) == {
        "missing": ["a (1,)"],
        "of another shape": ["b is (3, 2), expected (2, 3)"],
    }
    assert misfits(given, own, counters_needed=True)["missing"] == ["a (1,)", "norm.num_batches_tracked ()"]
    assert say_misfits({"missing": ["a (1,)"]}) == "1 key does not fit: missing a (1,)"
    assert say_misfits({"missing": [*"abcdefgh"], "unknown": ["i"]}) == (
        "9 keys do not fit: missing a, b, c, d, e, f, and 2 more; unknown i"
    )
    assert shapes_of({"a": torch.zeros(2, 3)}) == {"a": (2, 3)}


def test_lists_in_messages() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(["a", "b", "c"], shown=2) == "a, b, and 1 more"
    assert listed(["a"], shown=1, total=5) == "a, and 4 more"
    assert listed([]) == ""
