"""Proposals: looks at frames, table rows, the stage with a network and with boxes that were brought along."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest
import torch

from models.detectors.build import build_detector
from models.detectors.faster_rcnn import FasterRcnn
from models.detectors.interface import Detections
from models.detectors.top_boxes import top_boxes
from stages.datasets.boxes import read_boxes
from stages.errors import TableError
from stages.io.images import encode_image
from stages.io.schemas import FRAMES, MANIFEST, PROPOSALS
from stages.io.shards import Shards, write_shards
from stages.io.tables import write_table
from stages.params.load import load_params
from stages.propose import looks_of, looks_with_frames, propose
from stages.steps.detectors import save_boxes, save_detector
from stages.steps.objects import Look, proposals_table
from tests.configs import detection_rules, faster_rcnn_config

TINY = faster_rcnn_config(
    "timm_fpn", 2, 32, 48, min_score=0.0, backbone="test_resnet", fpn_channels=8, head_channels=8, rpn_boxes=10
)
WEIGHTS = Path("detector.safetensors")
Size = tuple[int, int]


def found(*boxes: tuple[float, ...]) -> Detections:
    count = len(boxes)
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.linspace(0.9, 0.5, count),
        torch.arange(1, count + 1),
    )


def rendered(number: int, size: Size) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


def frames_of(video_id: str, sizes: Sequence[Size], *, first: int = 0) -> pa.Table:
    """A video's rows of the FRAMES schema: noise, every second frame of the video."""
    images = [encode_image(rendered(first + number, size), encoding="png", jpeg_quality=95) for number, size in
              enumerate(sizes)]  # fmt: skip
    columns = {
        "video_id": [video_id] * len(sizes),
        "frame_index": [2 * number for number in range(len(sizes))],
        "time_s": [number / 8 for number in range(len(sizes))],
        "width": [width for _, width in sizes],
        "height": [height for height, _ in sizes],
        "encoding": ["png"] * len(sizes),
        "image": images,
    }
    return pa.Table.from_pydict(columns, schema=FRAMES)


def write_frames(videos: Mapping[str, Sequence[Size]], *, failed: Mapping[str, str] | None = None) -> None:
    first = {video_id: 100 * place for place, video_id in enumerate(sorted(videos))}
    write_shards(
        "frames",
        {video_id: f"key of {video_id}" for video_id in videos},
        lambda _, video_id: frames_of(video_id, videos[video_id], first=first[video_id]),
        schema=FRAMES,
        n_shards=2,
        made_by={"decode": {"params": {"frames": 4}}},
        failed=failed or {},
    )
    # Every second frame was decoded, the first and the last among them.
    rows = [{"video_id": name, "n_frames": 2 * len(sizes) - 1} for name, sizes in videos.items()]
    rows += [{"video_id": name} for name in failed or {}]
    write_table("manifest.parquet", pa.Table.from_pylist(rows, schema=MANIFEST), schema=MANIFEST, metadata={})


@pytest.fixture(scope="module")
def network() -> FasterRcnn:
    return build_detector(TINY, seed=3)


