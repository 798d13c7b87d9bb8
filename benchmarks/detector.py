"""The propose stage as a whole, from Parquet frames to Parquet tables, against the bare network on tensors of the same
frames; and the rule of bottom-up attention against a loop over classes.

Frames of 320x240 pixels in PNG, 64 for torchvision's MobileNetV3-320 FPN with random weights and 91 classes, 192 for
the demo's network. The stage loads the network, reads, decodes, detects, chooses and writes, with an empty item cache.
Both use the same threads in turn: all cores for the large network, for the demo's as many as params.yaml has. The rule:
300 boxes of 1600 classes, each class with boxes of its own; the loop calls torchvision's nms.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torchvision.ops import nms

from benchmarks.compare import Row, duration_row, ratio_row, throughput_rows, time_in_turn
from benchmarks.stage_inputs import inside, write_frames
from models.detectors.build import build_detector
from models.detectors.class_wise import best_of_classes
from models.detectors.config import BoxRules, FasterRcnnConfig
from models.detectors.faster_rcnn import FasterRcnn
from stages.detector import build
from stages.io.schemas import FRAMES
from stages.io.shards import Shards
from stages.params.load import load_params
from stages.params.schema import Params
from stages.propose import propose
from stages.steps.clips import read_clip
from stages.steps.detectors import save_detector

HEIGHT, WIDTH = 240, 320
FRAMES_A_VIDEO, BATCH = 8, 16
N_BOXES, N_CLASSES, NMS_IOU, MAX_BOXES = 300, 1600, 0.3, 100


def stage_rows(name: str, detector: FasterRcnn, params: Params, *, videos: int, goal: str) -> list[Row]:
    with TemporaryDirectory() as path:
        folder = Path(path)
        write_frames(folder / "frames", videos=videos, frames_a_video=FRAMES_A_VIDEO, height=HEIGHT, width=WIDTH)
        save_detector(folder / "detector.safetensors", detector, classes=[], made_by={})
        table = Shards(folder / "frames", schema=FRAMES)
        frames = [entry.frame for video_id in table.ids for entry in read_clip(table.read(video_id))]
        tensors = [torch.from_numpy(frame).permute(2, 0, 1) / 255 for frame in frames]
        network = detector.network.eval()

        def bare() -> None:
            with torch.inference_mode():
                for start in range(0, len(tensors), BATCH):
                    network(tensors[start : start + BATCH])

        def stage() -> None:
            with TemporaryDirectory(dir=folder) as work, inside(Path(work)):
                inputs = {"frames": folder / "frames", "detector": folder / "detector.safetensors"}
                # A network looks into no manifest.
                propose(params, **inputs, manifest=Path("none"), out=Path("proposals"))

        seconds = time_in_turn({"bare": bare, "stage": stage}, rounds=5, warm_up=1, threads=params.engine.n_threads)
    return throughput_rows(
        "propose",
        frames=len(frames),
        bare_seconds=seconds["bare"],
        stage_seconds=seconds["stage"],
        prefix=f"{name}: ",
        goal=goal,
    )


def loop_over_classes(boxes: Tensor, scores: Tensor) -> Tensor:
    """The rule as it is told, with a fast nms a class."""
    confidence = torch.zeros(len(boxes))
    for label in range(scores.shape[1]):
        kept = nms(boxes[:, label], scores[:, label], NMS_IOU)
        confidence[kept] = torch.maximum(confidence[kept], scores[kept, label])
    return confidence.argsort(descending=True, stable=True)[:MAX_BOXES]


def rule_rows() -> list[Row]:
    random = torch.Generator().manual_seed(0)
    corners = torch.rand(N_BOXES, 1, 2, generator=random) * 600
    regions = torch.cat([corners, corners + 20 + torch.rand(N_BOXES, 1, 2, generator=random) * 300], dim=2)
    boxes = regions + torch.randn(N_BOXES, N_CLASSES, 4, generator=random)
    scores = (4 * torch.randn(N_BOXES, N_CLASSES, generator=random)).softmax(dim=1)

    def rule() -> Tensor:
        return best_of_classes(boxes, scores, nms_iou=NMS_IOU, min_score=0.0, max_boxes=MAX_BOXES)[0]

    assert torch.equal(rule(), loop_over_classes(boxes, scores))
    cases: dict[str, Callable[[], object]] = {"rule": rule, "loop": lambda: loop_over_classes(boxes, scores)}
    seconds = time_in_turn(cases)
    return [
        duration_row("bottom-up rule, a frame", seconds["rule"]),
        ratio_row("loop over classes / rule", seconds["loop"], seconds["rule"], goal="at least 1"),
    ]


def rows() -> list[Row]:
    shipped = load_params()
    engine = shipped.engine.model_copy(update={"batch_frames": BATCH, "device": "cpu"})
    params = shipped.model_copy(update={"engine": engine})
    # A large network wants every core; the threads of a small one would wait for each other.
    on_all_cores = shipped.model_copy(update={"engine": engine.model_copy(update={"threads": 0})})
    published = FasterRcnnConfig(
        architecture="fasterrcnn_mobilenet_v3_large_320_fpn",
        n_classes=90,
        min_size_px=320,
        max_size_px=640,
        **shipped.detector.values_of(BoxRules),
    )
    demo = build(shipped.detector, n_classes=1)
    return [
        *stage_rows("MobileNetV3-320", build_detector(published), on_all_cores, videos=8, goal="at least 0.9"),
        *stage_rows("the demo's", demo, params, videos=24, goal=""),
        *rule_rows(),
    ]
