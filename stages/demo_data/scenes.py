"""Scenes: what a prompt says, where its objects go, and how a moment of it is drawn.

Raters look at the objects. The background pans, and varies in ways that no rater minds: how sharp, contrasty, noisy and
coarse it is, and how much it swims by itself. So a statistic of whole frames says little about the score.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from stages.demo_data.artefacts import ARTEFACTS, damage
from stages.demo_data.sprites import COLOURS, MARKINGS, SHAPES, make_sprite
from stages.demo_data.textures import BACKGROUNDS, background_texture

VISIBLE_ALPHA = 0.3  # least alpha of a pixel that belongs to an object, and to its box

MOTIONS = ("drift", "spin", "circle", "bounce")
NUMBERS = {1: "a", 2: "two", 3: "three"}


@dataclass(frozen=True)
class Thing:
    """One object in words.

    Attributes:
        shape: A key of SHAPES.
        colour: A key of COLOURS.
        marking: A key of MARKINGS.
    """

    shape: str
    colour: str
    marking: str

    def __str__(self) -> str:
        words = f"{self.marking} {self.colour} {self.shape}"
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


@dataclass(frozen=True)
class Description:
    """What every video of one prompt shows.

    Attributes:
        things: Its objects.
        motion: One of MOTIONS.
        background: A key of BACKGROUNDS.
    """

    things: tuple[Thing, ...]
    motion: str
    background: str

    def sentence(self) -> str:
        """The prompt."""
        names = [str(thing) for thing in self.things]
        subject = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        verb = self.motion + ("s" if len(names) == 1 else "")
        return f"{subject[0].upper()}{subject[1:]} {verb} over {self.background}."


def describe(rng: np.random.Generator) -> Description:
    """Draw a description; things of one scene differ in shape and in colour."""
    count = int(rng.choice([1, 2, 3], p=[0.35, 0.4, 0.25]))
    shapes = rng.choice(sorted(SHAPES), count, replace=False)
    colours = rng.choice(sorted(COLOURS), count, replace=False)
    markings = rng.choice(sorted(MARKINGS), count)
    things = tuple(Thing(str(s), str(c), str(m)) for s, c, m in zip(shapes, colours, markings, strict=True))
    return Description(things, str(rng.choice(MOTIONS)), str(rng.choice(sorted(BACKGROUNDS))))


@dataclass(frozen=True)
class Actor:
    """An object and its path.

    Attributes:
        thing: What it is.
        sprite: Its picture, square float32 premultiplied RGBA.
        diameter_px: Its diameter.
        start_px: (2,), x and y of its centre at time 0.
        end_px: (2,), x and y of its centre at time 1, before the motion is added.
        motion: One of MOTIONS.
        angle: At time 0, degrees.
        turn: Change of the angle until time 1, degrees.
    """

    thing: Thing
    sprite: np.ndarray
    diameter_px: float
    start_px: np.ndarray
    end_px: np.ndarray
    motion: str
    angle: float
    turn: float

    def pose(self, time: float) -> tuple[np.ndarray, float]:
        """Centre (x, y), pixels, and angle, degrees, at `time` in 0..1."""
        position = self.start_px + (self.end_px - self.start_px) * time
        if self.motion == "bounce":
            position = position - np.array([0, 0.35 * self.diameter_px * abs(np.sin(2 * np.pi * time))])
        elif self.motion == "circle":
            angle = 2 * np.pi * time
            position = position + 0.2 * self.diameter_px * np.array([np.cos(angle) - 1, np.sin(angle)])
        return position, self.angle + self.turn * time


@dataclass(frozen=True)
class Backdrop:
    """A canvas larger than the frame, the window's path over it, and the harmless variation.

    Attributes:
        canvas: float32 RGB (H, W, 3), 0..1.
        start_px: (2,), x and y of the window at time 0.
        end_px: (2,), x and y of the window at time 1.
        noise: Standard deviation of the pixels' noise.
        unrest: How much the background swims, 0..1.
        exposure: Standard deviation of the brightness of whole frames.
    """

    canvas: np.ndarray
    start_px: np.ndarray
    end_px: np.ndarray
    noise: float
    unrest: float
    exposure: float


@dataclass(frozen=True)
class Light:
    """A soft coloured light that twinkles; without it, colour and twinkling alone would reveal a damaged object.

    Attributes:
        position_px: (2,), x and y of its centre.
        radius_px: Its radius.
        colour: (3,), RGB, 0..1.
    """

    position_px: np.ndarray
    radius_px: float
    colour: np.ndarray


@dataclass(frozen=True)
class Scene:
    """What is drawn in every frame of a video.

    Attributes:
        width: Of the frame, pixels.
        height: Of the frame, pixels.
        actors: The objects, from back to front.
        backdrop: What is behind them.
        lights: Lights in front of the backdrop.
    """

    width: int
    height: int
    actors: tuple[Actor, ...]
    backdrop: Backdrop
    lights: tuple[Light, ...]


@dataclass(frozen=True)
class Still:
    """A drawn moment; an object that left the frame has neither box nor label.

    Attributes:
        rgb: uint8 (H, W, 3).
        boxes_xyxy_px: (N, 4) float32, around each object as it looks, damage included.
        labels: Shapes of the N objects.
    """

    rgb: np.ndarray
    boxes_xyxy_px: np.ndarray
    labels: tuple[str, ...]


def stage_scene(description: Description, rng: np.random.Generator, *, width: int, height: int) -> Scene:
    """Place the things of a description: close together, somewhere in the frame, hardly covering each other.

    Args:
        description: What the scene shows.
        rng: Draws the places.
        width: Of the frame, pixels.
        height: Of the frame, pixels.
    """
    frame = np.array([width, height], float)
    middle = rng.uniform(0.34, 0.66, 2) * frame
    return Scene(
        width,
        height,
        _actors(description, rng, frame, middle),
        _backdrop(description.background, rng, frame),
        _place_lights(rng, frame, middle),
    )


def _actors(
    description: Description, rng: np.random.Generator, frame: np.ndarray, middle: np.ndarray
) -> tuple[Actor, ...]:
    count = len(description.things)
    diameters = rng.uniform(0.9, 1.1, count) * frame.min() * {1: 0.55, 2: 0.42, 3: 0.36}[count]
    margin = 0.62 * diameters.max()
    reach = {1: 0.1, 2: 0.24, 3: 0.28}[count] * frame
    best, least = None, np.inf
    for _ in range(12):
        paths = (middle + rng.uniform(-1, 1, (2, count, 2)) * reach).clip(margin, frame - margin)
        covered = _crowding(paths, diameters)
        if covered < least:
            best, least = paths, covered
    assert best is not None
    actors = []
    for i, thing in enumerate(description.things):
        turn = rng.choice([-1, 1]) * (rng.uniform(120, 300) if description.motion == "spin" else rng.uniform(0, 40))
        actors.append(
            Actor(
                thing,
                make_sprite(thing.shape, thing.colour, thing.marking, rng, diameter_px=diameters[i]),
                diameter_px=float(diameters[i]),
                start_px=best[0, i],
                end_px=best[1, i],
                motion=description.motion,
                angle=float(rng.uniform(-30, 30)),
                turn=float(turn),
            )
        )
    return tuple(actors)


def _crowding(paths: np.ndarray, diameters: np.ndarray) -> float:
    """How much objects overlap along their paths; `paths` is (start and end, N, 2)."""
    total = 0.0
    for time in (0.0, 0.33, 0.67, 1.0):
        centres = paths[0] + (paths[1] - paths[0]) * time
        gaps = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
        touch = (diameters[:, None] + diameters[None]) / 2
        total += float(np.triu((1.05 - gaps / touch).clip(0), 1).sum())
    return total


def _backdrop(name: str, rng: np.random.Generator, frame: np.ndarray) -> Backdrop:
    travel = rng.uniform(0.0, 0.3) * frame.min()
    angle = rng.uniform(0, 2 * np.pi)
    path = travel * np.array([np.cos(angle), np.sin(angle)])
    size = np.ceil(frame + np.abs(path)).astype(int) + 4
    scale = float(frame.min() / 96 * rng.uniform(0.6, 1.8))
    canvas = background_texture(name, rng, height=int(size[1]), width=int(size[0]), scale=scale)
    blur = frame.min() / 96 * rng.choice([0.0, rng.uniform(0.3, 2.5)])
    if blur > 0:
        canvas = cv2.GaussianBlur(canvas, (0, 0), blur)
    contrast, brightness = rng.uniform(0.45, 1.15), rng.uniform(-0.12, 0.12)
    canvas = (0.5 + (canvas - 0.5) * contrast + brightness).clip(0, 1).astype(np.float32)
    start = np.maximum(-path, 0) + 2
    return Backdrop(
        canvas,
        start,
        start + path,
        noise=float(rng.uniform(0, 0.012)),
        unrest=float(rng.uniform(0, 0.4)),
        exposure=float(rng.uniform(0, 0.06)),
    )


def _place_lights(rng: np.random.Generator, frame: np.ndarray, middle: np.ndarray) -> tuple[Light, ...]:
    """No lights, or up to twenty, of which those near the objects are left out."""
    lights = []
    for _ in range(int(rng.choice(np.array([0, rng.integers(4, 20)])))):
        position = rng.random(2) * frame
        if np.linalg.norm((position - middle) / frame) > 0.36:
            lights.append(Light(position, float(0.07 * frame.min() * rng.uniform(0.7, 1.6)), rng.random(3)))
    return tuple(lights)


def draw(scene: Scene, time: float, severities: np.ndarray, rng: np.random.Generator) -> Still:
    """Draw one moment of a scene.

    Args:
        scene: The scene.
        time: 0 (start) to 1 (end).
        severities: (len(ARTEFACTS),), 0..1, of the artefacts on every object.
        rng: Draws noise and the appearance of the artefacts.
    """
    frame = _draw_backdrop(scene, time, rng)
    for light in scene.lights:
        _shine(frame, light, rng)
    boxes, labels = [], []
    for actor in scene.actors:
        layer = damage(_layer(actor, time, scene), severities, size_px=actor.diameter_px, rng=rng)
        frame = frame * (1 - layer[..., 3:]) + layer[..., :3]
        box = tight_box(layer[..., 3])
        if box is not None:
            boxes.append(box)
            labels.append(actor.thing.shape)
    frame = frame * np.float32(1 + scene.backdrop.exposure * rng.standard_normal())
    noise = rng.standard_normal(frame.shape, dtype=np.float32) * scene.backdrop.noise
    rgb = ((frame + noise).clip(0, 1) * 255).round().astype(np.uint8)
    return Still(rgb, np.array(boxes, np.float32).reshape(-1, 4), tuple(labels))


def tight_box(alpha: np.ndarray) -> np.ndarray | None:
    """The box around everything visible.

    Args:
        alpha: (H, W), 0..1.

    Returns:
        (4,) float32 xyxy, pixels; None when nothing is visible.
    """
    rows, columns = (np.flatnonzero((alpha >= VISIBLE_ALPHA).any(axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def _layer(actor: Actor, time: float, scene: Scene) -> np.ndarray:
    position, angle = actor.pose(time)
    middle = (actor.sprite.shape[0] - 1) / 2
    move = cv2.getRotationMatrix2D((middle, middle), angle, 1.0)
    move[:, 2] += position - middle
    return cv2.warpAffine(actor.sprite, move, (scene.width, scene.height), flags=cv2.INTER_LINEAR)


def _shine(frame: np.ndarray, light: Light, rng: np.random.Generator) -> None:
    """Draw a light over float32 RGB in place, as bright and as coloured as it happens to be at this moment."""
    cover = np.zeros(frame.shape[:2], np.float32)
    x, y = (int(value) for value in light.position_px)
    cv2.circle(cover, (x, y), max(1, round(light.radius_px)), 1.0, cv2.FILLED)
    cover = cv2.GaussianBlur(cover, (0, 0), 0.25 * light.radius_px)[..., None] * rng.uniform(0.2, 0.9)
    colour = (light.colour + rng.uniform(-0.3, 0.3, 3)).clip(0, 1).astype(np.float32)
    frame += (colour - frame) * cover.astype(np.float32)


def _draw_backdrop(scene: Scene, time: float, rng: np.random.Generator) -> np.ndarray:
    backdrop = scene.backdrop
    x, y = backdrop.start_px + (backdrop.end_px - backdrop.start_px) * time
    move = np.array([[1, 0, -x], [0, 1, -y]])
    frame = cv2.warpAffine(backdrop.canvas, move, (scene.width, scene.height), borderMode=cv2.BORDER_REFLECT)
    opaque = np.ones((*frame.shape[:2], 1), np.float32)
    unrest = np.array([backdrop.unrest * (name == "melt") for name in ARTEFACTS])
    layer = damage(np.concatenate([frame, opaque], axis=2), unrest, size_px=0.4 * scene.height, rng=rng)
    result: np.ndarray = frame * (1 - layer[..., 3:]) + layer[..., :3]
    return result
