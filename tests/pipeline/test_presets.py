"""The presets: every value says where it is from, and each runs from labels to metrics on a tiny copy of its layout.

Tiny networks lie where the preset wants its pretrained weights; only sizes change, to what they and the clips need.
"""

import csv
import importlib
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file

from models.detectors.build import build_detector
from models.s2cnet.network import build_s2cnet
from stages.io.schemas import MANIFEST, PREDICTIONS
from stages.io.tables import read_frame
from stages.params.load import flatten, load_params, merge, read_yaml
from stages.params.presets import BASED_ON, preset_changes, read_preset
from stages.params.schema import Params
from stages.steps.crops import save_cropper
from stages.steps.detectors import save_detector
from tests.configs import faster_rcnn_config, s2cnet_config, sections
from tests.conftest import ROOT, noise_clip, read_stages, write_clip, write_dataset

PRESETS = sorted(
    path.relative_to(ROOT / "presets").with_suffix("").as_posix() for path in (ROOT / "presets").rglob("*.yaml")
)
# Those whose layout is drawn here, with a seed that leaves enough videos in each part; the labels of all are read in
# tests/stages/datasets/test_public_sets.py.
SEEDS = {"kvq": 7, "t2vqa_db": 8, "vquala": 46, "own": 8}
DATA_SETS = [
    "aigvqa_db", "fetv", "gaia", "kvq", "kvq_2025", "lgvq", "q_eval_video", "t2veval_bench", "t2vqa_db",
    "videofeedback", "vquala",
]  # fmt: skip
TINY: dict[str, Any] = {
    "split": {"val_fraction": 0.35, "test_fraction": 0.35},
    "decode": {"frames": 2},
    # detectron2 is not everywhere; its networks are run in tests/models/detectors.
    "detector": {"backend": "torchvision", "source": "weights/pretrained/detector.safetensors"},
    **sections(backbone="test_convnext", input_px=32, epochs=1, batch_videos=4),
    "evaluate": {"bootstrap_samples": 100},
    "engine": {"workers": 1, "threads": 1, "device": "cpu", "shards": 2},
}


def leaf_lines(node: yaml.MappingNode) -> Iterator[int]:
    for _, value in node.value:
        if isinstance(value, yaml.MappingNode):
            yield from leaf_lines(value)
        else:
            yield value.start_mark.line


@pytest.mark.parametrize("name", PRESETS)
def test_every_value_says_where_it_is_from(name: str) -> None:
    text = (ROOT / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    for line in (lines[number] for number in leaf_lines(root)):
        if line.startswith(f"{BASED_ON}:"):
            continue
        assert "not read" not in line, line
        assert re.search(r"  # (paper|data|weights|release|choice)\b", line), line
        # What is ours has a reason; a value right below another of its kind shares it.
        assert not re.search(r"# choice$", line) or "mos_max" in line, line


@pytest.mark.parametrize("name", [*DATA_SETS, "own"])
@pytest.mark.parametrize("before", [*DATA_SETS, "t2vqa_db+detectors/coco"])
def test_a_preset_gives_the_same_after_another_one(before: str, name: str) -> None:
    """`aigc-vqa run` leaves its changes in params.yaml: the next preset has to name all that the one before it did."""
    shipped, folder = read_yaml(ROOT / "params.yaml"), ROOT / "presets"
    first, second = (preset_changes(each, folder=folder) for each in (before, name))
    after, alone = (dict(flatten(merge(base, second))) for base in (merge(shipped, first), shipped))
    # The sub-section of what is not chosen is not read.
    chosen = {
        "detector.torchvision.": ("detector.backend", "torchvision"),
        "dataset.table.": ("dataset.format", "table"),
    }
    unread = tuple(section for section, (key, value) in chosen.items() if alone[key] != value)
    if alone["crop.method"] != "s2cnet":
        unread += ("detector.", "propose.", "cropper.")
    assert {key for key in alone if after[key] != alone[key] and not key.startswith(unread)} == set()


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "paper"])
def test_a_preset_holds_what_differs(name: str) -> None:
    """A choice of ours that params.yaml makes too does not stand here; what a source gives does, whatever stands there.

    The presets of data sets also name what another data set changes.
    """
    shipped, folder = dict(flatten(read_yaml(ROOT / "params.yaml"))), ROOT / "presets"
    needed = {
        key
        for each in DATA_SETS
        for key, value in flatten(preset_changes(each, folder=folder))
        if value != shipped[key]
    }
    needed |= {key for key, value in flatten(preset_changes("detectors/coco", folder=folder)) if value != shipped[key]}
    text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
    for key, value in flatten(yaml.safe_load(text)):
        if key != BASED_ON and value == shipped[key] and key not in needed:
            assert re.search(rf"(?m)^ +{key.split('.')[-1]}: .*  # (paper|data|weights|release)", text), key


def write_t2vqa_db(root: Path) -> None:
    write_dataset(root, prompts=6)


def kvq_name(number: int) -> str:
    return f"{number // 2:04d}_{number % 2}.avi"


def write_kvq(root: Path) -> None:
    """Lists of two parts, two versions of each source, and a workbook whose pairs lie in the test list."""
    numbers = {"train": range(10), "test": range(20, 24)}
    names = {part: [kvq_name(number) for number in those] for part, those in numbers.items()}
    (root / "labels").mkdir(parents=True)
    for part, files in names.items():
        rows = [f"{kvq_name(number)},{1 + (number * 7) % 9 / 2}" for number in numbers[part]]
        (root / "labels" / f"{part}.csv").write_text("\n".join(["filename,score", *rows]) + "\n")
        for name, number in zip(files, numbers[part], strict=True):
            write_clip(root / "videos" / name, noise_clip(number))
    book = openpyxl.Workbook()
    book.active.title = "nonsource"
    for sheet, pairs in ((book.active, ["20 21 1", "22 23 2"]), (book.create_sheet("source"), ["20 22 2"])):
        sheet.append(("video1", "video2", "rank"))
        for first, second, rank in (pair.split() for pair in pairs):
            sheet.append((kvq_name(int(first)), kvq_name(int(second)), int(rank)))
    book.save(root / "rank-pair-val.xlsx")


