"""S²CNet at the release's widths: frames of 256x256 with 90 candidates and 5 objects, batches of 8, float32, all cores.

A frame is held against its bare parts, timed in the same rounds: the backbone's features alone (channels last, as
torchvision builds it; a frame's own backbone has its batch norms folded, and that row stands beside) and the matrix
products of graph and head alone, replayed on random numbers in the shapes that the network asks for. It is also held
against the release's way, a loop of one image at a time that embeds the objects anew for every candidate
(suyukun666/S2CNet at 6c92712), rebuilt from the same layers.

bf16 is held against float32 on the demo's trained cropper and its frames (`make demo` first): Spearman's
correlation of a frame's candidate scores, mean and least over the frames, and the share of frames that select the same
crop.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.compare import Row, duration_row, ratio_row, time_in_turn
from models.folding import fold_batch_norms
from models.s2cnet.candidates import grid_anchors
from models.s2cnet.features import MAP_STRIDE
from models.s2cnet.network import GAICV2, S2CNet, build_s2cnet
from models.s2cnet.roi import region_features
from stages.crop import Input, read_inputs
from stages.io.schemas import FRAMES, PROPOSALS
from stages.io.shards import Shards
from stages.params.load import load_params
from stages.steps.crops import load_cropper

SIDE_PX, BATCH, OBJECTS = 256, 8, 5
COMPARED_FRAMES = 400
GIGA = 1e9
PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default)


class Products(TorchDispatchMode):
    """Records the shapes of the matrix products that run under it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shapes: list[tuple[torch.Size, torch.Size]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            left, right = args[-2:]
            self.shapes.append((left.shape, right.shape))
        return func(*args, **(kwargs or {}))


def inputs() -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Images, candidates and objects of a batch, by a fixed seed."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, 3, SIDE_PX, SIDE_PX, generator=random).contiguous(memory_format=torch.channels_last)
    corners = torch.rand(BATCH, OBJECTS, 2, generator=random) * SIDE_PX / 2
    sides = 20 + torch.rand(BATCH, OBJECTS, 2, generator=random) * SIDE_PX / 3
    candidates = torch.from_numpy(grid_anchors(SIDE_PX, SIDE_PX))
    return images, [candidates] * BATCH, list(torch.cat([corners, corners + sides], dim=2))


def graph_and_head_products(network: S2CNet, *batch: object) -> list[tuple[torch.Size, torch.Size]]:
    shapes: list[tuple[torch.Size, torch.Size]] = []

    def recorded(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def run(*arguments: object) -> Tensor:
            with Products() as mode:
                result = forward(*arguments)
            shapes.extend(mode.shapes)
            return result

        return run

    for part in (network.graph, network.head):
        part.forward = recorded(part.forward)
    network(*batch)
    for part in (network.graph, network.head):
        del part.forward
    return shapes


def as_the_release(network: S2CNet, images: Tensor, candidates: list[Tensor], objects: list[Tensor]) -> list[Tensor]:
    """One image at a time; every candidate brings its own copy of the objects."""
    scores = []
    for image, boxes, own in zip(images, candidates, objects, strict=True):
        n = len(boxes)
        nodes = torch.cat([boxes[:, None], own.expand(n, -1, -1)], dim=1).reshape(-1, 4)
        vectors = region_features(
            network.features(image[None].contiguous()),
            [nodes],
            output_size=network.config.align_size,
            spatial_scale=1 / MAP_STRIDE,
        )
        features = network.embed(vectors).unflatten(0, (n, 1 + OBJECTS))
        centres = ((nodes[:, :2] + nodes[:, 2:]) / 2 / SIDE_PX).unflatten(0, (n, 1 + OBJECTS))
        present = torch.ones(n, OBJECTS, dtype=torch.bool)
        found = network.graph((features[:, :1], features[:, 1:]), (centres[:, :1], centres[:, 1:]), present)
        scores.append(network.head(found.flatten(1)).squeeze(1))
    return scores


def in_bfloat16(network: S2CNet, *batch: Any) -> list[Tensor]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores: list[Tensor] = network(*batch)
        return scores


def bfloat16_words() -> str:
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").is_file() else ""
    return "which this processor has" if "bf16" in flags else "which this processor has to imitate"


def speed() -> list[Row]:
    network = build_s2cnet(GAICV2).eval()
    folded = fold_batch_norms(network)
    batch = inputs()
    with torch.no_grad():
        shapes = graph_and_head_products(folded, *batch)
    operands = [(torch.randn(left), torch.randn(right)) for left, right in shapes]
    work = sum(2 * left.numel() * right[-1] for left, right in shapes) / GIGA / BATCH

    with torch.inference_mode():
        for ours, theirs in zip(folded(*batch), as_the_release(network, *batch), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
        seconds = time_in_turn(
            {
                "frame": lambda: folded(*batch),
                "half": lambda: in_bfloat16(folded, *batch),
                "backbone": lambda: network.features.backbone(batch[0]),
                "folded backbone": lambda: folded.features.backbone(batch[0]),
                "products": lambda: [left @ right for left, right in operands],
                "release": lambda: as_the_release(network, *batch),
            },
            threads=torch.get_num_threads(),
        )
    frame, products = seconds["frame"], seconds["products"]
    return [
        duration_row("a frame, from image to 90 scores", frame, per=BATCH),
        duration_row("backbone alone", seconds["backbone"], per=BATCH),
        duration_row("backbone alone, its batch norms folded", seconds["folded backbone"], per=BATCH),
        duration_row(f"products of graph and head alone, {work:.2f} GFLOP", products, per=BATCH),
        duration_row("a frame in the release's way", seconds["release"], per=BATCH),
        ratio_row("frame / (backbone + products)", frame, seconds["backbone"] + products, goal="at most 1.15"),
        ratio_row("frame / (folded backbone + products)", frame, seconds["folded backbone"] + products),
        ratio_row("frame / the release's way", frame, seconds["release"], goal="at most 0.6"),
        ratio_row(f"bf16 / fp32, {bfloat16_words()}", seconds["half"], frame),
    ]


def half_precision() -> list[Row]:
    cropper = load_cropper(Path("weights/s2cnet.safetensors"), torch.device("cpu"))
    params = load_params().crop.model_copy(update={"method": "s2cnet", "precision": "fp32"})
    frames, proposals = Shards("data/frames", schema=FRAMES), Shards("data/proposals", schema=PROPOSALS)
    examples: list[Input] = []
    for video_id in proposals.ids[:: max(1, len(proposals.ids) // (COMPARED_FRAMES // 4))]:
        # A few frames of many videos.
        examples += read_inputs(frames.read(video_id), proposals.read(video_id))[::2]
    examples = examples[:COMPARED_FRAMES]
    score = functools.partial(
        cropper.score_candidates, [one.entry.frame for one in examples], [one.objects_xyxy_px for one in examples]
    )
    exact, rough = score(params), score(params.model_copy(update={"precision": "bf16"}))
    pairs = [(one.scores, other.scores) for one, other in zip(exact, rough, strict=True)]
    correlations = [float(spearmanr(*pair).statistic) for pair in pairs]
    same = float(np.mean([one.argmax() == other.argmax() for one, other in pairs]))
    return [
        Row(f"bf16, {len(pairs)} frames: Spearman, mean", float(np.mean(correlations)), goal="at least 0.999"),
        Row("bf16: Spearman, least", float(np.min(correlations))),
        Row("bf16: share of frames with the same crop", same, goal="at least 0.95"),
    ]


def rows() -> list[Row]:
    # First what needs the demo's weights: without them it says so before minutes of timing.
    accuracy = [replace(row, unit="") for row in half_precision()]
    return speed() + accuracy
