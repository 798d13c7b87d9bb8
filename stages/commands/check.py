"""`aigc-vqa check`: what a run needs and whether it is there, before the first stage runs."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, NamedTuple

import torch
from cyclopts import Parameter

from models.errors import AigcVqaError
from models.methods import load_method
from stages.commands.cache import show_size
from stages.commands.weights import wanted_files
from stages.datasets.folder import scan_folder
from stages.engine.device import pick_device
from stages.engine.options import Preset
from stages.experiments.graph import Plan, plan_run
from stages.params.load import check_params, flatten, merge, read_yaml
from stages.params.presets import preset_changes, read_changes
from stages.params.schema import Params
from stages.steps.frames import decode_file

# Frames lie in .cache, in data/ and, where the file system cannot share blocks, in DVC's cache.
COPIES = 3
VIDEOS_PROBED = 3
VIDEOS_TIMED = 2
# A step costs three forward passes: its own, and a backward one that takes two. FGM takes each step twice.
FORWARDS = 3


class Requirement(NamedTuple):
    """One thing that a run needs.

    Attributes:
        what: What it is, such as `detector.source`.
        place: Where it is wanted.
        is_there: Whether it is.
        note: What it is like; or, when it is missing, how it comes there or who has it.
    """

    what: str
    place: str
    is_there: bool
    note: str


def changed_params(preset: str | None, changes: Sequence[str]) -> tuple[Params, dict[str, Any]]:
    """params.yaml with a preset and single changes.

    Args:
        preset: Preset over params.yaml; several are joined by +.
        changes: `section.key=value` each.

    Returns:
        The checked params, and the changes alone.

    Raises:
        ParamsError: There is no such preset, or the values do not fit the schema; all problems are named.
    """
    own = merge(preset_changes(preset) if preset else {}, read_changes(changes))
    source = " and ".join(["params.yaml", *([f"the preset {preset}"] if preset else []), *(["-S"] if changes else [])])
    return check_params(merge(read_yaml("params.yaml"), own), source=source), own


def find_needs(params: Params, plan: Plan, *, preset: str | None) -> Iterator[Requirement]:
    """What the stages of a run read and no stage writes, and the weights that the params name.

    Args:
        params: The checked params.
        plan: The stages and their sources.
        preset: The preset, for the words that fetch its weights.
    """
    command = f"make weights{f' PRESET={preset}' if preset else ''}"
    files = {wanted.path.as_posix(): wanted for wanted in wanted_files(params)}
    named = {value: key for key, value in flatten(params.model_dump()) if isinstance(value, str)}
    for place in plan.sources:
        if place not in files and not place.startswith(("stages/", "models/")):
            yield _of_path(named.get(place, "read"), place)
    root = Path(params.dataset.root)
    if root.is_dir() and params.dataset.format != "folder" and root.as_posix() in plan.sources:
        yield _of_path("dataset.labels", (root / params.dataset.labels).as_posix())
        yield _of_path("dataset.videos", (root / params.dataset.videos).as_posix())
    if _learns_from_no_detector(params):
        note = "detector.backend table holds boxes of videos alone; set it to files, and put boxes into SOURCE/bbox"
        yield Requirement("cropper.training.objects", "detector", False, note)
    for place, wanted in files.items():
        origin = wanted.origin
        is_fetched = origin.packaged or bool(origin.url)
        yield Requirement(wanted.key, place, wanted.path.is_file(), f"`{command}`" if is_fetched else origin.note)


def _learns_from_no_detector(params: Params) -> bool:
    """Whether the cropper would have to be trained on objects that nothing finds."""
    is_trained = params.looks_for_crops and Path(params.cropper.source).is_dir()
    return is_trained and params.detector.backend == "table" and params.cropper.training.objects == "detector"


def _of_path(what: str, place: str) -> Requirement:
    path = Path(place)
    if path.exists():
        return Requirement(what, place, True, "")
    tracked = [each for each in (path, *path.parents) if each.name and Path(f"{each}.dvc").is_file()]
    note = f"`dvc pull {tracked[0]}.dvc`" if tracked else f"put it there, or set {what}"
    return Requirement(what, place, False, note)


class Expected(NamedTuple):
    """What a run will take.

    Attributes:
        n_videos: Videos of the data set.
        disk_bytes: What the frames take, with their copies; None where no video can be read.
        training_s: Seconds of training; None where they are unknown.
    """

    n_videos: int
    disk_bytes: float | None
    training_s: float | None


def expect(params: Params, *, timed: bool) -> Expected | None:
    """Estimate disk and time from the videos that are there; None without any.

    Args:
        params: The checked params.
        timed: Whether to time the network on this machine, which takes seconds.
    """
    folder = Path(params.dataset.root) / params.dataset.videos
    videos = scan_folder(folder)[0] if folder.is_dir() else []
    if not videos:
        return None
    sizes = []
    plan, storage = params.plan, params.decode.storage
    for path in videos[:: max(1, len(videos) // VIDEOS_PROBED)][:VIDEOS_PROBED]:
        try:
            sizes.append(decode_file((str(path), params.dataset.max_missing_fraction, plan, storage)).nbytes)
        except AigcVqaError:  # the stage prepare names it
            continue
    disk = COPIES * fmean(sizes) * len(videos) if sizes else None
    return Expected(len(videos), disk, training_seconds(params, len(videos)) if timed else None)


def training_seconds(params: Params, n_videos: int) -> float:
    """How long the training will take here.

    Args:
        params: The checked params.
        n_videos: Videos of the data set.
    """
    train_share = 1 - params.split.test_fraction - params.split.val_fraction
    passes = (2 if params.train.fgm.epsilon else 1) * train_share + params.split.val_fraction / FORWARDS
    return params.train.epochs * n_videos * passes * step_seconds(params)


def step_seconds(params: Params) -> float:
    """Seconds that a training step takes for a video, from two steps of the network with random weights and pixels.

    Args:
        params: The checked params.
    """
    settings, device = params.train, pick_device(params.engine.device)
    if device.type == "cpu":
        torch.set_num_threads(params.engine.n_threads)
    method = load_method(params.method, params.chosen)
    network = method.build(seed=0).to(device)
    if settings.channels_last:
        network = network.to(memory_format=torch.channels_last)
    shape = (VIDEOS_TIMED, *method.sample_shape(params.decode.frames))
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    seconds = 0.0
    for _ in range(2):  # the first step also makes buffers
        start = time.perf_counter()
        loss: torch.Tensor = network(pixels).mean()
        loss.backward()
        loss.item()  # waits for a GPU
        seconds = time.perf_counter() - start
    return seconds / VIDEOS_TIMED


def needs_table(needs: Sequence[Requirement]) -> str:
    """A line for each need: whether it is there, what it is, where, and how it comes there.

    Args:
        needs: Of a run.
    """
    width = max((len(need.what) for need in needs), default=0)
    lines = []
    for need in needs:
        state = "there  " if need.is_there else "MISSING"
        lines.append(f"{state}  {need.what:<{width}}  {need.place}{'' if need.is_there else f': {need.note}'}")
    return "\n".join(lines)


def disk_need(expected: Expected | None) -> Requirement | None:
    """Whether the disk has room for the frames; None where nothing is known of them.

    Args:
        expected: What the run will take.
    """
    if expected is None or expected.disk_bytes is None:
        return None
    free = shutil.disk_usage(Path()).free
    words = f"{show_size(expected.disk_bytes)} for {expected.n_videos} videos, {show_size(free)} free"
    return Requirement("disk", words, expected.disk_bytes < free, "make room, or lower decode.frames")


def check_run(params: Params, *, preset: str | None, timed: bool) -> tuple[list[Requirement], Plan, Expected | None]:
    """Everything that a run needs, the disk included.

    Args:
        params: The checked params.
        preset: The preset, for the words that fetch its weights.
        timed: Whether to time the network.
    """
    plan = plan_run(_values(params))
    expected = expect(params, timed=timed)
    disk = disk_need(expected)
    return [*find_needs(params, plan, preset=preset), *([disk] if disk else [])], plan, expected


def _values(params: Params) -> Mapping[str, Any]:
    return dict(flatten(params.model_dump()))


def check(
    *,
    preset: Preset = None,
    set: Annotated[Sequence[str], Parameter(name=("--set", "-S"), metavar="KEY=VALUE")] = (),
) -> int:
    """List what a run needs, what is missing and who has it, and what it will take.

    Nothing is run and nothing is fetched. `aigc-vqa run` does the same first. Exit status 1 when something is missing.

    Args:
        preset: Preset over params.yaml; several are joined by +.
        set: Change of one value, such as `train.seed=3`, over the preset's; may be given several times.

    Returns:
        The exit status.

    Raises:
        ParamsError: There is no such preset, or the values do not fit the schema.
    """
    params, _ = changed_params(preset, set)
    needs, plan, expected = check_run(params, preset=preset, timed=True)
    print(f"stages: {', '.join(plan.stages)}")
    if needs:
        print(needs_table(needs))
    if expected is None:
        print("time and disk: not known before the videos are there")
    elif expected.training_s is not None:
        minutes = max(1, round(expected.training_s / 60))
        print(f"time: about {minutes} min of training on this machine (a step was timed); other stages come on top")
    missing = sum(not need.is_there for need in needs)
    print(f"check: {len(needs) - missing} of {len(needs)} things are there")
    return 1 if missing else 0
