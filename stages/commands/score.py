"""`aigc-vqa score`: new videos through decode, propose, crop and predict in one pass, a row a video.

The weights carry the parameters of every stage that made them: a folder with the three files is all that scoring needs,
and a video of the data set gets the score that the pipeline gave it.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
from pydantic import ValidationError

from models.detectors import Detections, Detector
from models.detectors.top_boxes import top_boxes
from models.s2cnet.scoring import CropScores
from stages.commands.options import check_out, count
from stages.datasets.folder import EXTENSIONS, find_video_files, shown_name
from stages.engine.cache import ItemCache
from stages.engine.device import make_deterministic, pick_device
from stages.engine.progress import progress
from stages.engine.run import Item, in_processes, reason_of
from stages.errors import DatasetError, WeightsError
from stages.io.digests import file_sha256, library_versions
from stages.io.files import replacing, write_text
from stages.io.images import Frame, sharpness
from stages.io.schemas import BOX_COLUMNS
from stages.params.schema import CropParams
from stages.params.schema.engine import available_cores
from stages.steps.clips import ClipFrame, cut_clip, read_clip
from stages.steps.crops import Cropper, crops_table, load_cropper
from stages.steps.detectors import load_detector
from stages.steps.files import decode_file
from stages.steps.history import detector_values
from stages.steps.key_frames import key_frames
from stages.steps.scores import QualityModel, load_quality

WEIGHTS = {"detector": "detector.safetensors", "cropper": "s2cnet.safetensors", "quality": "quality.safetensors"}
ROWS_ON_SCREEN = 60


@dataclass(frozen=True)
class Scorer:
    """The three networks and the parameters that they were trained behind."""

    detector: Detector
    cropper: Cropper
    quality: QualityModel
    crop_params: CropParams

    @property
    def made_by(self) -> dict[str, Any]:
        return self.quality.made_by

    def analyse(self, frames: pa.Table, *, name: str) -> "Analysis":
        """From one video's rows of the FRAMES schema to its scores; `name` decides where crops are chosen by chance."""
        clip = read_clip(frames)
        images = [entry.frame for entry in clip]
        objects = self.find_objects(images)
        candidates = self.cropper.score(images, [one.boxes_xyxy_px.numpy() for one in objects], self.crop_params)
        crops = crops_table(name, clip, candidates, self.crop_params)
        chosen = crops.filter(crops["selected"])
        scores = pd.DataFrame(
            {
                "frame_index": [entry.frame_index for entry in clip],
                "time_s": [entry.time_s for entry in clip],
                "score": self.quality.score(list(cut_clip(clip, crops, size_px=self.quality.input_px))),
                "sharpness": [sharpness(image) for image in images],
                **{column: chosen[column].to_numpy() for column in BOX_COLUMNS},
            }
        )
        return Analysis(clip, objects, candidates, scores)

    def find_objects(self, images: Sequence[Frame]) -> list[Detections]:
        """The objects of every frame, as the propose stage takes them."""
        made = self.made_by["propose"]
        sources = key_frames([image.shape[:2] for image in images], made.get("every", 1))
        looked = sorted({*sources})
        found = self.detector.detect([images[place] for place in looked])
        best = {place: top_boxes(one, **made["params"]) for place, one in zip(looked, found, strict=True)}
        return [best[source] for source in sources]


class Analysis(NamedTuple):
    """One video frame by frame: what was found in it, the candidates, and the result.

    scores: a row a frame with frame_index, time_s, score (0-100), sharpness and the selected crop (x0, y0, x1, y1).
    """

    clip: list[ClipFrame]
    objects: list[Detections]
    candidates: list[CropScores]
    scores: pd.DataFrame


