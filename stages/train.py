"""train: the network of the chosen method, with FGM; the epoch with the best (SROCC + PLCC) / 2 on validation is kept.

Phases: gather, build, fit, save. The state after every epoch lies in `.cache/train`, named by all that the result
depends on: a killed training goes on there and gives the weights that an unbroken one gives. Several processes, a GPU
each, train as one: engine.processes starts them here; torchrun and `accelerate launch` can start this module too.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from models.errors import AigcVqaError
from models.methods import load_method, method_module
from models.methods.interface import Method, MethodError
from stages.engine.cache import cache_root
from stages.engine.command import run, stage_arguments
from stages.engine.device import LIBRARIES, make_deterministic, surroundings
from stages.engine.fingerprint import fingerprint
from stages.errors import DatasetError, EvaluationError, WeightsError
from stages.io.digests import digest, file_sha256, library_versions
from stages.io.schemas import CROPS, FRAMES
from stages.io.shards import Shards
from stages.io.tables import read_labels
from stages.io.weights import read_checkpoint, save_weights
from stages.params.load import load_params
from stages.params.schema import Params
from stages.steps.history import crop_shape, decoded_frames
from stages.training.loaders.clips import ClipDataset, ClipLoader, ClipSource
from stages.training.processes import Processes, joined_processes, start_processes
from stages.training.quality import QualityData, fit
from stages.training.reliability import measure_reliability
from stages.training.state import TrainingState
from stages.training.step import set_up

MIN_VIDEOS = 3


def gather(
    params: Params,
    method: Method,
    labels: pd.DataFrame,
    frames: Shards,
    crops: Shards,
    *,
    processes: Processes,
    pinned: bool,
) -> QualityData:
    """Samples and MOS of the usable videos; raise DatasetError when a part cannot be trained or selected on."""
    if params.train.batch_videos < method.least_batch:
        raise DatasetError(
            f"train.batch_videos = {params.train.batch_videos}: the losses of the method {params.method} compare the "
            f"videos of a batch; at least {method.least_batch} are needed"
        )
    decoded = decoded_frames(crops.made_by)
    n_frames = decoded.params.frames
    if n_frames != params.decode.frames:
        raise DatasetError(
            f"{frames.folder} holds {n_frames} frames a video, decode.frames asks for {params.decode.frames}; "
            "`dvc repro` decodes them"
        )
    if decoded.plan != params.plan:
        raise DatasetError(
            f"{frames.folder} holds {decoded.plan} of a video, the method {params.method} reads {params.plan}; "
            "`dvc repro` decodes them"
        )
    source = ClipSource(method, frames, crops, crop_shape(crops.made_by), n_frames)
    # Processes on one machine share its memory and its cores.
    left_gib, workers = params.engine.cache_gib / processes.count, max(1, params.engine.n_workers // processes.count)
    loaders, mos = {}, {}
    for part in ("train", "val"):
        rows = labels[(labels["part"] == part) & labels["video_id"].isin(crops.ids)].sort_values("video_id")
        if len(rows) < MIN_VIDEOS:
            raise DatasetError(f"the part {part} has {len(rows)} usable videos; at least {MIN_VIDEOS} are needed")
        if rows["mos"].nunique() == 1:
            raise DatasetError(
                f"all MOS of the part {part} are {rows['mos'].iloc[0]:g}; nothing can be learned from it"
            )
        clips = ClipDataset(source, rows["video_id"].tolist(), cache_gib=left_gib, threads=workers)
        left_gib -= clips.gib if clips.fits else 0
        loaders[part] = ClipLoader(clips, workers=workers, pinned=pinned)
        mos[part] = torch.tensor(rows["mos"].to_numpy(), dtype=torch.float32)
    try:
        learnt = method.learn_labels(mos["train"])
    except MethodError as error:
        raise DatasetError(f"{error} (are dataset.mos_min and mos_max right?)") from None
    # Validation has no backward pass: as many frames at once as any other scoring.
    val_batch_videos = max(1, params.engine.batch_frames // max(n_frames, method.frames_a_piece))
    return QualityData(loaders["train"], mos["train"], loaders["val"], mos["val"], learnt, val_batch_videos)


def build(params: Params, method: Method) -> nn.Module:
    """The network on the CPU, from scratch by seed or with the weights of a file that the method's params name.

    Raises AigcVqaError for a network that cannot be built, WeightsError for a file without weights, or with those of
    another network.
    """
    network = method.build(seed=params.train.seed)
    if (start := method.start()) is not None:
        named = f"methods.{params.method}.{start.key} {start.path}"
        if not Path(start.path).is_file():
            raise WeightsError(f"{named}: no such file; `make weights` fetches the files that params name")
        try:
            method.start_from(network, read_checkpoint(start.path))
        except AigcVqaError as error:
            raise WeightsError(f"{named}: not of {start.name}: {error}") from None
    return network


def train(
    params: Params, *, manifest: Path, split: Path, frames: Path, crops: Path, weights: Path, curves: Path
) -> None:
    """Train the quality model and keep the best epoch, with everything that scoring needs beside the weights.

    Args:
        params: The checked params.
        manifest: Table of videos (Parquet).
        split: Parts of the videos (CSV).
        frames: Folder of frames.
        crops: Folder of crops.
        weights: Weights to write (safetensors).
        curves: Folder for the training curves.

    Raises:
        DatasetError: A part cannot be trained or selected on.
        EvaluationError: No epoch gave predictions with a correlation.
        WeightsError: The pretrained weights are missing or of another network.
    """
    with joined_processes(params.engine.device) as (processes, device):
        make_deterministic(threads=max(1, params.engine.n_threads // processes.count))
        labels = read_labels(manifest, split)
        frames_table, crops_table = Shards(frames, schema=FRAMES), Shards(crops, schema=CROPS)
        pinned = device.type == "cuda"
        method = load_method(params.method, params.chosen)
        data = gather(params, method, labels, frames_table, crops_table, processes=processes, pinned=pinned)
        training = set_up(method, build(params, method).to(device), params.train, processes)

        own = {"method": params.method, "params": params.chosen.model_dump(mode="json"), "network": method.network}
        made = {
            "code": fingerprint("stages.train", method_module(params.method)),
            "params": params.train.model_dump(),
            "libraries": library_versions(*LIBRARIES),
        }
        if (start := method.start()) is not None:
            # The file's name is among the params; another file may take it.
            made |= {start.key: file_sha256(start.path)}
        used = [[(name, crops_table.keys[name]) for name in loader.clips.ids] for loader in (data.train, data.val)]
        around = surroundings(device, threads=torch.get_num_threads(), processes=processes.count)
        # How sure an interval is to be changes no weight.
        trained = made | {"params": params.train.model_dump(exclude={"confidence"})}
        key = digest(
            trained,
            own,
            around,
            crop_shape(crops_table.made_by),
            used,
            data.train_mos.tolist(),
            data.val_mos.tolist(),
        )
        folder = cache_root() / "train"
        state = TrainingState(folder / f"{key}.pt")
        best = fit(training, data, state=state, curves=curves)
        if "weights" not in best:
            raise EvaluationError("no epoch gave predictions that a correlation with the MOS can be computed from")
        if not processes.is_first:
            return
        measured = TrainingState(folder / f"{digest(key, params.train.confidence)}.reliability.pt")
        if (saved := measured.load()) is None:
            training.network.load_state_dict(best["weights"])
            reliability = measure_reliability(
                method, training.network, data, confidence=params.train.confidence, workers=params.engine.n_workers
            )
            saved = reliability.model_dump()
            measured.save(**saved)
        about = own | {
            "reliability": saved,
            "made_by": crops_table.made_by | {"train": made},
            "labels": data.labels,
            "best": {name: value for name, value in best.items() if name != "weights"},
        }
        save_weights(weights, best["weights"], about)
        print(
            f"train: epoch {best['epoch']} of {params.train.epochs} kept, validation SROCC {best['val/srocc']:.4f}, "
            f"PLCC {best['val/plcc']:.4f}"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage, in as many processes as `engine.processes` says.

    Args:
        argv: The words after `python -m stages.train`; None: those of the process.
    """
    words = sys.argv[1:] if argv is None else argv
    arguments = stage_arguments(train, words)
    params = load_params()
    start_processes(params.engine.processes, "stages.train", words, device_name=params.engine.device)
    train(params, **arguments)


if __name__ == "__main__":
    run(main)
