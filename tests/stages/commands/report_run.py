"""A small finished run for the tests of the report: every table that stages write, with names as hostile as users'."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from models.metrics import krocc, paper_mean, plcc, plcc_logistic, rmse, srocc
from stages.commands import main as cli
from stages.experiments.series import params_digest
from stages.io.images import encode_image
from stages.io.schemas import AUDIT, CROPS, FRAME_SCORES, FRAMES, MANIFEST, PREDICTIONS
from stages.io.shards import write_shards
from stages.io.tables import write_frame
from stages.params.load import load_params
from stages.params.schema import Params
from tests.conftest import ROOT, noise_clip

N_VIDEOS, N_FRAMES = 20, 3
WORST = "clip_05.mp4"  # its score is 40 points too low
UNEVEN = "clip_07.mp4"  # its frame scores differ by 60 points
FAILED = "clip_10.mp4"
HOSTILE_NAME = "<img src=x onerror=alert(1)>.mp4"
HOSTILE_PROMPT = "\"></td><script>document.title='owned'</script> {{ 7 * 7 }}"
HOSTILE_GENERATOR = "$\\frac{$</text><script>alert(2)</script>"
MADE_BY = {
    "prepare": {"version": 1},
    "crop": {"params": load_params(ROOT / "params.yaml").crop.model_dump()},
    "train": {"version": 1, "params": {"backbone": "tiny_net"}},
}


def video_ids() -> list[str]:
    return [HOSTILE_NAME, *(f"clip_{number:02d}.mp4" for number in range(1, N_VIDEOS))]


def make_run(*, audit: bool = True, ablation: bool = True) -> dict[str, float]:
    """Write data/ and results/ into the working directory; the metrics of the test part."""
    random = np.random.default_rng(0)
    ids = video_ids()
    mos = np.round(random.uniform(15, 85, N_VIDEOS), 2)
    rows = pd.DataFrame({name: pd.Series([None] * N_VIDEOS, dtype=object) for name in PREDICTIONS.names})
    rows["video_id"], rows["mos"], rows["status"] = ids, mos, "ok"
    rows["part"] = ["train" if number % 4 == 3 else "test" for number in range(N_VIDEOS)]
    rows["generator"] = [HOSTILE_GENERATOR if number % 2 == 0 else "beta" for number in range(N_VIDEOS)]
    scores = mos + random.uniform(-4, 4, N_VIDEOS)
    scores[ids.index(WORST)] = mos[ids.index(WORST)] - 40
    spread = {name: 60.0 if name == UNEVEN else 2.0 for name in ids}
    rows["score"] = rows["score_raw"] = scores
    rows["low"], rows["high"] = scores - 11, scores + 11
    rows["spread"] = [spread[name] / 2 for name in ids]
    rows["worst_frame_index"], rows["worst_time_s"], rows["sharpness"] = 2, 0.25, random.uniform(1, 9, N_VIDEOS)
    rows.loc[rows["video_id"] == UNEVEN, "part"] = "test"
    failed = rows["video_id"] == FAILED
    rows.loc[failed, "part"] = "test"
    rows.loc[
        failed, ["score", "score_raw", "low", "high", "spread", "worst_frame_index", "worst_time_s", "sharpness"]
    ] = np.nan
    rows.loc[failed, ["status", "reason"]] = ["failed", "the file is empty"]
    write_frame("results/predictions.parquet", rows, schema=PREDICTIONS, metadata={"made_by": MADE_BY})
    _write_frames(ids, scores, spread)
    manifest = pd.DataFrame({name: pd.Series([None] * N_VIDEOS, dtype=object) for name in MANIFEST.names})
    manifest["video_id"], manifest["status"] = ids, "ok"
    manifest["prompt"] = [HOSTILE_PROMPT, *(f"a prompt about thing {number}" for number in range(1, N_VIDEOS))]
    write_frame("data/manifest.parquet", manifest, schema=MANIFEST, metadata={"made_by": MADE_BY})
    metrics = metrics_of(rows)
    write(Path("results/metrics.json"), metrics)
    write(Path("results/baselines.json"), {"sharpness_srocc": 0.123})
    if audit:
        _write_audit(ids)
    if ablation:
        variant = {
            "shape": "stretch",
            "n": 5,
            "srocc_mean": 0.81,
            "srocc_std": 0.01,
            "plcc_mean": 0.8,
            "krocc_mean": 0.6,
            "mean_std": 0.02,
        }
        variants = [
            variant | {"fcl": False, "crop": "full", "fgm": False, "mean_mean": 0.71, "paper_mean": 0.663},
            variant | {"fcl": True, "crop": "s2cnet", "fgm": True, "mean_mean": 0.74},
        ]
        ablation_of(load_params(), variants)
    return metrics


def ablation_of(params: Params, rows: list[dict[str, Any]]) -> None:
    report = {"params": params_digest(params), "rows": rows, "reading": "No part stands out of the noise <here>."}
    write(Path("results/ablation.json"), report)


def write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def metrics_of(rows: pd.DataFrame) -> dict[str, float]:
    test = rows[rows["part"] == "test"]
    scored = test[test["status"] == "ok"]
    pair = scored["score"].astype(float), scored["mos"].astype(float)
    metrics = {"srocc": srocc(*pair), "plcc": plcc(*pair), "krocc": krocc(*pair)}
    metrics |= {"mean": paper_mean(**metrics), "plcc_logistic": plcc_logistic(*pair), "rmse": rmse(*pair)}
    return metrics | {"n_expected": len(test), "n_scored": len(scored), "n_failed": len(test) - len(scored)}


def _write_frames(ids: list[str], scores: np.ndarray, spread: dict[str, float]) -> None:
    frames, crops, frame_scores = {}, {}, []
    for number, name in enumerate(ids):
        if name == FAILED:
            continue
        clip = noise_clip(number, n_frames=N_FRAMES)
        common: list[dict[str, Any]] = [{"video_id": name, "frame_index": index} for index in range(N_FRAMES)]
        images = [encode_image(frame, encoding="png", jpeg_quality=90) for frame in clip]
        rows = [
            row | {"time_s": row["frame_index"] / 8, "width": 48, "height": 32, "encoding": "png", "image": image}
            for row, image in zip(common, images, strict=True)
        ]
        frames[name] = pa.Table.from_pylist(rows, schema=FRAMES)
        boxes = [{"candidate": 0, "x0": 4.0, "y0": 2.0, "x1": 40.0, "y1": 30.0, "score": 0.5, "selected": True}]
        boxes.append(boxes[0] | {"candidate": 1, "x0": 0.0, "score": 0.1, "selected": False})
        crops[name] = pa.Table.from_pylist([row | box for row in common for box in boxes], schema=CROPS)
        step = spread[name] / 2
        frame_scores += [
            row
            | {
                "time_s": row["frame_index"] / 8,
                "score": scores[number] + step * (1 - row["frame_index"]),
                "deviation": 15.0,
                "distance": 1.0,
            }
            for row in common
        ]
    for folder, schema, tables in (("frames", FRAMES, frames), ("crops/s2cnet", CROPS, crops)):
        write_shards(
            Path("data") / folder,
            dict.fromkeys(tables, "key"),
            lambda key, name, tables=tables: tables[name],  # type: ignore[misc]
            schema=schema,
            n_shards=2,
            made_by=MADE_BY,
            failed={FAILED: "the file is empty"},
        )
    table = pd.DataFrame(frame_scores).assign(sharpness=1.0)
    write_frame("results/frame_scores.parquet", table, schema=FRAME_SCORES, metadata={"made_by": MADE_BY})


def _write_audit(ids: list[str]) -> None:
    counts = {"n_frames_header": 8, "n_packets": 8, "n_frames": 8, "n_size_changes": 0, "rotation_deg": 0}
    counts |= {"n_identical": 0, "n_nearly_identical": 0, "longest_freeze_frames": 1}
    rows = [
        {"video_id": name, "status": "ok", "variable_rate": False, "identical_share": 0.0, **counts} for name in ids
    ]
    rows[1] |= {"n_identical": 3, "variable_rate": True, "n_frames_header": 9}
    rows[ids.index(FAILED)] = {"video_id": FAILED, "status": "failed", "reason": "the file is empty"}
    table = pd.DataFrame(rows, columns=AUDIT.names).assign(frame_hashes=None)
    write_frame("results/audit.parquet", table, schema=AUDIT, metadata={})
    summary: dict[str, Any] = dict.fromkeys(
        (
            "n_packets_differ",
            "n_rotated",
            "n_size_changes",
            "n_colour_tagged",
            "n_same_file",
            "n_near_copies",
            "n_near_copies_apart",
        ),
        0,
    )
    summary |= {"n_videos": N_VIDEOS, "n_damaged": 1, "n_unusable_labels": 0}
    summary |= {"n_header_differs": 1, "n_variable_rate": 1}
    summary |= {"n_with_identical_neighbours": 1, "identical_share": 0.0225, "nearly_identical_share": 0.0225}
    summary |= {"by_size": {"48x32": 19}, "by_rate_fps": {"8": 19}, "by_codec": {"h264, yuv420p": 19}}
    summary |= {"by_colour_tags": {"limited bt709 bt709 bt709": 19}, "by_rotation_deg": {"0": 19}}
    write(Path("results/audit.json"), summary)


class Reader(HTMLParser):
    """Elements with their attributes, and the text that a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._silent = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._silent += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def report(*options: str) -> Reader:
    cli.call(["report", "--out", "page.html", *options])
    return Reader(Path("page.html").read_text(encoding="utf-8"))