def load_scorer(folder: Path, *, device_name: str) -> Scorer:
    """The networks of a folder of weights; raise WeightsError when one is missing or they do not belong together."""
    device = pick_device(device_name)
    paths = {name: folder / file for name, file in WEIGHTS.items()}
    missing = [str(path) for path in paths.values() if not path.is_file()]
    if missing:
        raise WeightsError(f"no trained model: {', '.join(missing)} missing; `dvc repro` or `make demo` trains one")
    quality = load_quality(paths["quality"], device=device)
    detector, cropper = load_detector(paths["detector"], device), load_cropper(paths["cropper"], device)
    made, values = quality.made_by, detector_values(paths["detector"])
    belongs = {
        "detector": all(made["propose"].get(name) == values[name] for name in ("backend", "detector", "weights")),
        "cropper": made["crop"]["weights"] == file_sha256(paths["cropper"]),
    }
    for name, does in belongs.items():
        if not does:
            raise WeightsError(f"{paths[name]}: not the {name} that {paths['quality']} was trained behind")
    try:
        crop_params = CropParams(**made["crop"]["params"])
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise WeightsError(
            f"{paths['quality']}: trained by another version of this program, whose crop parameters differ ({keys}); "
            "`dvc repro` trains one"
        ) from None
    wanted = made["decode"]["libraries"]
    if wanted != (found := library_versions(*wanted)):
        print(f"warning: the model's frames came from {wanted}, here is {found}: scores may differ", file=sys.stderr)
    return Scorer(detector, cropper, quality, crop_params)


def find_videos(paths: Iterable[Path]) -> list[Path]:
    """Files as they are given, folders searched for video files, each once, sorted within a folder."""
    found: dict[Path, None] = {}
    for path in paths:
        found |= dict.fromkeys(find_video_files(path) if _is_folder(path) else [path])
    return list(found)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long: its row says so
        return False


def score_videos(
    scorer: Scorer, paths: Sequence[Path], *, workers: int
) -> Iterator[tuple[dict[str, Any], pd.DataFrame | None]]:
    """For every file its row, and its frames or None when it failed, in the order given.

    Other processes decode a few files ahead into a temporary folder while the networks work.
    """
    decode = scorer.made_by["decode"]["params"]
    max_missing = scorer.made_by["prepare"]["params"]["max_missing_fraction"]
    items = [
        Item(shown_name(path), f"{number:08d}", (str(path), max_missing, decode)) for number, path in enumerate(paths)
    ]
    with TemporaryDirectory(prefix="aigc-vqa-") as folder:
        cache = ItemCache("score", Path(folder))
        for item, reason in in_processes(decode_file, workers=workers)(items, cache):
            row: dict[str, Any] = {"path": item.video_id}
            if reason is None:
                frames = cache.read(item.key)
                cache.path(item.key).unlink()
                try:
                    scores = scorer.analyse(frames, name=Path(item.video_id).name).scores
                    summary = scorer.quality.summarise(scores)
                    n_frames = int(frames.schema.metadata[b"n_frames"])
                    yield row | summary | {"n_frames": n_frames, "status": "ok", "reason": None}, scores
                    continue
                except Exception as error:
                    reason = reason_of(error)
            yield row | {"status": "failed", "reason": reason}, None


COLUMNS = (
    "path",
    "score",
    "score_raw",
    "spread",
    "worst_frame_index",
    "worst_time_s",
    "sharpness",
    "n_frames",
    "status",
    "reason",
)


# The same whether a video failed or not: a missing whole number would make a column of fractions.
TYPES = {"worst_frame_index": "Int64", "n_frames": "Int64", "reason": "string"}


def write_results(rows: pd.DataFrame, out: Path) -> None:
    """Write rows as .parquet, .csv or .json (a list of objects), whole or not at all."""
    if out.suffix == ".csv":
        write_text(out, rows.to_csv(index=False, lineterminator="\n"))
    elif out.suffix == ".json":
        write_text(out, rows.to_json(orient="records", indent=2, force_ascii=False) + "\n")
    else:
        with replacing(out) as temporary:
            rows.to_parquet(temporary, index=False)