@pytest.fixture
def run(write_params: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the stage on ./frames and ./detector.safetensors with changed params; gives what it printed."""

    def call(every: int = 1, batch_frames: int = 3, **changes: Any) -> str:
        write_params(
            propose={"every": every, "score_threshold": 0.0} | changes,
            engine={"device": "cpu", "shards": 2, "batch_frames": batch_frames, "max_failed_fraction": 0.5},
        )  # fmt: skip
        paths = {"frames": Path("frames"), "manifest": Path("manifest.parquet"), "out": Path("proposals")}
        propose(load_params(), detector=WEIGHTS, **paths)
        return capsys.readouterr().out

    return call


def proposals() -> pd.DataFrame:
    shards = Shards("proposals", schema=PROPOSALS)
    return pa.concat_tables([shards.read(video_id) for video_id in shards.ids]).to_pandas()


def test_rows_come_frame_by_frame_and_ranks_start_anew() -> None:
    looks = [Look(0, (8, 8), [0]), Look(1, (8, 8), [4]), Look(2, (8, 8), [7, 9])]
    table = proposals_table("a.avi", looks, [found((0, 0, 2, 2), (1, 1, 3, 3)), found(), found((4, 4, 8, 8))])
    assert table.schema.equals(PROPOSALS)
    # Frame 9 takes over what was found in frame 7.
    assert table["frame_index"].to_pylist() == [0, 0, 7, 9]
    assert table["rank"].to_pylist() == [0, 1, 0, 0]
    assert table["x1"].to_pylist() == [2.0, 3.0, 8.0, 8.0]
    assert table["label"].to_pylist() == [1, 2, 1, 1]
    assert set(table["video_id"].to_pylist()) == {"a.avi"}


def test_a_video_without_objects_has_no_rows() -> None:
    table = proposals_table("a.avi", [Look(0, (8, 8), [0])], [found()])
    assert table.num_rows == 0
    assert table.schema.equals(PROPOSALS)


def test_frames_that_take_over_boxes_stay_encoded() -> None:
    rows = frames_of("a.avi", [(8, 9)] * 3 + [(4, 5)] * 2)
    # What is not looked at may be anything.
    images = [b"no image" if place in (1, 4) else image for place, image in enumerate(rows["image"].to_pylist())]
    rows = rows.set_column(rows.schema.get_field_index("image"), "image", pa.array(images, pa.binary()))
    looks = looks_with_frames(rows, every=2)
    assert [(look.size, look.frame_indices) for look in looks] == [((8, 9), [0, 2]), ((8, 9), [4]), ((4, 5), [6, 8])]
    assert [look.frame.shape for look in looks if look.frame is not None] == [(8, 9, 3), (8, 9, 3), (4, 5, 3)]
    assert [look.frame for look in looks_of(rows, every=1)] == [None] * 5


def test_the_stage_gives_what_the_network_gives(workplace: Path, network: FasterRcnn, run: Callable[..., str]) -> None:
    save_detector(WEIGHTS, network, classes=[], made_by={"detector": {"version": 1}})
    videos: dict[str, list[Size]] = {"a.avi": [(32, 40)] * 4, "b.avi": [(32, 40), (1, 1), (48, 33)], "c.avi": [(9, 9)]}
    write_frames(videos, failed={"d.avi": "the file is empty"})
    assert run(top_n=3) == "propose: 3 computed, 0 cached, 1 failed\n  d.avi: the file is empty\n"
    table = proposals()
    for place, (video_id, sizes) in enumerate(videos.items()):
        for number, size in enumerate(sizes):
            (expected,) = network.detect([rendered(100 * place + number, size)])
            best = top_boxes(expected, top_n=3, score_threshold=0.0, nms_iou=0.5)
            own = table[(table["video_id"] == video_id) & (table["frame_index"] == 2 * number)]
            np.testing.assert_allclose(own[["x0", "y0", "x1", "y1"]], best.boxes_xyxy_px, atol=1e-4)
            assert own["label"].tolist() == best.labels.tolist()
    made = Shards("proposals", schema=PROPOSALS).made_by["propose"]
    assert (made["backend"], made["detector"]["timm_fpn"]["backbone"]) == ("torchvision", "test_resnet")
    assert set(made["libraries"]) == {"torch", "torchvision", "timm"}
    assert (made["params"]["top_n"], made["params"]["every"], len(made["weights"])) == (3, 1, 64)


def test_every_second_frame(workplace: Path, network: FasterRcnn, run: Callable[..., str]) -> None:
    save_detector(WEIGHTS, network, classes=[], made_by={})
    write_frames({"a.avi": [(32, 40)] * 5})
    run()
    every = proposals()
    run(every=2)
    second = proposals()
    columns = ["rank", "x0", "y0", "x1", "y1", "score", "label"]
    for index, source in ((0, 0), (2, 0), (4, 4), (6, 4), (8, 8)):
        pd.testing.assert_frame_equal(
            second.loc[second["frame_index"] == index, columns].reset_index(drop=True),
            every.loc[every["frame_index"] == source, columns].reset_index(drop=True),
            atol=1e-4,
        )


def test_what_changed_is_done_again_and_nothing_else(
    workplace: Path, network: FasterRcnn, run: Callable[..., str]
) -> None:
    save_detector(WEIGHTS, network, classes=[], made_by={"detector": {"seed": 3, "licence": None}})
    write_frames({"a.avi": [(32, 40)], "b.avi": [(32, 40)]})
    assert "2 computed, 0 cached" in run()
    assert "0 computed, 2 cached" in run()
    written = [path.read_bytes() for path in sorted(Path("proposals").iterdir())]
    # A note in the file is no part of the boxes, nor of the table, whose bytes later stages depend on.
    save_detector(WEIGHTS, network, classes=["disc", "star"], made_by={"detector": {"seed": 3, "licence": "CC0"}})
    assert "0 computed, 2 cached" in run()
    assert [path.read_bytes() for path in sorted(Path("proposals").iterdir())] == written
    # Another threshold, another step and another weight are.
    assert "2 computed, 0 cached" in run(min_boxes=1)
    assert "2 computed, 0 cached" in run(every=2)
    save_detector(WEIGHTS, build_detector(TINY, seed=4), classes=[], made_by={})
    assert "2 computed, 0 cached" in run()


def test_a_video_that_breaks_the_network_fails_alone(
    workplace: Path, network: FasterRcnn, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_detector(WEIGHTS, network, classes=[], made_by={})
    write_frames({name: [(32, 40)] * 2 for name in ("a.avi", "b.avi", "c.avi")})
    detect, bad = FasterRcnn.detect, rendered(100, (32, 40))

    def fails_on_one(self: FasterRcnn, frames: Sequence[np.ndarray]) -> list[Detections]:
        if any(np.array_equal(frame, bad) for frame in frames):
            raise RuntimeError("out of memory")
        return detect(self, frames)

    monkeypatch.setattr(FasterRcnn, "detect", fails_on_one)
    output = run(batch_frames=64)
    assert output == "propose: 2 computed, 0 cached, 1 failed\n  b.avi: unexpected RuntimeError: out of memory\n"
    assert Shards("proposals", schema=PROPOSALS).ids == ["a.avi", "c.avi"]


def bring(*rows: tuple[str, int, list[float], float]) -> None:
    columns = {"video_id": [row[0] for row in rows], "frame_index": [row[1] for row in rows]}
    boxes = {name: [row[2][place] for row in rows] for place, name in enumerate(("x0", "y0", "x1", "y1"))}
    pd.DataFrame(columns | boxes | {"score": [row[3] for row in rows]}).to_parquet("boxes.parquet")
    table = read_boxes(Path("boxes.parquet"), detection_rules(min_score=0.1))
    save_boxes(WEIGHTS, table, made_by={"detector": {"source": {"name": "boxes.parquet"}}})


def test_boxes_that_were_brought_along(workplace: Path, run: Callable[..., str]) -> None:
    write_frames({"a.avi": [(32, 40)] * 3, "b.avi": [(32, 40)] * 3, "none.avi": [(32, 40)]}, failed={"bad.avi": "why"})
    good = [0.0, 0.0, 40.0, 32.0]
    # Frame 3 was not decoded; bad.avi was not either, and is in the manifest all the same.
    bring(("a.avi", 2, good, 0.5), ("a.avi", 2, [1, 1, 9, 9], 0.7), ("a.avi", 3, good, 0.5), ("b.avi", 0, good, 0.05),
          ("bad.avi", 0, good, 0.5))  # fmt: skip
    assert run() == (
        "propose: there are precomputed boxes for 2 of 3 videos and 2 of 7 frames that are looked at\n"
        "  none for none.avi\n"
        "  none for 4 frames of videos that have some: a.avi, b.avi\n"
        "  2 of 5 boxes are at frames that are not looked at\n"
        "propose: 3 computed, 0 cached, 1 failed\n"
        "  bad.avi: why\n"
    )
    table = proposals()
    assert table["frame_index"].tolist() == [2, 2]
    assert table["score"].tolist() == pytest.approx([0.7, 0.5])
    assert table["x1"].tolist() == [9, 40]
    made = Shards("proposals", schema=PROPOSALS).made_by["propose"]
    assert (made["backend"], made["made_by"]["detector"]["source"]) == ("table", {"name": "boxes.parquet"})
    assert made["detector"] == {"min_score": 0.1, "nms_iou": 0.5, "max_detections": 100, "labels": "all"}

    # Another box of a: b and the video without boxes are as they were.
    bring(("a.avi", 2, [0, 0, 30, 30], 0.5), ("b.avi", 0, good, 0.05))
    assert "propose: 1 computed, 2 cached, 1 failed" in run()


def test_boxes_that_do_not_fit_their_video_stop_the_stage(workplace: Path, run: Callable[..., str]) -> None:
    """The table is wrong, not the video: one wrong row in one of two videos is no matter of the quarantine."""
    write_frames({"a.avi": [(32, 40)] * 3, "b.avi": [(32, 40)] * 3})
    bring(("a.avi", 0, [0, 0, 40, 33.5], 0.5), ("b.avi", 4, [0, 0, 40, 32], 0.5))
    with pytest.raises(TableError, match=r"1 boxes do not fit .*\n  boxes\.parquet, row 1: the box 0, 0, 40, 33\.5"):
        run()
    bring(("a.avi", 0, [0, 0, 40, 32], 0.5), ("b.avi", 5, [0, 0, 40, 32], 0.5))
    with pytest.raises(TableError, match=r"row 2: frame 5, but the video has frames 0 to 4"):
        run()
    bring(("a.avi", 0, [0, 0, 4, 4], 0.5), ("c.avi", 0, [0, 0, 4, 4], 0.5))
    with pytest.raises(TableError, match=r"boxes\.parquet, row 2: 'c\.avi'"):
        run()
    bring(("a.avi", 1, [0, 0, 4, 4], 0.5), ("b.avi", 3, [0, 0, 4, 4], 0.5))
    with pytest.raises(TableError, match="none of 2 boxes is at a frame that is looked at"):
        run()
    assert not Path("proposals").exists()
    bring(("a.avi", 0, [0, 0, 40.5, 32.5], 0.5), ("b.avi", 4, [0, 0, 40, 32], 0.5))
    assert "propose: 2 computed, 0 cached, 0 failed" in run()
    assert proposals()[["x1", "y1"]].to_numpy().tolist() == [[40, 32], [40, 32]]


def test_frames_between_two_looks_need_no_boxes(workplace: Path, run: Callable[..., str]) -> None:
    write_frames({"a.avi": [(32, 40)] * 4})
    bring(("a.avi", 0, [0, 0, 9, 9], 0.5), ("a.avi", 2, [0, 0, 8, 8], 0.5), ("a.avi", 4, [0, 0, 7, 7], 0.5))
    expected = (
        "for 1 of 1 videos and 2 of 2 frames that are looked at\n  1 of 3 boxes are at frames that are not looked"
    )
    assert expected in run(every=2)
    assert proposals()["x1"].tolist() == [9, 9, 7, 7]


def test_memory_is_flat_over_two_thousand_frames(
    workplace: Path, network: FasterRcnn, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """2000 frames of 192 x 192 px are 221 MB: were they kept, the process would grow by three quarters of it.

    What the allocator does with small blocks may move it by some 30 MB, once.
    """
    save_detector(WEIGHTS, network, classes=[], made_by={})
    flat = np.broadcast_to(np.arange(192, dtype=np.uint8)[:, None, None], (192, 192, 3))
    image = encode_image(np.ascontiguousarray(flat), encoding="png", jpeg_quality=95)
    one = frames_of("v", [(192, 192)] * 10)
    one = one.set_column(one.schema.get_field_index("image"), "image", pa.array([image] * 10, pa.binary()))
    write_shards(
        "frames", {f"v{number:03d}": f"{number}" for number in range(200)}, lambda _, video_id: one.set_column(
            0, "video_id", pa.array([video_id] * 10)), schema=FRAMES, n_shards=2, made_by={}, failed={},
    )  # fmt: skip
    used: list[int] = []
    detect = FasterRcnn.detect

    def measured(self: FasterRcnn, frames: Sequence[np.ndarray]) -> list[Detections]:
        used.append(psutil.Process().memory_info().rss)
        return detect(self, frames)

    monkeypatch.setattr(FasterRcnn, "detect", measured)
    assert "200 computed" in run(batch_frames=50)
    assert len(used) == 200
    assert max(used[50:]) - max(used[25:50]) < 80e6
