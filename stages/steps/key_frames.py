"""Which frames of a video objects are looked for in, when the others take over what was found."""

from collections.abc import Sequence


def key_frames(sizes: Sequence[tuple[int, int]], every: int) -> list[int]:
    """For each frame of a video the place of the frame whose boxes it takes: its own, or one before it.

    sizes: (height, width) a frame, in order. every: 1 looks at every frame, k at every k-th, from the first on. Boxes
    are in pixels, so a frame of another size than the one before starts anew.
    """
    sources: list[int] = []
    for place, size in enumerate(sizes):
        anew = not sources or size != sizes[place - 1] or place - sources[-1] == every
        sources.append(place if anew else sources[-1])
    return sources