def screen_table(rows: pd.DataFrame, scale: tuple[float, float], *, shown: int = ROWS_ON_SCREEN) -> str:
    """The rows for the screen: score on 0-100 and on the data set's scale, spread, worst frame and its time."""
    low, high = scale
    # The data set's own scale is worth a column only where it differs.
    raw = "" if (low, high) == (0, 100) else f"  {f'of {low:g}-{high:g}':>10}"
    names = [str(path) for path in rows["path"].head(shown)]
    width = min(60, max([len(name) for name in names] + [5]))
    lines = [f"{'video':<{width}}  {'score':>6}{raw}  {'spread':>6}  worst frame"]
    for name, row in zip(names, rows.head(shown).to_dict("records"), strict=True):
        short = name if len(name) <= width else "…" + name[-(width - 1) :]
        if row["status"] != "ok":
            lines.append(f"{short:<{width}}  failed: {row['reason']}")
            continue
        own = f"  {row['score_raw']:>10.2f}" if raw else ""
        worst = f"{int(row['worst_frame_index'])} at {row['worst_time_s']:.2f} s"
        lines.append(f"{short:<{width}}  {row['score']:>6.2f}{own}  {row['spread']:>6.2f}  {worst}")
    if len(rows) > shown:
        lines.append(f"and {len(rows) - shown} more")
    return "\n".join(lines)


def frames_path(out: Path) -> Path:
    """Where the frames of `--frames` go: beside the results, `scores.csv` and `scores.frames.csv`."""
    return out.with_name(f"{out.stem}.frames{out.suffix}")


def score(
    paths: list[Path], out: Path | None, frames: bool, model: Path, device: str, workers: int, threads: int
) -> int:
    """Score files and folders; returns 0 when every video was scored, else 1. Raises for misuse before work starts."""
    if out is not None:
        check_out(out, endings=(".parquet", ".csv", ".json"))
        check_out(frames_path(out))
    videos = find_videos(paths)
    if not videos:
        places = ", ".join(map(str, paths))
        raise DatasetError(f"no videos in {places} (looked for {', '.join(sorted(EXTENSIONS))})")
    make_deterministic(threads=threads or available_cores())
    scorer = load_scorer(model, device_name=device)
    results, parts = [], []
    try:
        for row, scores in progress(
            score_videos(scorer, videos, workers=workers or available_cores()),
            total=len(videos),
            desc="score",
            unit="video",
        ):
            results.append(row)
            if frames and scores is not None:
                parts.append(scores.assign(path=row["path"]))
    finally:
        # What was scored is kept when the run is interrupted.
        rows = pd.DataFrame(results, columns=COLUMNS).astype(TYPES)
        if out is not None and results:
            write_results(rows, out)
            if parts:
                table = pd.concat(parts)
                write_results(table[["path", *table.columns.drop("path")]], frames_path(out))
    print(screen_table(rows, scorer.quality.mos_scale))
    if frames and out is None:
        for part in parts:
            line = " ".join(f"{value:.1f}" for value in part["score"])
            print(f"{part['path'].iloc[0]}  frame scores: {line}")
    failed = int((rows["status"] != "ok").sum())
    written = f", written to {out}" if out is not None else ""
    print(f"{len(rows) - failed} of {len(rows)} videos scored, {failed} failed{written}")
    return 1 if failed else 0


def add_arguments(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "score",
        help="score videos with the trained model",
        description="Score video files, and all videos in folders. Exit status 1 when a video could not be scored.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="video file or folder")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the rows as .parquet, .csv or .json")
    parser.add_argument("--frames", action="store_true", help="every frame's score too (beside --out: NAME.frames.*)")
    parser.add_argument("--model", type=Path, default=Path("weights"), metavar="DIR", help="folder of weights")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where networks run (auto)")
    parser.add_argument("--workers", type=count, default=0, help="decoding processes; 0: one a core (0)")
    parser.add_argument("--threads", type=count, default=1, help="threads of a network on a CPU; 0: one a core (1)")
    parser.set_defaults(call=score)
