"""A trained model as one object: `Scorer.load("weights").score("a.mp4")`.

The weights carry the params of every stage that made them: a folder with the three files is all that scoring needs,
and a video of the data set gets the same score as in the pipeline.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from models.detectors.interface import Detections, Detector, no_detections
from models.s2cnet.scoring import CropScores
from stages.datasets.folder import shown_name
from stages.engine.cache import ItemCache
from stages.engine.device import pick_device
from stages.engine.run import Item, reason_of
from stages.engine.runners.local import in_processes
from stages.errors import VideoError, WeightsError
from stages.io.digests import file_sha256, library_versions
from stages.io.outs import CROPPER_WEIGHTS, DETECTOR_WEIGHTS, QUALITY_WEIGHTS
from stages.io.schemas import BOX_COLUMNS
from stages.params.schema import CropParams
from stages.params.schema.engine import available_cores
from stages.steps.clips import ClipFrame, read_clip
from stages.steps.crops import Cropper, blind_candidates, crops_table, load_cropper
from stages.steps.detectors import detector_values, load_detector
from stages.steps.frames import decode_file
from stages.steps.history import History
from stages.steps.objects import find_objects, objects_by_frame, plan_looks, proposals_table
from stages.steps.scores import QualityModel, load_quality

WEIGHTS = {"detector": DETECTOR_WEIGHTS, "cropper": CROPPER_WEIGHTS, "quality": QUALITY_WEIGHTS}


class Analysis(NamedTuple):
    """One video frame by frame.

    Attributes:
        clip: The decoded frames.
        objects: What the detector found in each; empty, as all of crops, for methods that read none.
        candidates: The crop candidates of each, with their scores.
        selected_xyxy_px: (F, 4) float32, the selected crop of each.
        scores: One row per segment: the columns of FRAME_SCORES but the video's id, and where there are crops the
            selected one (x0, y0, x1, y1; pixels of the frame).
    """

    clip: Sequence[ClipFrame]
    objects: list[Detections]
    candidates: list[CropScores]
    selected_xyxy_px: NDArray[np.float32]
    scores: pd.DataFrame

    def row(self, position: int) -> "pd.Series[Any]":
        """The row of scores whose segment's middle is nearest to a frame.

        Args:
            position: Of the frame in the clip.
        """
        distance = (self.scores["frame_index"] - self.clip[position].frame_index).abs()
        return self.scores.iloc[int(distance.argmin())]


@dataclass(frozen=True)
class VideoScore:
    """The score of a video, or why it has none.

    Attributes:
        path: The file, as it was given.
        status: `ok` or `failed`.
        reason: Why it failed; None for a video that was scored. All other fields of a failed video are None.
        score: 0-100, higher is better.
        score_raw: The score on the data set's own scale of MOS.
        low: Lower end of the interval that holds the MOS, 0-100; None for a video unlike the training videos.
        high: Its upper end.
        unlike_percent: Share of the validation videos that look more like the training videos, percent.
        is_unlike: Whether the video is so unlike the training videos that its score says little.
        spread: Standard deviation of the frames' scores, points.
        worst_frame_index: Decoded index of the frame with the lowest score.
        worst_time_s: Its time, seconds.
        sharpness: Mean over the frames; see `stages.io.images.sharpness`.
        n_frames: Number of frames that the file decodes to.
        frames: One row per scored frame; see `Analysis.scores`.
    """

    path: str
    status: str
    reason: str | None = None
    score: float | None = None
    score_raw: float | None = None
    low: float | None = None
    high: float | None = None
    unlike_percent: float | None = None
    is_unlike: bool | None = None
    spread: float | None = None
    worst_frame_index: int | None = None
    worst_time_s: float | None = None
    sharpness: float | None = None
    n_frames: int | None = None
    frames: pd.DataFrame | None = None


@dataclass(frozen=True)
class Scorer:
    """The networks of a trained model.

    Attributes:
        detector: Finds objects; None for a model whose crops are chosen without looking.
        cropper: Scores and selects crops; None for such a model.
        quality: Scores frames; its history holds the params that the model was trained with.
    """

    detector: Detector | None
    cropper: Cropper | None
    quality: QualityModel

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto") -> Self:
        """The model in a folder of weights.

        Args:
            folder: Holds quality.safetensors, as the pipeline writes it, and beside it detector.safetensors and
                s2cnet.safetensors where S²CNet chooses the crops.
            device: auto, cpu or cuda; auto is a GPU when there is one.

        Raises:
            WeightsError: A file is missing or damaged, or they do not belong together.
            ParamsError: There is no such device.
        """
        place = pick_device(device)
        paths = {name: Path(folder) / file for name, file in WEIGHTS.items()}
        check_there(paths["quality"])
        quality = load_quality(paths["quality"], device=place)
        detector, cropper = None, None
        crop = quality.history.crop
        if crop is not None and not crop.params.is_blind:
            check_there(paths["detector"], paths["cropper"])
            detector, cropper = load_detector(paths["detector"], place), load_cropper(paths["cropper"], place)
            check_belonging(quality.history, paths)
        trained = quality.history.decode.libraries
        if trained != (installed := library_versions(*trained)):
            print(
                f"warning: the model's frames came from {trained}, here is {installed}: scores may differ",
                file=sys.stderr,
            )
        return cls(detector, cropper, quality)

    @property
    def history(self) -> History:
        """What made the model."""
        return self.quality.history

    def score(self, path: str | Path) -> VideoScore:
        """Score one file, decoded in this process.

        Args:
            path: The video file.

        Returns:
            The score; for a file that cannot be scored, the reason.
        """
        name = shown_name(Path(path))
        try:
            return self._scored(name, self.decode(path))
        except Exception as error:
            return VideoScore(name, "failed", reason_of(error))

    def score_many(self, paths: Iterable[str | Path], *, workers: int = 0) -> Iterator[VideoScore]:
        """Score files in the order given, each as soon as it is done: other processes decode ahead of the networks.

        Args:
            paths: Video files.
            workers: Decoding processes; 0: one per core.

        Yields:
            One result per file, failed ones with their reason.
        """
        decode = self.history.decode
        missing = self.history.prepare.params.max_missing_fraction
        items = [
            Item(shown_name(Path(path)), f"{number:08d}", (str(path), missing, decode.plan, decode.params.storage))
            for number, path in enumerate(paths)
        ]
        with TemporaryDirectory(prefix="aigc-vqa-") as folder:
            cache = ItemCache("score", Path(folder))
            for item, reason in in_processes(decode_file, workers=workers or available_cores())(items, cache):
                if reason is not None:
                    yield VideoScore(item.video_id, "failed", reason)
                    continue
                frames = cache.read(item.key)
                cache.path(item.key).unlink()
                try:
                    result = self._scored(item.video_id, frames)
                except Exception as error:
                    result = VideoScore(item.video_id, "failed", reason_of(error))
                yield result

    def decode(self, path: str | Path) -> pa.Table:
        """The frames of a file, chosen as the model's own were.

        Args:
            path: The video file.

        Returns:
            Rows of the FRAMES schema.

        Raises:
            VideoError: The file cannot be decoded; with the reason.
        """
        prepare, decode = self.history.prepare.params, self.history.decode
        return decode_file((str(path), prepare.max_missing_fraction, decode.plan, decode.params.storage))

    def analyse(self, frames: pa.Table, *, name: str) -> Analysis:
        """Score one video from its frames, through the tables that the stages write.

        Args:
            frames: Its rows of the FRAMES schema.
            name: Its name, which decides where crops are chosen at random.
        """
        clip = read_clip(frames)
        if self.history.crop is None:
            nothing = np.zeros((0, 4), np.float32)
            return Analysis(clip, [], [], nothing, self._segments(name, clip, None))
        crop_params = self.history.crop.params
        objects, candidates = self._candidates(clip, crop_params, name=name)
        crops = crops_table(name, clip, candidates, crop_params)
        scores = self._segments(name, clip, crops)
        chosen = crops.filter(crops["selected"]).select(["frame_index", *BOX_COLUMNS]).to_pandas()
        return Analysis(
            clip,
            objects,
            candidates,
            chosen[list(BOX_COLUMNS)].to_numpy(),
            scores.merge(chosen, on="frame_index", how="left", validate="many_to_one"),
        )

    def _segments(self, name: str, clip: Sequence[ClipFrame], crops: pa.Table | None) -> pd.DataFrame:
        """The rows of a video's segments."""
        pieces = self.quality.pieces(clip, crops)
        return self.quality.rows(name, pieces, self.quality.score(pieces)).drop_columns("video_id").to_pandas()

    def _candidates(
        self, clip: Sequence[ClipFrame], params: CropParams, *, name: str
    ) -> tuple[list[Detections], list[CropScores]]:
        """The objects and the crop candidates of every frame; without objects where crops are chosen blindly."""
        images, propose = [entry.frame for entry in clip], self.history.propose
        if self.detector is None or self.cropper is None or propose is None:
            return [no_detections()] * len(clip), blind_candidates(images, params)
        indices = [entry.frame_index for entry in clip]
        planned = plan_looks(indices, [image.shape[:2] for image in images], every=propose.params.every)
        looks = [look._replace(frame=images[look.place]) for look in planned]
        detections = find_objects(self.detector, looks, propose.params)
        boxes = objects_by_frame(proposals_table(name, looks, detections), indices)
        found = {index: each for look, each in zip(looks, detections, strict=True) for index in look.frame_indices}
        return [found[index] for index in indices], self.cropper.score_candidates(images, boxes, params)

    def analyse_file(self, path: str | Path) -> Analysis:
        """Score one file frame by frame.

        Args:
            path: The video file.

        Raises:
            VideoError: The file cannot be decoded; the message names it.
        """
        try:
            return self.analyse(self.decode(path), name=Path(path).name)
        except VideoError as error:
            # In tables the video's name stands beside the reason; here the message has to name it.
            raise VideoError(f"{path}: {error}") from None

    def _scored(self, name: str, frames: pa.Table) -> VideoScore:
        scores = self.analyse(frames, name=Path(name).name).scores
        n_frames = int(frames.schema.metadata[b"n_frames"])
        return VideoScore(name, "ok", None, n_frames=n_frames, frames=scores, **self.quality.summarise(scores))


def check_there(*paths: Path) -> None:
    """Raise WeightsError with those of a model's files that are missing."""
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise WeightsError(f"no trained model: {', '.join(missing)} missing; `dvc repro` or `make demo` trains one")


def check_belonging(history: History, paths: dict[str, Path]) -> None:
    """Check that detector and cropper are those that the quality model was trained with.

    Args:
        history: Of the quality model.
        paths: The files of weights, by the names in WEIGHTS.

    Raises:
        WeightsError: One of them is another.
    """
    values = detector_values(paths["detector"])
    belongs = {
        "detector": all(getattr(history.propose, name) == values[name] for name in ("backend", "detector", "weights")),
        "cropper": history.crop is not None and history.crop.weights == file_sha256(paths["cropper"]),
    }
    for name, matches in belongs.items():
        if not matches:
            raise WeightsError(f"{paths[name]}: not the {name} whose output {paths['quality']} was trained on")
