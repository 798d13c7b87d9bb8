"""A toy copy of the project that runs the whole graph in about a minute on two cores."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from stages.params.load import merge
from tests.configs import sections
from tests.conftest import PIPELINES, ROOT

TOY: dict[str, dict[str, Any]] = {
    "demo": {"prompts": 6, "generators": 3, "object_images": 20, "crop_images": 20},
    # This seed deals two of the six prompts to each part.
    "split": {"val_fraction": 0.3, "test_fraction": 0.3, "seed": 1},
    "decode": {"frames": 3},
    "detector": {"training": {"epochs": 1}},
    "cropper": {"training": {"epochs": 1}},
    **sections(epochs=1, input_px=32, batch_videos=4),
    "engine": {"shards": 2, "device": "cpu"},
}


def make_project(folder: Path, *, git: bool, **changes: dict[str, Any]) -> Path:
    """Copy the project to `folder`, without its results and with toy parameters; a DVC project of its own."""
    for name in ("stages", "models", "presets"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    (folder / "inputs").mkdir()
    for name in (*PIPELINES, "libraries.yaml", "data/fixed.csv", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, own in [*TOY.items(), *changes.items()]:
        values[section] = merge(values[section], own)
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    start_dvc(folder, git=git)
    return folder


def make_one_stage(folder: Path, code: str, *, params: Sequence[str]) -> Path:
    """A DVC project in Git whose only stage runs `code`, which reads params.yaml and writes results/metrics.json.

    params: the sections that the stage depends on. What lies in the folder already is committed with it.
    """
    stage = {
        "cmd": "python evaluate.py",
        "params": list(params),
        "deps": ["evaluate.py"],
        "metrics": [{"results/metrics.json": {"cache": False}}],
    }
    (folder / "evaluate.py").write_text(code, encoding="utf-8")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"evaluate": stage}}), encoding="utf-8")
    start_dvc(folder, git=True)
    return folder


def start_dvc(folder: Path, *, git: bool) -> None:
    """Make a folder a DVC project that shares nothing with others; with Git, commit what lies there."""
    (folder / ".dvc").mkdir()
    no_scm = "" if git else "    no_scm = true\n"
    site = folder / ".site-cache"
    (folder / ".dvc" / "config").write_text(
        f"[core]\n    analytics = false\n    check_update = false\n    site_cache_dir = {site}\n{no_scm}",
        encoding="utf-8",
    )
    (folder / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n", encoding="utf-8")
    if git:
        with (folder / ".gitignore").open("a", encoding="utf-8") as file:
            file.write(".site-cache/\n")
        for command in (
            "init -q -b main",
            "config user.name tester",
            "config user.email tester@example.org",
            "add .",
            "commit -q -m toy",
        ):
            subprocess.run(["git", *command.split()], cwd=folder, check=True)


def environment() -> dict[str, str]:
    """The surroundings of a user's shell with the environment active, nothing of this test run's own DVC."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "PYTEST_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{clean.get('PATH', '')}"
    return clean | {"PATH": path, "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def call(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess:
    """Run a command in the project; its output is in the error when it fails."""
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=600)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def dvc(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    return call(folder, sys.executable, "-m", "dvc", *arguments, check=check)
