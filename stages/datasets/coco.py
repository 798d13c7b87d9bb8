"""Object boxes in COCO's JSON: `images`, `annotations` (bbox: x, y, width, height in pixels) and `categories`."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import listed
from stages.errors import DatasetError, TableError
from stages.io.images import Frame, decode_image

# Rounding in other tools lets boxes reach past the edge; one that reaches further has wrong units or a wrong image.
EDGE_TOLERANCE_PX = 1.0
# Thinner boxes can lose their area when float32 rounds them in a mirrored or scaled image, which ends a training.
LEAST_SIDE_PX = 1e-3
MAX_PROBLEMS = 20
LabelledBox = tuple[list[float], int]


@dataclass(frozen=True)
class ObjectImage:
    """One image and its objects.

    Regions of crowds are no objects to learn; detections inside them count neither way.

    Attributes:
        path: The image file.
        width: Pixels, as the annotations state it.
        height: Pixels, as the annotations state it.
        boxes_xyxy_px: (N, 4) float32, pixels, inside the image.
        labels: (N,) int64, from 1.
        crowds_xyxy_px: (M, 4) float32, regions of crowds in the same form.
        crowd_labels: (M,) int64, from 1.
    """

    path: Path
    width: int
    height: int
    boxes_xyxy_px: NDArray[np.float32]
    labels: NDArray[np.int64]
    crowds_xyxy_px: NDArray[np.float32]
    crowd_labels: NDArray[np.int64]

    def read(self) -> Frame:
        """The pixels, (H, W, 3) uint8 RGB.

        Raises:
            DatasetError: The file is no readable image, or of another size than the annotations state.
        """
        try:
            frame = decode_image(self.path.read_bytes())
        except (OSError, TableError) as error:
            raise DatasetError(f"{self.path}: no readable image ({error})") from None
        if frame.shape[:2] != (self.height, self.width):
            turned = frame.shape[1::-1] == (self.height, self.width)
            hint = "; a tag (EXIF) in the file may turn it: annotate it as it is shown" if turned else ""
            raise DatasetError(
                f"{self.path}: {frame.shape[1]}x{frame.shape[0]} px, the annotations say {self.width}x{self.height}"
                f"{hint}"
            )
        return frame


@dataclass(frozen=True)
class ObjectSet:
    """An annotated set of images.

    Attributes:
        images: In the order of the file.
        classes: Names; label i is `classes[i - 1]`.
        n_left_out: Annotations without a usable box.
    """

    images: tuple[ObjectImage, ...]
    classes: tuple[str, ...]
    n_left_out: int = 0

    @property
    def n_boxes(self) -> int:
        """Number of objects in all images."""
        return sum(len(image.labels) for image in self.images)

    @property
    def n_crowds(self) -> int:
        """Number of regions of crowds in all images."""
        return sum(len(image.crowd_labels) for image in self.images)


def merge_classes(objects: ObjectSet) -> ObjectSet:
    """The same boxes with one class, `object`."""
    images = tuple(
        replace(image, labels=np.ones_like(image.labels), crowd_labels=np.ones_like(image.crowd_labels))
        for image in objects.images
    )
    return replace(objects, images=images, classes=("object",))


def read_coco(path: Path, images: Path) -> ObjectSet:
    """Read an annotation file in COCO's format.

    Categories become labels 1, 2, ... in ascending order of their ids. Boxes without an area, of which COCO's own file
    of 2017 has two, and regions of crowds without a usable box are left out and counted.

    Args:
        path: The JSON file.
        images: Folder that its file names start from.

    Raises:
        DatasetError: The file cannot be read, has no images or no boxes, or has annotations or images that cannot be
            used; the message names them.
    """
    content = _read_json(path)
    problems: list[str] = []
    categories = _by_id(content["categories"], "category", problems)
    entries = _by_id(content["images"], "image", problems)
    for image_id, entry in entries.items():
        problems += [f"image {image_id}: {problem}" for problem in _image_problems(entry, images)]
    if not entries:
        problems.append("there are no images")
    stop_on(problems, path)

    label_of = {category_id: label for label, category_id in enumerate(sorted(categories), start=1)}
    boxes: dict[int, list[LabelledBox]] = {image_id: [] for image_id in entries}
    crowds: dict[int, list[LabelledBox]] = {image_id: [] for image_id in entries}
    n_left_out = 0
    for annotation in content["annotations"]:
        if not isinstance(annotation, dict):
            problems.append(f"an annotation is {annotation!r}; a mapping is needed")
            continue
        annotation = _with_whole_numbers(annotation, "image_id", "category_id")
        problem, is_crowd = _annotation_problem(annotation, entries, label_of), annotation.get("iscrowd")
        if problem and not is_crowd:
            problems.append(f"annotation {annotation.get('id')}: {problem}")
        elif problem or _is_flat(annotation["bbox"], entries[annotation["image_id"]]):
            n_left_out += 1
        else:
            kind = crowds if is_crowd else boxes
            kind[annotation["image_id"]].append((annotation["bbox"], label_of[annotation["category_id"]]))
    if not problems and not any(boxes.values()):
        n_crowds = sum(map(len, crowds.values()))
        problems.append("there are no boxes" + (f" besides {n_crowds} of crowds" if n_crowds else ""))
    stop_on(problems, path)
    return ObjectSet(
        tuple(_object_image(entry, images, boxes[image_id], crowds[image_id]) for image_id, entry in entries.items()),
        tuple(str(categories[category_id].get("name", category_id)) for category_id in label_of),
        n_left_out,
    )


def _read_json(path: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not JSON ({error})") from None
    names = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in names):
        raise DatasetError(f"{path}: not COCO's format; a mapping with the lists {', '.join(names)} is needed")
    lists: dict[str, list[Any]] = content
    return lists


def _by_id(entries: list[Any], kind: str, problems: list[str]) -> dict[int, dict[str, Any]]:
    by_id: dict[int, dict[str, Any]] = {}
    for entry in entries:
        if isinstance(entry, dict):
            entry = _with_whole_numbers(entry, "id", "width", "height")
        if not isinstance(entry, dict) or not _is_integer(entry.get("id")):
            problems.append(f"one {kind} has no integer id: {str(entry)[:80]}")
        elif entry["id"] in by_id:
            problems.append(f"{kind} {entry['id']}: the id stands twice")
        else:
            by_id[entry["id"]] = entry
    return by_id


def _image_problems(entry: dict[str, Any], folder: Path) -> list[str]:
    problems = [
        f"{name} is {entry.get(name)!r}; a positive integer is needed"
        for name in ("width", "height")
        if not (_is_integer(entry.get(name)) and entry[name] > 0)
    ]
    name = entry.get("file_name")
    if not isinstance(name, str) or not name:
        return [*problems, "file_name is missing"]
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return [*problems, f"{name!r} leaves the folder of the images"]
    if not (folder / name).is_file():
        problems.append(f"{folder / name}: no such file")
    return problems


def _annotation_problem(
    annotation: dict[str, Any], images: dict[int, dict[str, Any]], label_of: dict[int, int]
) -> str | None:
    for name, known in (("image_id", images), ("category_id", label_of)):
        if not _is_integer(annotation.get(name)) or annotation[name] not in known:
            return f"{name} is {annotation.get(name)!r}, which is not in the file"
    bbox = annotation.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_number(value) for value in bbox):
        return f"bbox is {bbox}; four finite numbers are needed: x, y, width, height"
    x, y, width, height = bbox
    if width < 0 or height < 0:
        return f"bbox is {bbox}; width and height must be positive"
    image = images[annotation["image_id"]]
    right, bottom = image["width"], image["height"]
    inside = x < right and y < bottom and x + width > 0 and y + height > 0
    past = max(-x, -y, x + width - right, y + height - bottom)
    if min(width, height) > 0 and (not inside or past > EDGE_TOLERANCE_PX):
        return f"bbox is {bbox}, outside of image {image['id']} ({right}x{bottom} px)"
    return None


def _is_flat(bbox: list[float], image: dict[str, Any]) -> bool:
    """Whether nothing is left of a box inside its image."""
    x, y, width, height = bbox
    return min(_side(x, x + width, image["width"]), _side(y, y + height, image["height"])) < LEAST_SIDE_PX


def _side(low: float, high: float, end: float) -> float:
    """Length of a box's side in float32, once it is clipped to 0..end."""
    return float(np.float32(min(high, end)) - np.float32(max(low, 0)))


