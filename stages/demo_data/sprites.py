"""Sprites: one textured object each, cut out and anti-aliased, as premultiplied RGBA.

Premultiplied means that colour is already weighted by alpha, so that shifting, warping and blurring a sprite mixes no
background colour into it.
"""

from collections.abc import Callable

import cv2
import numpy as np

from stages.demo_data.textures import Colour

OVERSAMPLING = 4  # shapes are drawn this much larger and averaged down: smooth edges without a special rasteriser

COLOURS: dict[str, Colour] = {
    "red": (0.86, 0.16, 0.14),
    "orange": (0.95, 0.52, 0.10),
    "yellow": (0.95, 0.85, 0.18),
    "green": (0.18, 0.66, 0.26),
    "cyan": (0.15, 0.75, 0.80),
    "blue": (0.15, 0.30, 0.86),
    "purple": (0.56, 0.22, 0.74),
    "pink": (0.95, 0.48, 0.68),
}


def _polygon(radii: list[float], *, turn: float) -> np.ndarray:
    angles = turn + 2 * np.pi * np.arange(len(radii)) / len(radii)
    outline: np.ndarray = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array(radii)[:, None]
    return outline


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y + 2.5], axis=1) / 17


def _crescent() -> np.ndarray:
    outer = np.linspace(0.28 * np.pi, 1.72 * np.pi, 40)
    inner = outer[::-1]
    rim = np.stack([np.cos(outer), np.sin(outer)], axis=1)
    bite = np.stack([0.42 + 0.80 * np.cos(inner), 0.80 * np.sin(inner)], axis=1)
    return np.concatenate([rim, bite])


def _cross() -> np.ndarray:
    a, b = 0.95, 0.36
    corners = [(b, a), (b, b), (a, b), (a, -b), (b, -b), (b, -a)]
    return np.array(corners + [(-x, -y) for x, y in corners])


def _normalised(outline: np.ndarray) -> np.ndarray:
    """The outline in the middle of its bounding box, scaled to the area of a disc of radius 0.85, 1.3 at its farthest.

    Thin shapes would otherwise show less of any artefact than full ones.
    """
    outline = outline - (outline.min(axis=0) + outline.max(axis=0)) / 2
    area = cv2.contourArea(outline.astype(np.float32))
    factor = np.sqrt(np.pi * 0.85**2 / area)
    scaled: np.ndarray = outline * min(factor, 1.3 / np.linalg.norm(outline, axis=1).max())
    return scaled


# Outlines in units of the object's radius, y downwards.
SHAPES: dict[str, np.ndarray] = {
    name: _normalised(outline)
    for name, outline in {
        "disc": _polygon([0.95] * 64, turn=0.0),
        "square": _polygon([1.1] * 4, turn=np.pi / 4),
        "triangle": _polygon([1.1] * 3, turn=-np.pi / 2),
        "hexagon": _polygon([1.0] * 6, turn=0.0),
        "star": _polygon([1.1, 0.5] * 5, turn=-np.pi / 2),
        "cross": _cross(),
        "heart": _heart(),
        "crescent": _crescent(),
    }.items()
}


def _axes(size: int, turns: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of a size x size image, y then x, that run from 0 to `turns` periods of a marking."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) * (turns / size)
    return y, x


def _striped(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = _axes(size, rng.uniform(9, 12))
    angle = rng.uniform(0, np.pi)
    mask: np.ndarray = (x * np.cos(angle) + y * np.sin(angle)) % 1 < 0.5
    return mask


def _checkered(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = _axes(size, rng.uniform(9, 12))
    mask: np.ndarray = (np.floor(y) + np.floor(x)) % 2 == 0
    return mask


def _dotted(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = _axes(size, rng.uniform(8, 10))
    mask: np.ndarray = np.hypot(y % 1 - 0.5, x % 1 - 0.5) < 0.33
    return mask


def _latticed(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = _axes(size, rng.uniform(8, 10))
    mask: np.ndarray = ((x + y) / 1.4 % 1 < 0.3) | ((x - y) / 1.4 % 1 < 0.3)
    return mask


# Word of the prompt -> where an object shows its second colour. All are crisp and about equally fine: a good object is
# full of detail, so that its loss shows.
MARKINGS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "striped": _striped,
    "checkered": _checkered,
    "dotted": _dotted,
    "latticed": _latticed,
}


def make_sprite(shape: str, colour: str, marking: str, rng: np.random.Generator, *, diameter_px: float) -> np.ndarray:
    """Draw one object, upright.

    Args:
        shape: A key of SHAPES.
        colour: A key of COLOURS.
        marking: A key of MARKINGS.
        rng: Varies colour and marking.
        diameter_px: Diameter of the object.

    Returns:
        float32 premultiplied RGBA (S, S, 4) in 0..1 with the object in its middle. S is about 1.5 diameters, so that
        the object can turn without touching the border.
    """
    side = round(diameter_px * 1.5) + 2
    big = side * OVERSAMPLING
    radius = diameter_px * OVERSAMPLING / 2
    mask = np.zeros((big, big), np.uint8)
    cv2.fillPoly(mask, [np.round(SHAPES[shape] * radius + big / 2).astype(np.int32)], 255)

    base = np.array(COLOURS[colour]) * rng.uniform(0.85, 1.1)
    second = np.full(3, 0.97)
    rgb = np.where(MARKINGS[marking](rng, big)[..., None], second, base)
    rgb = rgb * _shading(mask, radius)[..., None]

    alpha = (mask / 255.0)[..., None]
    sprite = np.concatenate([rgb.clip(0, 1) * alpha, alpha], axis=2).astype(np.float32)
    return cv2.resize(sprite, (side, side), interpolation=cv2.INTER_AREA)


def _shading(mask: np.ndarray, radius: float) -> np.ndarray:
    """Brightness that gives the object body: lit from above left, and a dark rim."""
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    y, x = (np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]] - mask.shape[0] / 2) / radius
    light = 1.0 - 0.22 * (x + y) / 1.4
    rim = (depth / (0.12 * radius)).clip(0, 1)
    brightness: np.ndarray = (light * (0.45 + 0.55 * rim)).astype(np.float32)
    return brightness
