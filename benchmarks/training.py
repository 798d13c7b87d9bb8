"""Steps of the quality model's training, its loader and the prediction, against the bare work inside them.

The clips are rendered as the demo's are, 64 of them with 6 frames at 96 to 128 px; network, batch and thread count are
those of the shipped params.yaml. "Bare" is what no program could leave out: forward and backward passes of the same
network with the plain loss, the step of the optimiser, OpenCV's decoding of the same PNGs, loading the weights and
forward passes on frames that lie in memory. The demo's network works on a frame hardly longer than decoding, cutting
out and writing take; prediction with it is shown without a goal.
"""

import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from benchmarks.compare import Row, duration_row, ratio_row, time_in_turn
from benchmarks.stage_inputs import inside
from models.methods.frame_consistency.losses import frame_consistency_loss
from models.optim import parameter_groups
from stages import predict
from stages.demo_data.clips import make_generators, render_clip
from stages.demo_data.scenes import describe
from stages.engine.device import make_deterministic
from stages.io.images import encode_image
from stages.io.schemas import CROPS, FRAMES, MANIFEST
from stages.io.shards import Shards, write_shards
from stages.io.tables import write_frame
from stages.io.weights import save_weights
from stages.params.load import load_params
from stages.params.schema import Params
from stages.steps.scores import PieceOfVideo, load_quality
from stages.training.loaders.augment import mirror_clips
from stages.training.loaders.clips import ClipDataset, ClipLoader, ClipSource, in_batches
from stages.training.processes import Processes
from stages.training.step import Training, set_up, train_step
from tests.configs import frame_consistency, frame_consistency_weights, reliability

VIDEOS, FRAME_COUNT, CANDIDATES = 64, 6, 90
LABELS = {"sigma": 25.0}
MADE_BY = {
    "prepare": {"params": {"mos_min": 0.0, "mos_max": 100.0}},
    "decode": {"params": {"frames": FRAME_COUNT}, "plan": {"kind": "spread", "count": FRAME_COUNT}},
}


def rows() -> list[Row]:
    params = load_params()
    make_deterministic(threads=1)
    cv2.setNumThreads(1)
    with TemporaryDirectory() as folder, chdir(folder):
        write_tables(Path(folder))
        frames, crops = Shards("frames", schema=FRAMES), Shards("crops", schema=CROPS)
        source = ClipSource(frame_consistency(), frames, crops, params.crop.shape, FRAME_COUNT)
        return [*step_rows(params, source), *waiting_rows(params, source), *loader_rows(params, source),
                *prediction_rows(params)]  # fmt: skip


