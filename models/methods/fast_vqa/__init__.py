"""FAST-VQA: raw patches of a video on a grid, a Video-Swin that knows their borders, a score for every place.

Source: Wu et al., "FAST-VQA: Efficient End-to-end Video Quality Assessment with Fragment Sampling" (ECCV 2022, arXiv
2207.02595) and facts about its public code, VQAssessment/FAST-VQA-and-FasterVQA at 9f264e4 (MIT).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from models.methods.fast_vqa.network import FragmentNet


def from_public(state_dict: Mapping[str, Any], variant: Literal["B", "M"] = "B") -> "FragmentNet":
    """The network of a public checkpoint, in evaluation mode; see `fast_vqa.public.from_public`."""
    # Reading parameters imports this folder, and shall not wait for torch.
    from models.methods.fast_vqa import public

    return public.from_public(state_dict, variant)
