"""VSFA (ACM MM 2019): frozen features of every frame, a GRU, a temporal pooling with memory."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.methods.vsfa.public import frame_features, from_public

__all__ = ["frame_features", "from_public"]


def __getattr__(name: str) -> Any:
    # When it is asked for: `config`, which the params import, then needs no torch.
    if name in __all__:
        from models.methods.vsfa import public

        return getattr(public, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
