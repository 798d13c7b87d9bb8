"""What the tests share: tiny lossless clips, a data set of them, and a working directory of their own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from stages.params.load import merge

ROOT = Path(__file__).resolve().parent.parent
# The scores' own stages, and those that run only where these need them.
PIPELINES = ("dvc.yaml", "inputs/dvc.yaml")


def read_stages() -> dict[str, Any]:
    """All stages by name, as the pipeline files define them."""
    files = (yaml.safe_load((ROOT / name).read_text(encoding="utf-8")) for name in PIPELINES)
    return {name: stage for file in files for name, stage in file["stages"].items()}


def noise_clip(seed: int, *, n_frames: int = 8, height: int = 32, width: int = 48) -> NDArray[np.uint8]:
    """(n_frames, height, width, 3) RGB: smooth noise that drifts, so that frames differ and compress."""
    random = np.random.default_rng(seed)
    base = cv2.resize(random.integers(0, 256, (6, 9, 3), dtype=np.uint8), (width, height))
    return np.stack([np.roll(base, 2 * number, axis=1) for number in range(n_frames)])


def write_clip(
    path: Path, frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], *, fps: float = 8.0, codec: str = "FFV1"
) -> Path:
    """Write RGB frames of one size; FFV1 in AVI or MKV is lossless up to the colour conversion."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (width, height))
    assert writer.isOpened(), f"OpenCV cannot write {codec} to {path.suffix}"
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def write_dataset(root: Path, *, prompts: int = 4, generators: Sequence[str] = ("alpha", "beta")) -> Path:
    """A folder in T2VQA-DB's layout: prompts x generators clips, MOS spread over 10-90."""
    lines, total = [], prompts * len(generators)
    for number in range(total):
        prompt, generator = divmod(number, len(generators))
        name = f"{generators[generator]}_{prompt:04d}.avi"
        write_clip(root / "videos" / name, noise_clip(number))
        lines.append(f"{name}|prompt number {prompt}|{10 + 80 * number / max(1, total - 1):.3f}")
    (root / "info.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def shipped_params() -> dict:
    """The values of the shipped params.yaml."""
    return yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that `.cache` and outputs stay out of the tree."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


@pytest.fixture
def write_params(workplace: Path, shipped_params: dict) -> Callable[..., None]:
    """Write params.yaml into the working directory: the shipped values with changes such as `engine={"workers": 1}`."""

    def write(**changes: dict) -> None:
        (workplace / "params.yaml").write_text(yaml.safe_dump(merge(shipped_params, changes)), encoding="utf-8")

    return write
