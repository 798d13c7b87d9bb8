"""How generated video fails on an object: each artefact takes a layer and a severity of 0 (none) to 1 (gross).

A layer is float32 premultiplied RGBA (H, W, 4) in 0..1, as large as the frame. `size_px` is the diameter of the object,
and lengths scale with it. The appearance of an artefact within a frame is drawn from `rng`; its strength is not.
"""

from collections.abc import Callable

import cv2
import numpy as np

Artefact = Callable[[np.ndarray, float, float, np.random.Generator], np.ndarray]

NEGLIGIBLE = 0.01  # severities below this change no pixel


def melt(layer: np.ndarray, severity: float, size_px: float, rng: np.random.Generator) -> np.ndarray:
    """Bend the object by a smooth random displacement field, so that its outline and its texture run."""
    height, width = layer.shape[:2]
    field = _field(rng, height, width, 2, cell_px=0.2 * size_px) * (0.20 * severity * size_px)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return cv2.remap(layer, x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def smooth(layer: np.ndarray, severity: float, size_px: float, rng: np.random.Generator) -> np.ndarray:
    """Blur the texture while the outline stays, as a decoder that lost the detail does."""
    blurred = cv2.GaussianBlur(layer, (0, 0), (0.05 + 0.1 * severity) * size_px)
    alpha = layer[..., 3:]
    washed = blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-3) * alpha
    return np.concatenate([layer[..., :3] + (washed - layer[..., :3]) * severity, alpha], axis=2)


def blotch(layer: np.ndarray, severity: float, size_px: float, rng: np.random.Generator) -> np.ndarray:
    """Spread wrong colours over the object in soft patches that cover a part of it."""
    height, width = layer.shape[:2]
    field = _field(rng, height, width, 4, cell_px=0.25 * size_px)
    inside = field[..., 3][layer[..., 3] > 0.5]
    if not inside.size:
        return layer
    least = np.quantile(inside, 1 - 0.8 * severity)
    cover = ((field[..., 3:] - least) / 0.3 + 0.5).clip(0, 1) * 0.85
    colours = (0.5 + 0.45 * field[..., :3]).clip(0, 1)
    alpha = layer[..., 3:]
    return np.concatenate([layer[..., :3] * (1 - cover) + colours * alpha * cover, alpha], axis=2)


def ghost(layer: np.ndarray, severity: float, size_px: float, rng: np.random.Generator) -> np.ndarray:
    """Show the object twice, see-through, as when a frame mixes two positions or the object pops up."""
    angle = rng.uniform(0, 2 * np.pi)
    reach = 0.25 * size_px
    shift = np.array([[1, 0, reach * np.cos(angle)], [0, 1, reach * np.sin(angle)]], np.float32)
    twin = cv2.warpAffine(layer, shift, (layer.shape[1], layer.shape[0]))
    return layer * (1 - 0.5 * severity) + twin * (0.5 * severity)


def flicker(layer: np.ndarray, severity: float, size_px: float, rng: np.random.Generator) -> np.ndarray:
    """Give the object the exposure and the tint of another shot: too bright or too dark, off in colour."""
    tint = rng.standard_normal(3)
    gain = 1 + severity * (rng.choice([-0.5, 0.5]) + 0.35 * (tint - tint.mean()) / tint.std())
    alpha = layer[..., 3:]
    return np.concatenate([np.minimum(layer[..., :3] * gain.clip(0).astype(np.float32), alpha), alpha], axis=2)


def _field(rng: np.random.Generator, height: int, width: int, channels: int, *, cell_px: float) -> np.ndarray:
    """Smooth standard normal noise (height, width, channels) with bumps about `cell_px` wide."""
    grid = rng.standard_normal((round(height / cell_px) + 3, round(width / cell_px) + 3, channels), np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


# In the order in which they are applied: what bends the object before what colours it, then what doubles it.
ARTEFACTS: dict[str, Artefact] = {
    "melt": melt,
    "smooth": smooth,
    "blotch": blotch,
    "flicker": flicker,
    "ghost": ghost,
}


def damage(layer: np.ndarray, severities: np.ndarray, *, size_px: float, rng: np.random.Generator) -> np.ndarray:
    """Apply every artefact at its severity.

    Args:
        layer: float32 premultiplied RGBA (H, W, 4) in 0..1.
        severities: (len(ARTEFACTS),) in 0..1, in the order of ARTEFACTS.
        size_px: Diameter of the object.
        rng: Draws the appearance of the artefacts.

    Returns:
        A layer like the given one.
    """
    for artefact, severity in zip(ARTEFACTS.values(), severities, strict=True):
        if severity >= NEGLIGIBLE:
            layer = artefact(layer, float(severity), size_px, rng)
    return layer
