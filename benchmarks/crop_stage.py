"""The crop stage as a whole, from Parquet frames to Parquet tables, against the network on frames that lie ready.

Frames of 256x256 pixels in PNG, 90 candidates and 5 objects each, S²CNet at the release's widths, batches of 8. The
stage loads the network, reads, decodes, resizes, scores and writes; the bare network scores tensors. Both use the same
threads in turn, as many as params.yaml has (engine.threads); the item cache is empty every time. Memory is the peak of
a process of its own, on one and on four times as many frames.
"""

import functools
import multiprocessing
import resource
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import torch

from benchmarks.compare import Row, throughput_rows, time_in_turn
from benchmarks.s2cnet import BATCH, OBJECTS, SIDE_PX, inputs
from benchmarks.stage_inputs import inside, video_ids, write_frames
from models.folding import fold_batch_norms
from models.s2cnet.network import GAICV2, build_s2cnet
from models.s2cnet.release import RELEASE_MOS_MEAN, RELEASE_MOS_STD
from stages.crop import crop
from stages.io.schemas import PROPOSALS
from stages.io.shards import write_shards
from stages.params.load import load_params
from stages.params.schema import Params
from stages.steps.crops import save_cropper

VIDEOS, FRAMES_A_VIDEO = 16, 8
KIB, MIB = 2**10, 2**20


def write_inputs(folder: Path, videos: int) -> None:
    """Frames, proposals and weights of a data set whose pictures compress as video frames do."""
    random = np.random.default_rng(0)
    network = build_s2cnet(GAICV2)
    save_cropper(
        folder / "s2cnet.safetensors",
        network,
        mos_mean=RELEASE_MOS_MEAN,
        mos_std=RELEASE_MOS_STD,
        config={},
    )
    write_frames(folder / "frames", videos=videos, frames_a_video=FRAMES_A_VIDEO, height=SIDE_PX, width=SIDE_PX)

    def proposal_rows(_key: str, video_id: str) -> pa.Table:
        rows = []
        for index in range(FRAMES_A_VIDEO):
            for rank in range(OBJECTS):
                x0, y0 = random.uniform(0, SIDE_PX / 2, 2)
                box = {"x0": x0, "y0": y0, "x1": x0 + 60, "y1": y0 + 80}
                rows.append({"video_id": video_id, "frame_index": index, "rank": rank, "score": 0.5, "label": 1} | box)
        return pa.Table.from_pylist(rows, schema=PROPOSALS)

    out = folder / "proposals"
    write_shards(out, video_ids(videos), proposal_rows, schema=PROPOSALS, n_shards=4, made_by={}, failed={})


def run_stage(folder: Path, params: Params) -> None:
    with TemporaryDirectory(dir=folder) as work, inside(Path(work)):
        crop(
            params,
            frames=folder / "frames",
            proposals=folder / "proposals",
            cropper=folder / "s2cnet.safetensors",
            out=Path("crops"),
        )


def _peak(folder: Path, params: Params, send: "multiprocessing.connection.Connection") -> None:
    run_stage(folder, params)
    send.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB)


def peak_memory(folder: Path, params: Params) -> int:
    """Bytes."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_peak, args=(folder, params, send))
    process.start()
    process.join()
    return int(receive.recv())


def rows() -> list[Row]:
    shipped = load_params()
    changes = {"method": "s2cnet", "candidates": "grid", "precision": "fp32"}
    engine = {"batch_frames": BATCH, "device": "cpu"}
    params = shipped.model_copy(
        update={
            "crop": shipped.crop.model_copy(update=changes),
            "engine": shipped.engine.model_copy(update=engine),
        }
    )
    network = fold_batch_norms(build_s2cnet(GAICV2).eval())
    batch = inputs()
    n_frames, threads = VIDEOS * FRAMES_A_VIDEO, params.engine.n_threads

    def bare() -> None:
        with torch.inference_mode():
            for _ in range(n_frames // BATCH):
                network(*batch)

    with TemporaryDirectory() as name:
        one, four = Path(name, "one"), Path(name, "four")
        write_inputs(one, VIDEOS)
        write_inputs(four, 4 * VIDEOS)
        stage = functools.partial(run_stage, one, params)
        seconds = time_in_turn({"bare": bare, "stage": stage}, rounds=5, warm_up=1, threads=threads)
        small, large = peak_memory(one, params), peak_memory(four, params)
    return [
        *throughput_rows(
            "crop", frames=n_frames, bare_seconds=seconds["bare"], stage_seconds=seconds["stage"], goal="at least 0.8"
        ),
        Row(f"peak memory, {n_frames} frames", small / MIB, unit="MiB"),
        Row(f"peak memory, {4 * n_frames} frames", large / MIB, unit="MiB"),
        Row("growth of the peak over four times the frames", large / small, goal="at most 1.05"),
    ]
