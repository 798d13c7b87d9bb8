import pytest
from torch import Tensor

from models.methods import fast_vqa
from models.methods.fast_vqa.config import NETWORK_M
from models.methods.fast_vqa.network import FragmentNet
from tests.models.methods.fast_vqa.golden import GOLDEN, golden_weights


@pytest.fixture(scope="package")
def weights_b() -> dict[str, Tensor]:
    return golden_weights(base=GOLDEN["base"])


@pytest.fixture(scope="package")
def network_b(weights_b: dict[str, Tensor]) -> FragmentNet:
    return fast_vqa.from_public(weights_b)


@pytest.fixture(scope="package")
def weights_m() -> dict[str, Tensor]:
    return golden_weights(NETWORK_M, base=GOLDEN["m_base"])


@pytest.fixture(scope="package")
def network_m(weights_m: dict[str, Tensor]) -> FragmentNet:
    return fast_vqa.from_public(weights_m, variant="M")