def write_tables(folder: Path) -> None:
    """manifest, split, frames and crops as the stages write them; one of the candidates of every frame is selected."""
    random = np.random.default_rng(0)
    generator = make_generators(1, random)[0]
    frame_rows, crop_rows = {}, {}
    for number in range(VIDEOS):
        video_id = f"clip_{number:03d}"
        images = [
            still.rgb for still in render_clip(describe(random), generator, random, scale=1.0, restlessness=1.0).stills
        ]
        images = images[:FRAME_COUNT]
        height, width = images[0].shape[:2]
        frame_rows[video_id] = pa.Table.from_pydict(
            {
                "video_id": [video_id] * FRAME_COUNT,
                "frame_index": range(FRAME_COUNT),
                "time_s": [index / 8 for index in range(FRAME_COUNT)],
                "width": [width] * FRAME_COUNT,
                "height": [height] * FRAME_COUNT,
                "encoding": ["png"] * FRAME_COUNT,
                "image": [encode_image(image, encoding="png", jpeg_quality=95) for image in images],
            },
            schema=FRAMES,
        )
        total = FRAME_COUNT * CANDIDATES
        low, high = random.uniform(0, 0.2, (2, total)), random.uniform(0.8, 1, (2, total))
        crop_rows[video_id] = pa.Table.from_pydict(
            {
                "video_id": [video_id] * total,
                "frame_index": np.repeat(np.arange(FRAME_COUNT), CANDIDATES),
                "candidate": np.tile(np.arange(CANDIDATES), FRAME_COUNT),
                "x0": low[0] * width,
                "y0": low[1] * height,
                "x1": high[0] * width,
                "y1": high[1] * height,
                "score": random.normal(size=total),
                "selected": np.tile(np.arange(CANDIDATES) == 7, FRAME_COUNT),
                "fallback": [False] * total,
            },
            schema=CROPS,
        )
    for name, tables, schema in (("frames", frame_rows, FRAMES), ("crops", crop_rows, CROPS)):
        write_shards(
            folder / name,
            {video_id: video_id for video_id in tables},
            lambda _, video_id, tables=tables: tables[video_id],  # type: ignore[misc]
            schema=schema,
            n_shards=8,
            made_by=MADE_BY,
            failed={},
        )
    manifest = pd.DataFrame({name: pd.Series([None] * VIDEOS, dtype=object) for name in MANIFEST.names})
    manifest["video_id"], manifest["mos"] = list(frame_rows), np.linspace(10, 90, VIDEOS)
    write_frame(folder / "manifest.parquet", manifest, schema=MANIFEST, metadata={"made_by": {}})
    pd.DataFrame({"video_id": list(frame_rows), "part": "test"}).to_csv(folder / "split.csv", index=False)


def set_up_training(params: Params, *, epsilon: float) -> Training:
    """The training of the shipped parameters, or the same without FGM."""
    settings = params.train.model_copy(update={"fgm": params.train.fgm.model_copy(update={"epsilon": epsilon})})
    method = frame_consistency()
    training = set_up(method, method.build(seed=0), settings, Processes())
    training.model.train()
    return training


def step_rows(params: Params, source: ClipSource) -> list[Row]:
    """A step of training, with and without FGM, and the bare passes and steps."""
    crops = torch.stack([source.read(f"clip_{number:03d}") for number in range(16)])
    mos, sigma = torch.linspace(10, 90, 16), LABELS["sigma"]

    def bare(passes: int) -> Callable[[], object]:
        training = set_up_training(params, epsilon=0)
        groups = parameter_groups(training.network, params.train.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=1e-3, foreach=True)

        def run() -> None:
            optimizer.zero_grad(set_to_none=True)
            for _ in range(passes):
                frame_consistency_loss(training.network(crops), mos, sigma).backward()
            optimizer.step()

        return run

    def ours(epsilon: float) -> Callable[[], object]:
        training = set_up_training(params, epsilon=epsilon)
        return lambda: train_step(training, crops, mos, LABELS)

    seconds = time_in_turn(
        {"two": bare(2), "fgm": ours(params.train.fgm.epsilon), "one": bare(1), "plain": ours(0.0)}, rounds=15
    )
    return [
        duration_row("step with FGM, 16 videos of 6 frames", seconds["fgm"]),
        ratio_row("step with FGM / two bare passes and a step", seconds["fgm"], seconds["two"], goal="at most 1.05"),
        ratio_row("step without FGM / one bare pass and a step", seconds["plain"], seconds["one"], goal="at most 1.05"),
    ]


