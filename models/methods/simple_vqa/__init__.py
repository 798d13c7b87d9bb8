"""SimpleVQA (ACM MM 2022): statistics of one frame a second beside frozen motion features, a linear regressor."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.methods.simple_vqa.public import from_public, motion_features

__all__ = ["from_public", "motion_features"]


def __getattr__(name: str) -> Any:
    # When it is asked for: `config`, which the params import, then needs no torch.
    if name in __all__:
        from models.methods.simple_vqa import public

        return getattr(public, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
