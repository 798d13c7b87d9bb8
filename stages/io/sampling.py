"""Which frames of a video are used, by decoded index."""

import math


def spread_indices(n: int, count: int) -> list[int]:
    """`count` evenly spaced indices of 0..n-1, ends included, with repeats when n < count; the middle for count 1."""
    if count == 1:
        return [(n - 1) // 2]
    return [math.floor(step * (n - 1) / (count - 1) + 0.5) for step in range(count)]
