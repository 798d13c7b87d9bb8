"""Surfaces of the rendered scenes: scalar patterns, and the background textures made of them.

A pattern is float32 of shape (H, W) in 0..1; a texture is float32 RGB of shape (H, W, 3) in 0..1. Every function draws
its randomness from the generator that it is given, so the same generator state gives the same pixels.
"""

from collections.abc import Callable

import cv2
import numpy as np

Pattern = Callable[[np.random.Generator, int, int, float], np.ndarray]
Colour = tuple[float, float, float]


def smooth_noise(rng: np.random.Generator, height: int, width: int, cell_px: float) -> np.ndarray:
    """Noise without hard edges whose bumps are about `cell_px` wide."""
    rows, columns = (max(2, round(side / cell_px) + 1) for side in (height, width))
    grid = rng.random((rows, columns), dtype=np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def fractal_noise(rng: np.random.Generator, height: int, width: int, cell_px: float) -> np.ndarray:
    """Four octaves of smooth noise, the coarsest `cell_px` wide, each finer one at half the weight."""
    total = np.zeros((height, width), np.float32)
    for octave in range(4):
        total += smooth_noise(rng, height, width, max(1.0, cell_px / 2**octave)) / 2**octave
    return _stretched(total)


def _stretched(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return ((values - low) / max(high - low, 1e-6)).astype(np.float32)


def _cells(
    rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray, *, joint: float, depth: float
) -> np.ndarray:
    """Shade per cell of a grid given in cell units, dark within `joint` of a cell's border."""
    row, column = np.floor(rows).astype(int), np.floor(columns).astype(int)
    shades = 1 - depth * rng.random((row.max() - row.min() + 1, column.max() - column.min() + 1))
    inside = (rows - row > joint) & (columns - column > joint)
    return np.where(inside, shades[row - row.min(), column - column.min()], 0.0).astype(np.float32)


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return y, x


def _brick(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    y, x = _grid(height, width)
    rows = y / (7 * scale)
    columns = x / (15 * scale) + 0.5 * (np.floor(rows) % 2)
    shades = _cells(rng, rows, columns, joint=0.13, depth=0.5)
    return 0.85 * shades + 0.15 * rng.random((height, width), dtype=np.float32)


def _tiles(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    y, x = _grid(height, width)
    shades = _cells(rng, y / (13 * scale), x / (13 * scale), joint=0.09, depth=0.35)
    return 0.75 * shades + 0.25 * fractal_noise(rng, height, width, 12 * scale)


def _planks(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    y, x = _grid(height, width)
    shades = _cells(rng, y / (11 * scale), x / (70 * scale) + 0.5, joint=0.1, depth=0.4)
    grain = cv2.resize(
        rng.random((height, max(2, round(width / (14 * scale)))), dtype=np.float32),
        (width, height),
        interpolation=cv2.INTER_LINEAR,
    )
    return 0.65 * shades + 0.35 * grain


def _water(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    y, _ = _grid(height, width)
    bend = 9 * smooth_noise(rng, height, width, 22 * scale)
    waves: np.ndarray = 0.5 + 0.5 * np.sin((y / scale + bend) * 0.75)
    return waves


def _pebbles(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    count = max(4, round(height * width / (60 * scale**2)))
    seeds = np.full((height, width), 255, np.uint8)
    seeds[rng.integers(0, height, count), rng.integers(0, width, count)] = 0
    distance, labels = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_CCOMP
    )
    shades = rng.random(int(labels.max()) + 1, dtype=np.float32)[labels]
    pebbles: np.ndarray = (0.35 + 0.65 * shades) * (1 - (distance / (7.5 * scale)).clip(0, 1) ** 2)
    return pebbles


def _sand(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    grains = cv2.GaussianBlur(rng.random((height, width), dtype=np.float32), (0, 0), 0.6 * scale)
    return 0.6 * _stretched(grains) + 0.4 * fractal_noise(rng, height, width, 30 * scale)


def _grass(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    blades = cv2.GaussianBlur(
        rng.random((height, width), dtype=np.float32), (0, 0), sigmaX=0.5 * scale, sigmaY=2.2 * scale
    )
    return 0.7 * _stretched(blades) + 0.3 * fractal_noise(rng, height, width, 24 * scale)


def _clouds(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    return fractal_noise(rng, height, width, 38 * scale)


# Words of the prompt after "over" -> pattern, colour of its dark and of its bright parts.
BACKGROUNDS: dict[str, tuple[Pattern, Colour, Colour]] = {
    "brick": (_brick, (0.42, 0.36, 0.33), (0.72, 0.38, 0.28)),
    "stone tiles": (_tiles, (0.35, 0.36, 0.40), (0.72, 0.72, 0.70)),
    "wooden planks": (_planks, (0.28, 0.17, 0.09), (0.70, 0.50, 0.30)),
    "rippling water": (_water, (0.08, 0.26, 0.42), (0.45, 0.68, 0.78)),
    "pebbles": (_pebbles, (0.18, 0.17, 0.17), (0.68, 0.64, 0.58)),
    "sand": (_sand, (0.58, 0.46, 0.31), (0.88, 0.79, 0.60)),
    "grass": (_grass, (0.10, 0.24, 0.07), (0.46, 0.64, 0.25)),
    "drifting clouds": (_clouds, (0.36, 0.52, 0.78), (0.92, 0.94, 0.97)),
}


def background_texture(name: str, rng: np.random.Generator, *, height: int, width: int, scale: float) -> np.ndarray:
    """Draw a background; its two colours vary a little from one call to the next.

    Args:
        name: A key of BACKGROUNDS.
        rng: Draws pattern and colours.
        height: Pixels.
        width: Pixels.
        scale: Coarseness; 1 is the usual one.

    Returns:
        float32 RGB (height, width, 3), 0..1.
    """
    pattern, dark, bright = BACKGROUNDS[name]
    values = pattern(rng, height, width, scale)[..., None].clip(0, 1)
    shift = rng.uniform(-0.06, 0.06, (2, 3))
    ends = (np.array([dark, bright]) + shift).clip(0, 1)
    texture: np.ndarray = (ends[0] + (ends[1] - ends[0]) * values).astype(np.float32)
    return texture
