"""Runs for the tests of the gate: predictions, split and metrics on disk, and the call of the command."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd

from models.metrics import group_pair_accuracy, krocc, paper_mean, plcc, rmse, srocc
from stages.commands import main as cli
from stages.io.schemas import MANIFEST, PREDICTIONS
from stages.io.tables import write_frame

N_TEST = 80
DVC_YAML = """stages:
  predict:
    cmd: echo scores
    outs: [results/predictions.parquet]
  evaluate:
    cmd: echo metrics
    deps: [results/predictions.parquet]
    outs:
      - data/split.csv:
          cache: false
    metrics:
      - results/metrics.json:
          cache: false
"""


def write_run(*, noise: float, seed: int = 1, first: int = 0, n_failed: int = 0, shift: float = 0.0) -> dict:
    """Split, predictions and metrics of one run: scores are the MOS plus `noise`; other seeds are other trainings."""
    mos = np.random.default_rng(0).uniform(10, 90, first + N_TEST)[first:]
    score = mos + np.random.default_rng(seed).normal(0, noise, N_TEST)
    rows = pd.DataFrame({name: pd.Series([None] * N_TEST, dtype=object) for name in PREDICTIONS.names})
    rows["video_id"] = [f"clip_{number:04d}.mp4" for number in range(first, first + N_TEST)]
    rows["part"], rows["status"] = "test", "ok"
    rows["mos"], rows["score"] = mos + shift, score
    rows.loc[: n_failed - 1, ["status", "score"]] = ["failed", None]
    write_frame("results/predictions.parquet", rows, schema=PREDICTIONS, metadata={})
    Path("data").mkdir(exist_ok=True)
    rows[["video_id", "part"]].to_csv("data/split.csv", index=False)
    scored = rows[rows["status"] == "ok"]
    pair = scored["score"].astype(float), scored["mos"].astype(float)
    metrics = {"srocc": srocc(*pair), "plcc": plcc(*pair), "krocc": krocc(*pair)}
    metrics |= {"mean": paper_mean(**metrics), "rmse": rmse(*pair), "srocc_ci_low": metrics["srocc"] - 0.02}
    metrics |= {"n_expected": N_TEST, "n_scored": N_TEST - n_failed, "n_failed": n_failed}
    save_metrics(metrics)
    return metrics


def add_prompts(metrics: dict) -> None:
    """Four videos a prompt: the manifest, and the metric of their pairs beside those that are there."""
    rows = pd.read_parquet("results/predictions.parquet")
    manifest = pd.DataFrame({"video_id": rows["video_id"], "group": [f"prompt {n // 4}" for n in range(N_TEST)]})
    write_frame("data/manifest.parquet", manifest.reindex(columns=MANIFEST.names), schema=MANIFEST, metadata={})
    found = group_pair_accuracy(rows["score"], rows["mos"], manifest["group"].tolist())
    save_metrics(metrics | {"within_prompt_accuracy": found.accuracy})


def save_metrics(metrics: dict) -> None:
    Path("results/metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


def git(*command: str) -> None:
    subprocess.run(["git", *command], check=True, capture_output=True)


def gate(*options: str, baseline: str = "main") -> int | None:
    return cli.call(["gate", "--baseline", baseline, *options])
