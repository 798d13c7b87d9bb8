"""Groups of videos to parts, by the order of a hash: where a group goes depends on nothing but its name and the seed.

A shuffle would be a draw of all groups at once: one more group, and many of the others move. A threshold on the hash of
each name moves none; the shares hold within sampling error instead of exactly.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def units_of(manifest: pd.DataFrame, *, by_video: bool) -> pd.Series:
    """What is dealt as one: the group of a video, or the video."""
    return manifest["video_id"] if by_video else manifest["group"].fillna(manifest["video_id"])


def position(name: str, *, seed: int) -> float:
    """Where a group stands in the order that the seed gives, in [0, 1): from its name alone, spread evenly."""
    start = hashlib.sha256(f"{seed} {name}".encode()).digest()[:8]
    return int.from_bytes(start, "big") / 2**64


def part_of(name: str, shares: Mapping[str, float], *, seed: int) -> str:
    """The part of a group: the one whose stretch of [0, 1) its position falls into.

    Args:
        name: The group.
        shares: Part -> share, summing up to 1; the stretches stand in this order. With the test part first, no other
            share moves it.
        seed: Seed of the order.
    """
    place, end = position(name, seed=seed), 0.0
    for part, share in shares.items():
        end += share
        if place < end:
            return part
    return [*shares][-1]  # the shares sum up to 1 but for rounding


def deal(manifest: pd.DataFrame, shares: Mapping[str, float], *, seed: int, by_video: bool = False) -> pd.Series:
    """A part for every row, whole groups (or single videos) together."""
    unit = join_equal_files(units_of(manifest, by_video=by_video), manifest["sha256"])
    parts = {name: part_of(name, shares, seed=seed) for name in unit.unique()}
    return unit.map(parts)


def join_equal_files(unit: pd.Series, sha256: pd.Series) -> pd.Series:
    """Units that hold files of equal bytes become one, under the first of their names: no content in two parts.

    A video that is added moves another one only where it makes one unit of two.

    Args:
        unit: What is dealt as one, of every row.
        sha256: Of every row's file; missing where there is none.
    """
    names, unit_of = np.unique(unit.to_numpy(dtype=str), return_inverse=True)
    hashed = sha256.notna().to_numpy()
    _, file_of = np.unique(sha256[hashed].to_numpy(dtype=str), return_inverse=True)
    size = len(names) + (file_of.max() + 1 if len(file_of) else 0)
    edges = unit_of[hashed], len(names) + file_of
    graph = coo_array((np.ones(len(file_of)), edges), shape=(size, size))
    component = connected_components(graph, directed=False)[1]
    first = {part: name for name, part in zip(names[::-1], component[: len(names)][::-1], strict=True)}
    return pd.Series([first[component[index]] for index in unit_of], index=unit.index)
