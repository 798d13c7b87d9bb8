"""Frame and crop tables of rendered clips whose sharpness is their quality: small, and learnable in seconds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa

from stages.io.images import encode_image
from stages.io.schemas import CROPS, FRAMES, MANIFEST
from stages.io.shards import write_shards
from stages.io.tables import write_frame
from stages.params.load import load_params
from tests.conftest import ROOT

SIZE_PX = 32
_PARAMS = load_params(ROOT / "params.yaml")
MADE_BY: dict[str, Any] = {
    "prepare": {"params": {"mos_min": 1.0, "mos_max": 5.0, "max_missing_fraction": 0.1}},
    "decode": {
        "params": {"frames": 3, "encoding": "png", "jpeg_quality": 95},
        "plan": {"kind": "spread", "count": 3},
    },
    "propose": {"params": _PARAMS.propose.model_dump(), "backend": "torchvision", "detector": {}, "weights": "0"},
    "crop": {"params": _PARAMS.crop.model_dump() | {"method": "full"}, "weights": "0"},
}


def write_tables(
    folder: Path, *, videos: int = 24, frames: int = 3, seed: int = 0, failed: Mapping[str, str] | None = None
) -> None:
    """manifest.parquet, split.csv, frames/ and crops/ (the whole frame is the selected crop) in `folder`.

    Quality q of a clip is drawn from 0..1; its frames are noise blurred by 3 (1 - q), its MOS is 10 + 80 q.
    Videos in `failed` (id -> reason) have frames and no crops.
    """
    random = np.random.default_rng(seed)
    quality = {f"clip_{number:03d}.avi": float(q) for number, q in enumerate(random.uniform(0, 1, videos))}
    frame_rows, crop_rows = {}, {}
    for video_id, q in quality.items():
        images = []
        for _ in range(frames):
            noise = random.integers(0, 256, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
            images.append(np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.1 + 3 * (1 - q)), np.uint8))
        common = {"video_id": [video_id] * frames, "frame_index": list(range(frames))}
        frame_rows[video_id] = pa.Table.from_pydict(
            common
            | {
                "time_s": [number / 8 for number in range(frames)],
                "width": [SIZE_PX] * frames,
                "height": [SIZE_PX] * frames,
                "encoding": ["png"] * frames,
                "image": [encode_image(image, encoding="png", jpeg_quality=95) for image in images],
            },
            schema=FRAMES,
        )
        box = {"x0": [0.0] * frames, "y0": [0.0] * frames, "x1": [SIZE_PX] * frames, "y1": [SIZE_PX] * frames}
        choice = {"score": [0.0] * frames, "selected": [True] * frames, "fallback": [False] * frames}
        crop_rows[video_id] = pa.Table.from_pydict(common | {"candidate": [0] * frames} | box | choice, schema=CROPS)
    keys = {video_id: f"{seed}-{video_id}-{frames}" for video_id in quality}
    for name, rows, schema in (("frames", frame_rows, FRAMES), ("crops", crop_rows, CROPS)):
        lost = dict(failed or {}) if name == "crops" else {}
        write_shards(
            folder / name,
            {video_id: key for video_id, key in keys.items() if video_id not in lost},
            lambda _key, video_id, rows=rows: rows[video_id],  # type: ignore[misc]
            schema=schema,
            n_shards=2,
            made_by=MADE_BY,
            failed=lost,
        )
    manifest = pd.DataFrame({name: pd.Series([None] * videos, dtype=object) for name in MANIFEST.names})
    manifest["video_id"], manifest["path"] = list(quality), list(quality)
    manifest["mos"] = [10 + 80 * q for q in quality.values()]
    manifest["mos_raw"] = [1 + 4 * mos / 100 for mos in manifest["mos"]]
    manifest["generator"], manifest["status"] = "alpha", "ok"
    write_frame(folder / "manifest.parquet", manifest, schema=MANIFEST, metadata={"made_by": {}})
    parts = ["test" if number % 4 == 3 else "val" if number % 4 == 2 else "train" for number in range(videos)]
    pd.DataFrame({"video_id": list(quality), "part": parts}).to_csv(folder / "split.csv", index=False)
