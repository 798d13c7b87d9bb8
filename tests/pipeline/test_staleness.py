"""What a change of code costs and does, on the toy: words cost seconds, an operator reaches the metrics."""

import json
import re
import time
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import PIPELINES
from tests.pipeline.toy import dvc

# Of every kind: a decoder, a network, a loss, a loop, and the stages themselves.
COMMENTED = [
    "stages/io/video.py",
    "stages/decode.py",
    "stages/detector.py",
    "stages/training/cropper.py",
    "stages/training/quality.py",
    "models/detectors/faster_rcnn.py",
    "models/s2cnet/graph.py",
    "models/methods/frame_consistency/losses.py",
    "stages/evaluate.py",
]


def outs(project: Path) -> dict[str, Any]:
    locks = [yaml.safe_load((project / name).with_suffix(".lock").read_text(encoding="utf-8")) for name in PIPELINES]
    return {out["path"]: out["md5"] for lock in locks for stage in lock["stages"].values() for out in stage["outs"]}


def test_changed_words_compute_nothing_and_write_the_same_bytes(project: Path) -> None:
    before = outs(project)
    for name in COMMENTED:
        path = project / name
        text = path.read_text(encoding="utf-8")
        assert text.startswith('"""')
        path.write_text(f'"""Other words.\n\n{text[3:]}\n# One more comment.\n', encoding="utf-8")
    start = time.monotonic()
    output = dvc(project, "repro").stdout
    assert time.monotonic() - start < 240, "seconds a stage, on a busy machine too"
    ran = re.findall(r"Running stage '(?:inputs/dvc\.yaml:)?(\w+)'", output)
    assert {"decode", "detector", "cropper", "crop", "train", "predict", "evaluate"} <= set(ran)
    computed = re.findall(r"(?m)^(\w+): (\d+) computed, \d+ cached", output)
    assert {stage for stage, _ in computed} >= {"decode", "crop", "predict"}
    assert all(count == "0" for _, count in computed)
    assert output.count("trained already") == 3
    assert outs(project) == before


def test_an_edited_operator_reaches_the_metrics(project: Path) -> None:
    """Every pixel inverted: a cache that does not know its code would give the old frames."""
    before, metrics = outs(project), json.loads((project / "results/metrics.json").read_text())
    path = project / "stages/io/video.py"
    text = path.read_text(encoding="utf-8")
    line = "            rgb = picture.rgb()\n"
    assert line in text
    path.write_text(text.replace(line, line.replace("picture.rgb()", "255 - picture.rgb()")), encoding="utf-8")
    output = dvc(project, "repro").stdout
    for stage in ("decode", "propose", "crop", "predict"):
        assert re.search(rf"(?m)^{stage}: 18 computed, 0 cached", output), stage
    after = outs(project)
    changed = {name for name in before if before[name] != after[name]}
    assert changed >= {"data/frames", "data/proposals", "data/crops/s2cnet", "weights/quality.safetensors"}
    # The detector and the cropper learn from still images, which no video decoder touches.
    assert not changed & {"weights/detector.safetensors", "weights/s2cnet.safetensors"}
    assert json.loads((project / "results/metrics.json").read_text()) != metrics