def write_vquala(root: Path) -> None:
    columns = [
        "Prompt",
        "Overall_MOS",
        "Traditional_MOS",
        "Alignment_MOS",
        "Aesthetic_MOS",
        "Temporal_MOS",
        "video_name",
    ]
    root.mkdir(parents=True)
    with (root / "train.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for number in range(12):
            write_clip(root / "train" / f"{number}.avi", noise_clip(number))
            writer.writerow([f"prompt {number // 2}, twice", round(1 + number / 3, 3), 1, 2, 3, 4, f"{number}.avi"])


def write_tiny_backbone(params: Params) -> None:
    own = params.methods.frame_consistency
    state = timm.create_model(own.backbone, pretrained=False).state_dict()
    save_file(state, own.pretrained)


def write_tiny_weights(params: Params) -> None:
    """A detector, a cropper and a backbone where the preset wants those that are downloaded."""
    sizes: dict[str, Any] = {"backbone": "test_resnet", "fpn_channels": 8, "head_channels": 8}
    write_tiny_backbone(params)
    if params.crop.is_blind:
        return
    tiny = faster_rcnn_config("timm_fpn", 2, 32, 64, min_score=0.0, **sizes)
    save_detector(params.detector.source, build_detector(tiny, seed=0), classes=["a", "b"], made_by={})
    widths: dict[str, Any] = {
        "reduced_channels": 2,
        "align_size": 3,
        "embed_width": 16,
        "heads": 2,
        "mlp_width": 16,
        "input_short_side_px": 64,
    }
    config = s2cnet_config(variant=params.cropper.variant, backbone="test_resnet", head_width=12, **widths)
    save_cropper(params.cropper.source, build_s2cnet(config), mos_mean=3.0, mos_std=0.8, config={})


def run_pipeline(params: Params) -> None:
    """The commands of the stages that the preset needs, in an order that the graph allows, in this process."""
    stages, values = read_stages(), dict(flatten(params.model_dump()))
    choosers = ["blind"] if params.crop.is_blind else ["detector", "propose", "cropper", "crop"]
    values["item.method"] = params.crop.method
    for name in ("prepare", "split", "decode", "audit", *choosers, "train", "predict", "evaluate"):
        command = re.sub(r"\$\{(.+?)\}", lambda match: str(values[match[1]]), stages[name]["cmd"])
        importlib.import_module(f"stages.{name}").main(shlex.split(command)[3:])


def write_own(root: Path) -> None:
    write_dataset(root, prompts=6)
    rows = [line.split("|") for line in (root / "info.txt").read_text().splitlines()]
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "prompt", "mos"], *([n, p, 1 + 4 * float(m) / 100] for n, p, m in rows)])


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "t2vqa_db": write_t2vqa_db,
    "kvq": write_kvq,
    "vquala": write_vquala,
    "own": write_own,
}


@pytest.mark.parametrize("name", [*SEEDS, "t2vqa_db+detectors/coco"])
def test_a_preset_runs_from_labels_to_metrics(name: str, workplace: Path) -> None:
    threads = torch.get_num_threads()
    _, changes = read_preset(name, params=ROOT / "params.yaml", folder=ROOT / "presets")
    data_set = name.split("+")[0]
    values = merge(merge(read_yaml(ROOT / "params.yaml"), changes), TINY)
    values["split"]["seed"] = SEEDS[data_set]
    (workplace / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    params = load_params()
    LAYOUTS[data_set](workplace / params.dataset.root)
    (workplace / params.split.fixed).parent.mkdir(exist_ok=True)
    (workplace / params.split.fixed).write_text("video_id,part\n")
    (workplace / "weights/pretrained").mkdir(parents=True)
    write_tiny_weights(params)
    run_pipeline(params)
    torch.set_num_threads(threads)

    manifest = read_frame("data/manifest.parquet", schema=MANIFEST)
    assert set(manifest["status"]) == {"ok"}
    predictions = read_frame("results/predictions.parquet", schema=PREDICTIONS)
    assert (predictions["status"] == "ok").all()
    low, high = params.dataset.mos_min, params.dataset.mos_max
    expected = low + predictions["score"] / 100 * (high - low)
    pd.testing.assert_series_equal(predictions["score_raw"], expected, check_names=False)
    metrics = json.loads(Path("results/metrics.json").read_text())
    assert metrics["n_scored"] == metrics["n_expected"] == 4
    both = manifest.merge(predictions, on="video_id", suffixes=("", "_found"))
    if name == "kvq":
        assert set(both.loc[both["part"] == "test", "part_found"]) == {"test"}
        assert (both.groupby("group")["part_found"].nunique() == 1).all()
        assert (metrics["n_rank1"], metrics["n_rank2"]) == (2, 1)
        assert "ntire_score" in metrics
    else:
        assert (both.groupby("prompt")["part_found"].nunique() == 1).all()
        assert metrics["n_within_prompt_pairs"] == 2
    if name == "vquala":
        # The target is the overall score, 1 to 4.667 on 1-5; the other columns are constant.
        assert manifest["mos_raw"].nunique() == 12
        assert manifest["mos"].max() == pytest.approx(100 * (4.667 - 1) / 4)