def _object_image(
    entry: dict[str, Any], folder: Path, objects: list[LabelledBox], crowds: list[LabelledBox]
) -> ObjectImage:
    size = entry["width"], entry["height"]
    return ObjectImage(folder / entry["file_name"], *size, *_corners(objects, size), *_corners(crowds, size))


def _corners(objects: list[LabelledBox], size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes (N, 4) xyxy inside an image of (width, height), and labels (N,)."""
    bboxes = np.array([bbox for bbox, _ in objects], dtype=np.float64).reshape(-1, 4)
    corners = np.concatenate([bboxes[:, :2], bboxes[:, :2] + bboxes[:, 2:]], axis=1).clip(0, [*size, *size])
    return corners.astype(np.float32), np.array([label for _, label in objects], dtype=np.int64)


def _with_whole_numbers(entry: dict[str, Any], *names: str) -> dict[str, Any]:
    """The entry with 1.0 as 1: table programs turn ids into floats as soon as one is missing."""
    whole = {name: entry.get(name) for name in names}
    return entry | {
        name: int(value) for name, value in whole.items() if isinstance(value, float) and value.is_integer()
    }


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def stop_on(problems: list[str], path: Path) -> None:
    """Raise DatasetError with the problems, at most MAX_PROBLEMS of them; without problems do nothing.

    Args:
        problems: What is wrong.
        path: The annotation file, for the message.

    Raises:
        DatasetError: There are problems.
    """
    if problems:
        shown = listed(problems, shown=MAX_PROBLEMS, separator="\n  ")
        raise DatasetError(f"{path}: the object boxes cannot be used\n  {shown}")
