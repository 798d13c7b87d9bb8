"""Methods that score videos, one folder each; what the rest of the program knows of them is `interface.Method`.

A method NAME is a folder with two modules beside those of its network: `config`, whose `Params` is its section
`methods.NAME` of params.yaml, and `method`, whose `METHOD` is its class. Nobody else names a method: a further one
costs its folder and its section.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from models.methods.reading import MethodParams

if TYPE_CHECKING:
    from models.methods.interface import Method


@cache
def method_names() -> tuple[str, ...]:
    """The methods that there are, sorted."""
    folders = (module.name for module in iter_modules(__path__) if module.ispkg)
    return tuple(sorted(name for name in folders if find_spec(method_module(name)) is not None))


def method_module(name: str) -> str:
    """The module whose code, with what it imports, decides the values of a method.

    Args:
        name: Of the method.
    """
    return f"{__name__}.{name}.method"


def params_of(name: str) -> type[MethodParams]:
    """The schema of the section `methods.NAME`; reading it does not wait for torch.

    Args:
        name: Of the method.
    """
    section: type[MethodParams] = import_module(f"{__name__}.{name}.config").Params
    return section


def load_method(name: str, params: MethodParams, network: Mapping[str, Any] | None = None) -> "Method":
    """The method of a name; of all methods only its modules are imported.

    Args:
        name: One of `method_names`.
        params: Its section.
        network: What its network is built from, as `Method.network` told it when weights were written; None: what
            follows from the params today.

    Raises:
        pydantic.ValidationError: `network` is that of another version.
    """
    method: Method = import_module(method_module(name)).METHOD(params, network)
    return method