def waiting_rows(params: Params, source: ClipSource) -> list[Row]:
    """The share of an epoch that training waits for crops, from memory and from two decoding workers."""
    ids = [f"clip_{number:03d}" for number in range(VIDEOS)]
    training = set_up_training(params, epsilon=params.train.fgm.epsilon)
    mos = torch.linspace(10, 90, VIDEOS)
    result = []
    for name, cache_gib in (("in memory", 1.0), ("decoded by two workers", 0.0)):
        loader = ClipLoader(ClipDataset(source, ids, cache_gib=cache_gib), workers=2)
        shares = []
        for _ in range(4):
            waited, start, mark = 0.0, time.perf_counter(), None
            for crops, indices in loader.batches(in_batches(range(VIDEOS), params.train.batch_videos)):
                now = time.perf_counter()
                # The first batch of an epoch has nothing to be prepared behind.
                waited += now - mark if mark is not None else 0.0
                start = now if mark is None else start
                train_step(training, mirror_clips(crops, indices % 2 == 0), mos[indices], LABELS)
                mark = time.perf_counter()
            shares.append(waited / (time.perf_counter() - start))
        low, middle, high = np.quantile(shares[1:], (0.25, 0.5, 0.75))
        result.append(Row(f"waiting for crops / time of the steps, {name}", middle, low, high, goal="at most 0.05"))
    return result


def loader_rows(params: Params, source: ClipSource) -> list[Row]:
    """Decoded, cropped, mirrored frames a second in one process, and decoding the same PNGs alone."""
    ids = [f"clip_{number:03d}" for number in range(VIDEOS)]
    loader = ClipLoader(ClipDataset(source, ids, cache_gib=0), workers=0)
    images = [image for video_id in ids for image in source.frames_table.read(video_id)["image"].to_pylist()]

    def dry() -> None:
        for crops, indices in loader.batches(in_batches(range(VIDEOS), params.train.batch_videos)):
            mirror_clips(crops, indices % 2 == 0)

    def decode() -> None:
        for image in images:
            cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)

    seconds = time_in_turn({"decode": decode, "dry": dry}, rounds=15)
    frames = VIDEOS * FRAME_COUNT
    return [
        Row("loader, decoded, cropped, mirrored", frames / float(np.median(seconds["dry"])), unit="frames/s and core"),
        Row("decoding alone", frames / float(np.median(seconds["decode"])), unit="frames/s and core"),
        ratio_row("loader / decoding alone", seconds["decode"], seconds["dry"], goal="at least 0.7"),
    ]


def prediction_rows(params: Params) -> list[Row]:
    """The predict stage from tables to tables, and the network alone on crops in memory, in full batches."""
    shipped = frame_consistency().params
    return [
        prediction_row(params, "ConvNeXt-atto at 160 px", "convnext_atto", 160, goal="at least 0.9"),
        prediction_row(params, "the demo's network", shipped.backbone, shipped.input_px, goal=""),
    ]


def prediction_row(params: Params, label: str, backbone: str, input_px: int, *, goal: str) -> Row:
    method = frame_consistency(backbone=backbone, pooling="mean", dropout=0.0, input_px=input_px)
    network = method.build(seed=0)
    about = frame_consistency_weights(method.config) | {"reliability": reliability(), "made_by": MADE_BY}
    save_weights("quality.safetensors", network.state_dict(), about)
    size = (params.engine.batch_frames, 3, input_px, input_px)
    batch = torch.from_numpy(np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8))
    pieces = [PieceOfVideo(values, []) for values in batch]

    def bare() -> None:
        model = load_quality("quality.safetensors", device=torch.device("cpu"))
        for _ in range(VIDEOS * FRAME_COUNT // len(batch)):
            model.score(pieces)

    engine = params.engine.model_copy(update={"device": "cpu", "threads": 1})
    folder = Path.cwd()

    def stage() -> None:
        with TemporaryDirectory(dir=folder) as work, inside(Path(work)):
            predict.predict(
                params.model_copy(update={"engine": engine}),
                manifest=folder / "manifest.parquet",
                split=folder / "split.csv",
                frames=folder / "frames",
                crops=folder / "crops",
                weights=folder / "quality.safetensors",
                scores=Path("scores.parquet"),
                out=Path("predictions.parquet"),
            )

    seconds = time_in_turn({"bare": bare, "stage": stage}, rounds=9, warm_up=1)
    what = f"throughput of prediction / of forward passes, {label}"
    return ratio_row(what, seconds["bare"], seconds["stage"], goal=goal)
