"""How many objects proposals cover."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from torchvision.ops import box_iou

from models.detectors.recall import count_covered
from models.errors import ShapeError

OBJECT, NEXT = [0.0, 0.0, 10.0, 10.0], [10.0, 0.0, 20.0, 10.0]


def covered(proposals: list[list[float]], objects: list[list[float]], iou: float = 0.5) -> int:
    return count_covered(torch.tensor(proposals).view(-1, 4), torch.tensor(objects).view(-1, 4), iou=iou)


def test_by_hand() -> None:
    assert covered([OBJECT, NEXT], [NEXT, OBJECT]) == 2
    # 5 x 10 of 10 x 10: an IoU of exactly one half counts.
    assert covered([[0.0, 0.0, 5.0, 10.0]], [OBJECT]) == 1
    assert covered([[0.0, 0.0, 5.0, 10.0]], [OBJECT], iou=0.51) == 0
    assert covered([[50.0, 50.0, 60.0, 60.0]], [OBJECT]) == 0


def test_a_proposal_covers_one_object() -> None:
    # 20 x 10 around both: an IoU of one half with each.
    both = [0.0, 0.0, 20.0, 10.0]
    assert covered([both], [OBJECT, NEXT]) == 1
    assert covered([both, both], [OBJECT, NEXT]) == 2
    assert covered([OBJECT, OBJECT], [OBJECT]) == 1


def test_empty_sides() -> None:
    assert covered([], [OBJECT]) == 0
    assert covered([OBJECT], []) == 0
    assert covered([], []) == 0


def test_arguments_are_kept() -> None:
    proposals, objects = torch.tensor([OBJECT]), torch.tensor([OBJECT])
    count_covered(proposals, objects)
    assert proposals.tolist() == objects.tolist() == [OBJECT]


def test_against_the_best_pairing() -> None:
    random = np.random.default_rng(1)
    equal = 0
    for _ in range(50):
        corners = random.uniform(0, 20, (7, 2))
        boxes = torch.from_numpy(np.concatenate([corners, corners + random.uniform(5, 15, (7, 2))], axis=1))
        proposals, objects = boxes[:4], boxes[4:]
        pairs = csr_matrix((box_iou(proposals, objects) >= 0.2).numpy())
        best = int((maximum_bipartite_matching(pairs) >= 0).sum())
        found = count_covered(proposals, objects, iou=0.2)
        # Any greedy pairing has at least half of the pairs of the best one, and never more.
        assert best / 2 <= found <= best
        equal += found == best
    assert equal > 40


@pytest.mark.parametrize("shape", [(4,), (2, 5), (1, 2, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=rf"objects have shape \({shape[0]},"):
        count_covered(torch.zeros(1, 4), torch.zeros(shape))
