"""SAMA: FAST-VQA's network on fragments of ever smaller versions of the video.

Source: Liu et al., "Scaling and Masking: A New Paradigm of Data Sampling for Image and Video Quality Assessment" (AAAI
2024, arXiv 2401.02614), and facts about its public code, Sissuire/SAMA at 38c02bf. That code and its weights are
licensed for education and research only. Nothing here is taken from it: this is a build of its own from a description
of what the method computes, under the licence of this project. Weights that you bring along keep their own terms.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.methods.fast_vqa.network import FragmentNet


def from_public(state_dict: Mapping[str, Any]) -> "FragmentNet":
    """The network of a public checkpoint, in evaluation mode; see `sama.public.from_public`."""
    # Reading parameters imports this folder, and shall not wait for torch.
    from models.methods.sama import public

    return public.from_public(state_dict)
