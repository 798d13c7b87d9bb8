"""Crop scores in the format of GAIC: images/, and in annotations/ a text file of scored candidates for each.

An annotation line is `ymin xmin ymax xmax mos`, in pixels; a MOS of -2 marks a candidate that was not rated. The images
lie in images/train, images/test and, if there is one, images/val; or all in images/ itself. Object boxes may lie beside
them in bbox/, as in suyukun666/S2CNet (at 6c92712): one text file per image, one line per box, `ymin xmin ymax xmax`,
best first.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import listed
from stages.errors import DatasetError, TableError
from stages.io.images import decode_image

PARTS = ("train", "val", "test")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
NOT_RATED = -2.0
# A single candidate cannot be ranked.
CANDIDATES_MIN = 2
PROBLEMS_SHOWN = 12


@dataclass(frozen=True)
class ScoredImage:
    """One image and its rated candidates.

    Attributes:
        path: The image file.
        part: train, val, test, or empty where the folder has no parts.
        candidates_xyxy_px: (K, 4) float32, pixels of the image, K >= 2.
        mos: (K,) float64, on the data's own scale.
        annotation: The text file of the candidates.
        lines: Line of each candidate in that file, from 1.
    """

    path: Path
    part: str
    candidates_xyxy_px: NDArray[np.float32]
    mos: NDArray[np.float64]
    annotation: Path
    lines: tuple[int, ...]


def read_gaic(root: Path) -> list[ScoredImage]:
    """All images of a folder in GAIC's format, by part and name; no image file is opened.

    Args:
        root: Holds images/ and annotations/.

    Raises:
        DatasetError: There are no images, an image has no annotation or its name twice, or an annotation cannot be
            used: a line that is not five numbers, an empty box, a MOS that is not finite, fewer than two candidates.
            The message lists all with file and line.
    """
    files = [(part, path) for part in PARTS for path in _image_files(root / "images" / part)]
    files += [("", path) for path in _image_files(root / "images")]
    if not files:
        raise DatasetError(f"{root}: no images in images/ or images/train; a folder in GAIC's format is needed")
    problems: list[str] = []
    seen: dict[str, Path] = {}
    images = []
    for part, path in files:
        # Annotations are found by name: two images of one name would share theirs.
        first = seen.setdefault(path.stem, path)
        if first != path:
            problems.append(f"{path}: an image of this name is at {first} too")
            continue
        annotation = root / "annotations" / f"{path.stem}.txt"
        try:
            images.append(_read_annotation(annotation, image=path, part=part))
        except DatasetError as error:
            problems.append(str(error))
    if problems:
        shown = listed(problems, shown=PROBLEMS_SHOWN, separator="\n  ")
        raise DatasetError(f"{root}: the crop scores cannot be used\n  {shown}")
    return images


def read_image(image: ScoredImage) -> NDArray[np.uint8]:
    """The pixels of an image, (H, W, 3) uint8 RGB.

    Raises:
        DatasetError: The file is damaged or too large, or a candidate exceeds the image.
    """
    try:
        pixels = decode_image(image.path.read_bytes())
    except (OSError, TableError) as error:
        raise DatasetError(f"{image.path}: not an image that can be read ({error})") from None
    height, width = pixels.shape[:2]
    boxes = image.candidates_xyxy_px
    outside = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2] > width) | (boxes[:, 3] > height)
    if outside.any():
        line = image.lines[int(np.argmax(outside))]
        raise DatasetError(f"{image.annotation}, line {line}: the box leaves {image.path.name} ({width}x{height} px)")
    return pixels


def objects_path(image: ScoredImage) -> Path:
    """The file with the boxes of an image's objects, if it has any: bbox/NAME.txt."""
    return image.annotation.parent.parent / "bbox" / f"{image.path.stem}.txt"


def read_objects(image: ScoredImage, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The object boxes of an image, from bbox/NAME.txt.

    Boxes without area are kept, as nodes of the graph: the published files have them where too few objects were found.

    Args:
        image: The image.
        pixels: (H, W, 3), which the boxes are checked against.

    Returns:
        (N, 4) float32 xyxy, pixels of the image, in the order of the file; N may be 0.

    Raises:
        DatasetError: The file is missing, or a line is not four numbers, or a box ends before it begins or exceeds the
            image; the message names file and line.
    """
    path = objects_path(image)
    height, width = pixels.shape[:2]
    boxes = []
    for number, line in _lines(path, of=image.path):
        try:
            y0, x0, y1, x1 = map(float, line.split())
        except ValueError:
            raise DatasetError(f"{path}, line {number}: {line!r} is not `ymin xmin ymax xmax`") from None
        if not (0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height):
            raise DatasetError(
                f"{path}, line {number}: {line!r} is not a box inside {image.path.name} ({width}x{height} px)"
            )
        boxes.append((x0, y0, x1, y1))
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def split_images(images: Sequence[ScoredImage], *, val_fraction: float, seed: int) -> dict[str, list[ScoredImage]]:
    """Images by part.

    The folder's own parts are kept. A part that it lacks, test first, takes a share of the training images.

    Args:
        images: All images.
        val_fraction: That share, 0..1; at least one image is taken.
        seed: Of the draw.

    Returns:
        The images of train, val and test.

    Raises:
        DatasetError: A part is left without images.
    """
    parts = {part: [image for image in images if image.part == part] for part in PARTS}
    parts["train"] += [dataclasses.replace(image, part="train") for image in images if image.part == ""]
    random = np.random.default_rng(seed)
    for part in ("test", "val"):
        if not parts[part]:
            pool = parts["train"]
            count = max(1, round(val_fraction * len(pool)))
            drawn = set(random.permutation(len(pool))[:count].tolist())
            parts[part] = [dataclasses.replace(pool[i], part=part) for i in sorted(drawn)]
            parts["train"] = [image for i, image in enumerate(pool) if i not in drawn]
    if empty := [part for part in PARTS if not parts[part]]:
        raise DatasetError(f"{len(images)} images are too few for train, val and test (none for {', '.join(empty)})")
    return parts


def _image_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in SUFFIXES)


def _lines(path: Path, *, of: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DatasetError(f"{of}: {path} is missing") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not a text file ({error})") from None
    return ((number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip())


def _read_annotation(annotation: Path, *, image: Path, part: str) -> ScoredImage:
    boxes, mos, lines = [], [], []
    for number, line in _lines(annotation, of=image):
        try:
            y0, x0, y1, x1, score = map(float, line.split())
        except ValueError:
            raise DatasetError(f"{annotation}, line {number}: {line!r} is not `ymin xmin ymax xmax mos`") from None
        if score == NOT_RATED:
            continue
        if not all(map(math.isfinite, (y0, x0, y1, x1, score))):
            raise DatasetError(f"{annotation}, line {number}: {line!r} holds a number that is not finite")
        if x1 <= x0 or y1 <= y0:
            raise DatasetError(
                f"{annotation}, line {number}: the box is empty (x {x0:g} to {x1:g}, y {y0:g} to {y1:g})"
            )
        boxes.append((x0, y0, x1, y1))
        mos.append(score)
        lines.append(number)
    if len(boxes) < CANDIDATES_MIN:
        raise DatasetError(f"{annotation}: {len(boxes)} rated candidates; at least {CANDIDATES_MIN} are needed")
    return ScoredImage(
        image, part, np.array(boxes, dtype=np.float32), np.array(mos, dtype=np.float64), annotation, tuple(lines)
    )
