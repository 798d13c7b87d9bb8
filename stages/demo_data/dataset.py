"""The whole data set on disk: info.txt and videos/ (T2VQA-DB's format), objects/ (COCO), crops/ (GAIC).

Every video and image has a random stream of its own, keyed by the seed, the part and its number, and is written by
whichever process comes to it: the bytes do not depend on the number of workers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from stages.demo_data.clips import SUFFIX, Generator, make_generators, render_clip, write_video
from stages.demo_data.ratings import mean_opinion_scores, video_quality
from stages.demo_data.scenes import Description, describe
from stages.demo_data.sprites import SHAPES
from stages.demo_data.stills import render_scored_crops, render_still
from stages.engine.progress import progress
from stages.engine.workers import worker_pool
from stages.io.files import replacing_folder, write_text
from stages.io.json import write_json
from stages.params.schema import DemoParams

Task = TypeVar("Task")
Result = TypeVar("Result")

# Names of the random streams; a new part gets a new number, so that the others keep their pixels.
PROMPTS, GENERATORS, VIDEOS, RATERS, OBJECTS, CROPS = range(6)

HELD_OUT_SHARE = 0.2  # of the object and the crop images


@dataclass(frozen=True)
class VideoTask:
    """One rendered clip and what is written of it."""

    path: Path
    description: Description
    generator: Generator
    stream: tuple[int, ...]
    scale: float
    restlessness: float


@dataclass(frozen=True)
class ImageTask:
    """One rendered still image and what is written of it."""

    path: Path
    stream: tuple[int, ...]
    scale: float


def render_dataset(out: Path, params: DemoParams, workers: int) -> None:
    """Render the data set into the folder `out`, which appears (or is replaced) when it is complete.

    workers: processes; 1 renders in this process. Raises VideoError when OpenCV cannot write the videos.
    """
    with replacing_folder(out) as folder, _mapper(workers) as run:
        _render_videos(folder, params, run)
        _render_objects(folder / "objects", params, run)
        _render_crops(folder / "crops", params, run)


def _stream(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)


Run = Callable[[Callable[[Any], Any], Sequence[Any], str], list[Any]]


@contextmanager
def _mapper(workers: int) -> Iterator[Run]:
    """A map with a progress bar, over worker processes of one OpenCV thread each, or here when workers is 1."""
    if workers == 1:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield lambda function, tasks, name: [function(task) for task in _progress(tasks, tasks, name)]
        finally:
            cv2.setNumThreads(threads)
        return
    with worker_pool(workers) as pool:
        yield lambda function, tasks, name: list(_progress(pool.map(function, tasks, chunksize=4), tasks, name))


def _progress(results: Any, tasks: Sequence[Any], name: str) -> Any:
    return progress(results, total=len(tasks), desc=f"demo {name}", unit="file")


def make_descriptions(count: int, seed: int) -> list[Description]:
    """`count` different descriptions; a longer list starts with the shorter one."""
    found: dict[str, Description] = {}
    random = _stream(seed, PROMPTS)
    while len(found) < count:
        description = describe(random)
        found.setdefault(description.sentence(), description)
    return list(found.values())


def _render_videos(folder: Path, params: DemoParams, run: Run) -> None:
    generators = make_generators(params.generators, _stream(params.seed, GENERATORS))
    tasks = []
    for number, description in enumerate(make_descriptions(params.prompts, params.seed)):
        for which, generator in enumerate(generators):
            path = folder / "videos" / f"{generator.name}_{number:04d}.{SUFFIX}"
            stream = (params.seed, VIDEOS, number, which)
            tasks.append(VideoTask(path, description, generator, stream, params.scale, params.restlessness))
    (folder / "videos").mkdir()
    quality = np.array(run(_render_video, tasks, "videos"))
    noise = _stream(params.seed, RATERS).standard_normal(len(tasks))
    scores = mean_opinion_scores(quality, noise)
    lines = [
        f"{task.path.name}|{task.description.sentence()}|{score:.4f}\n"
        for task, score in zip(tasks, scores, strict=True)
    ]
    write_text(folder / "info.txt", "".join(lines))


def _render_video(task: VideoTask) -> float:
    clip = render_clip(
        task.description,
        task.generator,
        _stream(*task.stream),
        scale=task.scale,
        restlessness=task.restlessness,
    )
    write_video(task.path, [still.rgb for still in clip.stills])
    return video_quality(clip.severities)


def _render_objects(folder: Path, params: DemoParams, run: Run) -> None:
    (folder / "images").mkdir(parents=True)
    tasks = [
        ImageTask(folder / "images" / f"{number:05d}.png", (params.seed, OBJECTS, number), params.scale)
        for number in range(params.object_images)
    ]
    entries = run(_render_object_image, tasks, "object images")
    held_out = _held_out(params.object_images)
    write_json(folder / "train.json", _coco(entries[held_out:]))
    write_json(folder / "val.json", _coco(entries[:held_out]))


def _held_out(count: int) -> int:
    return max(1, round(HELD_OUT_SHARE * count)) if count > 1 else 0


def _render_object_image(task: ImageTask) -> dict[str, Any]:
    still = render_still(_stream(*task.stream), scale=task.scale)
    _write_png(task.path, still.rgb)
    height, width = still.rgb.shape[:2]
    return {
        "file_name": task.path.name,
        "width": width,
        "height": height,
        "boxes_xyxy_px": still.boxes_xyxy_px.tolist(),
        "labels": still.labels,
    }


def _coco(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """COCO's instances format; boxes are x, y, width, height in pixels, ids start at 1."""
    category = {name: number for number, name in enumerate(sorted(SHAPES), start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, entry in enumerate(entries, start=1):
        images.append({"id": image_id, **{key: entry[key] for key in ("file_name", "width", "height")}})
        for (x0, y0, x1, y1), label in zip(entry["boxes_xyxy_px"], entry["labels"], strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category[label],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for name, number in category.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _render_crops(folder: Path, params: DemoParams, run: Run) -> None:
    for name in ("images/train", "images/test", "annotations"):
        (folder / name).mkdir(parents=True)
    held_out = _held_out(params.crop_images)
    tasks = [
        ImageTask(
            folder / "images" / ("test" if number < held_out else "train") / f"{number:05d}.png",
            (params.seed, CROPS, number),
            params.scale,
        )
        for number in range(params.crop_images)
    ]
    run(partial(_render_crop_image, annotations=folder / "annotations"), tasks, "crop images")


def _render_crop_image(task: ImageTask, *, annotations: Path) -> None:
    crops = render_scored_crops(_stream(*task.stream), scale=task.scale)
    _write_png(task.path, crops.still.rgb)
    lines = [
        f"{y0:.0f} {x0:.0f} {y1:.0f} {x1:.0f} {score:.3f}\n"
        for (x0, y0, x1, y1), score in zip(crops.candidates_xyxy_px, crops.scores, strict=True)
    ]
    write_text(annotations / f"{task.path.stem}.txt", "".join(lines))


def _write_png(path: Path, rgb: np.ndarray) -> None:
    done, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    assert done
    path.write_bytes(data.tobytes())
