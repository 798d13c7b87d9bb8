"""One video of the data set: how badly it fails from frame to frame, its frames, its file."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stages.demo_data.artefacts import ARTEFACTS
from stages.demo_data.scenes import Description, Still, draw, stage_scene
from stages.errors import VideoError

FPS = 8
SIZES = ((96, 96), (112, 96), (96, 128))  # width, height at scale 1
MIN_FRAMES, MAX_FRAMES = 8, 16
# FFV1 is lossless, so that no codec hides an artefact; and FFmpeg's AVI muxer, unlike its Matroska muxer, writes
# neither dates nor random identifiers, so that equal frames make equal bytes.
FOURCC, SUFFIX = "FFV1", "avi"


@dataclass(frozen=True)
class Generator:
    """An imaginary text-to-video model.

    Attributes:
        name: Its name.
        habits: (len(ARTEFACTS),) weights of the ways in which it tends to fail; they sum to 1.
        offset: How badly it fails, added to the level of its videos.
    """

    name: str
    habits: np.ndarray
    offset: float


NAMES = (
    *("aurora", "basalt", "cinder", "dune", "ember", "fjord", "garnet", "harbor", "indigo"),
    *("juniper", "krill", "lumen", "mistral", "nimbus", "onyx", "pollen", "quartz", "ripple"),
    *("saffron", "tundra", "umbra", "vesper", "willow", "xenon", "yarrow", "zephyr"),
)


def make_generators(count: int, rng: np.random.Generator) -> list[Generator]:
    """Make generators whose offsets are evenly spread: the generator alone explains a small, known part of the MOS.

    Args:
        count: How many, at most len(NAMES).
        rng: Draws habits, and the order of the offsets.
    """
    offsets = rng.permutation(np.linspace(-0.14, 0.14, count)) if count > 1 else np.zeros(1)
    habits = rng.dirichlet(np.full(len(ARTEFACTS), 1.5), count)
    return [Generator(NAMES[i], habits[i], float(offsets[i])) for i in range(count)]


def draw_severities(
    generator: Generator, n_frames: int, rng: np.random.Generator, *, restlessness: float
) -> np.ndarray:
    """Draw how badly a video fails: a level and a mixture of artefacts per video, and a wander between frames.

    Args:
        generator: What makes the video.
        n_frames: Its number of frames.
        rng: Draws all of it.
        restlessness: Factor of the wander; 0 makes all frames equally bad.

    Returns:
        (n_frames, len(ARTEFACTS)), 0..1.
    """
    level = rng.beta(1.1, 1.1) + generator.offset
    mixture = rng.dirichlet(0.35 + 2.0 * generator.habits)
    weights = 0.4 + 0.6 * mixture / mixture.max()
    spread = restlessness * rng.uniform(0.02, 0.25)
    wander = rng.standard_normal(n_frames)
    for i in range(1, n_frames):
        wander[i] = 0.4 * wander[i - 1] + np.sqrt(1 - 0.4**2) * wander[i]
    severities: np.ndarray = ((level + spread * wander).clip(0, 1)[:, None] * weights).clip(0, 1)
    return severities


@dataclass(frozen=True)
class Clip:
    """A rendered video.

    Attributes:
        stills: Its frames, in order.
        severities: (F, len(ARTEFACTS)), 0..1, of the artefacts in them.
    """

    stills: tuple[Still, ...]
    severities: np.ndarray


def render_clip(
    description: Description, generator: Generator, rng: np.random.Generator, *, scale: float, restlessness: float
) -> Clip:
    """Render one video of a description as the generator would make it.

    Args:
        description: What the video shows.
        generator: How it fails.
        rng: Draws everything else.
        scale: Factor of the frame's size.
        restlessness: See `draw_severities`.
    """
    width, height = scaled_size(rng, scale)
    n_frames = int(rng.integers(MIN_FRAMES, MAX_FRAMES + 1))
    severities = draw_severities(generator, n_frames, rng, restlessness=restlessness)
    scene = stage_scene(description, rng, width=width, height=height)
    stills = tuple(draw(scene, i / (n_frames - 1), severities[i], rng) for i in range(n_frames))
    return Clip(stills, severities)


def scaled_size(rng: np.random.Generator, scale: float) -> tuple[int, int]:
    """One of SIZES (width, height), scaled and rounded to even numbers, as video codecs need them."""
    width, height = SIZES[rng.integers(len(SIZES))]
    return 2 * round(width * scale / 2), 2 * round(height * scale / 2)


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    """Write frames losslessly.

    Args:
        path: The file.
        frames: uint8 RGB (H, W, 3), all of one size.

    Raises:
        VideoError: OpenCV cannot write such a file.
    """
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*FOURCC), FPS, (width, height))
    if not writer.isOpened():
        raise VideoError(f"{path}: this build of OpenCV cannot write {FOURCC} into .{SUFFIX}")
    try:
        for frame in frames:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()
