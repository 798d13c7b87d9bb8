"""The choice of crops by every method and scope, and the rows that say so; the stage runs in test_pipeline.py."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from models.s2cnet.network import build_s2cnet
from models.s2cnet.scoring import CropScores
from stages.crop import read_inputs
from stages.io.images import encode_image
from stages.io.schemas import CROPS, FRAMES, PROPOSALS
from stages.params.load import load_params
from stages.params.schema import CropParams
from stages.steps.clips import ClipFrame, cut_boxes, selected_boxes
from stages.steps.crops import Cropper, blind_candidates, crops_table
from tests.configs import s2cnet_config
from tests.conftest import ROOT, noise_clip

SHIPPED = load_params(ROOT / "params.yaml").crop


def crop_params(**changes: Any) -> CropParams:
    return SHIPPED.model_copy(update=changes)


def clip_of(n_frames: int, *, height: int = 32, width: int = 48) -> list[ClipFrame]:
    frames = noise_clip(0, n_frames=n_frames, height=height, width=width)
    return [ClipFrame(2 * number, number / 8, frame) for number, frame in enumerate(frames)]


@pytest.fixture(scope="module")
def cropper() -> Cropper:
    config = s2cnet_config(
        variant="paper", backbone="test_resnet", reduced_channels=2, align_size=3, embed_width=8, heads=2, layers=1,
        mlp_width=8, objects=2, head_width=12, input_short_side_px=32, readout="candidate",
    )  # fmt: skip
    return Cropper(build_s2cnet(config, seed=1).eval(), torch.device("cpu"), 3.0, 0.8)


def boxes(*values: tuple[float, ...]) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 4)


def test_each_frame_takes_its_best_candidate_or_the_video_its_best_mean() -> None:
    clip = clip_of(2)
    candidates = boxes((0, 0, 10, 10), (5, 5, 20, 20), (8, 8, 40, 30))
    # By frame: 1 and 2. By video the means are 0.5, 1.0 and 1.5: candidate 2.
    scored = [
        CropScores(candidates, np.array([0.5, 1.5, 1.0], np.float32)),
        CropScores(candidates, np.array([0.5, 0.5, 2.0], np.float32)),
    ]
    by_frame = crops_table("a", clip, scored, crop_params(scope="frame"))
    by_video = crops_table("a", clip, scored, crop_params(scope="video"))
    assert by_frame.schema.equals(CROPS)
    assert selected_boxes(by_frame) == {0: (5, 5, 20, 20), 2: (8, 8, 40, 30)}
    assert selected_boxes(by_video) == {0: (8, 8, 40, 30), 2: (8, 8, 40, 30)}
    assert by_frame["candidate"].to_pylist() == [0, 1, 2, 0, 1, 2]


def test_frames_of_two_sizes_share_a_crop_a_size() -> None:
    clip = [*clip_of(2), ClipFrame(9, 2.0, noise_clip(1, n_frames=1, height=64, width=64)[0])]
    small, large = boxes((0, 0, 9, 9), (1, 1, 30, 30)), boxes((0, 0, 60, 60), (4, 4, 64, 64), (0, 0, 64, 64))
    scored = [
        CropScores(small, np.array([0, 1], np.float32)),
        CropScores(small, np.array([3, 1], np.float32)),
        CropScores(large, np.array([0, 2, 1], np.float32)),
    ]
    chosen = selected_boxes(crops_table("a", clip, scored, crop_params(scope="video")))
    assert chosen == {0: (0, 0, 9, 9), 2: (0, 0, 9, 9), 9: (4, 4, 64, 64)}


@pytest.mark.parametrize("method", ["center", "random", "full"])
@pytest.mark.parametrize("scope", ["frame", "video"])
def test_methods_without_a_network_have_no_scores(method: str, scope: str) -> None:
    clip = clip_of(3, height=96, width=96)
    params = crop_params(method=method, scope=scope)
    table = crops_table("clip.avi", clip, blind_candidates([entry.frame for entry in clip], params), params)
    assert table["score"].null_count == table.num_rows == (3 if method == "full" else 270)
    chosen = selected_boxes(table)
    assert set(chosen) == {0, 2, 4}
    if method == "full":
        assert set(chosen.values()) == {(0, 0, 96, 96)}
    if method == "center":
        (x0, y0, x1, y1) = chosen[0]
        assert ((x0 + x1) / 2, (y0 + y1) / 2) == (48, 48)
    if scope == "video":
        assert len(set(chosen.values())) == 1


@pytest.mark.parametrize("method", ["s2cnet", "center"])
def test_the_table_says_where_the_whole_frame_stands_in(cropper: Cropper, method: str) -> None:
    # A strip of 8:1 has no anchor between 1:2 and 2:1.
    clip = [*clip_of(1, height=24, width=192), *clip_of(1, height=48, width=48)]
    params, images = crop_params(method=method), [entry.frame for entry in clip]
    scored = (
        blind_candidates(images, params) if params.is_blind else cropper.score_candidates(images, [boxes()] * 2, params)
    )
    table = crops_table("a", clip, scored, params)
    assert table["fallback"].to_pylist() == [True] + [False] * 90
    assert [table[name][0].as_py() for name in ("x0", "y0", "x1", "y1", "selected")] == [0, 0, 192, 24, True]


def test_frames_smaller_than_the_grid_get_crops(cropper: Cropper) -> None:
    # 12 bins over 5 pixels; the candidates are parts of pixels, and a cut takes whole ones.
    clip = clip_of(1, height=5, width=5)
    scored = cropper.score_candidates([clip[0].frame], [boxes((1, 1, 4, 4))], SHIPPED)
    table = crops_table("a", clip, scored, SHIPPED)
    assert table.num_rows == 90
    assert np.isfinite(table["score"].to_numpy()).all()
    assert cut_boxes(clip, selected_boxes(table), size_px=8, shape="stretch").shape == (1, 3, 8, 8)


def test_bfloat16_scores_are_close_and_float32(cropper: Cropper) -> None:
    clip = clip_of(2, height=96, width=96)
    images, objects = [entry.frame for entry in clip], [boxes((10, 10, 50, 50)), boxes()]
    exact = cropper.score_candidates(images, objects, SHIPPED)
    rough = cropper.score_candidates(images, objects, crop_params(precision="bf16"))
    for one, other in zip(exact, rough, strict=True):
        assert other.scores.dtype == np.float32
        assert not np.array_equal(one.scores, other.scores)
        # Eight bits of mantissa through a few layers, scores of the order of 1.
        np.testing.assert_allclose(other.scores, one.scores, atol=0.05)


def test_a_crop_by_chance_depends_on_what_a_video_shows_and_the_seed_alone() -> None:
    clip = clip_of(3, height=96, width=96)
    other = [entry._replace(frame=entry.frame[::-1].copy()) for entry in clip]

    def chosen(video_id: str, seed: int, clip: list[ClipFrame] = clip) -> dict[int, tuple[float, float, float, float]]:
        params = crop_params(method="random", seed=seed)
        scored = blind_candidates([entry.frame for entry in clip], params)
        return selected_boxes(crops_table(video_id, clip, scored, params))

    assert chosen("a", 0) == chosen("a", 0)
    # `score` may know a file under another name than the data set does.
    assert chosen("a", 0) == chosen("b", 0)
    assert chosen("a", 0) != chosen("a", 0, other)
    assert chosen("a", 0) != chosen("a", 1)


def test_scores_do_not_depend_on_what_shares_the_batch(cropper: Cropper) -> None:
    clip = [*clip_of(3, height=96, width=96), ClipFrame(7, 1.0, noise_clip(2, n_frames=1, height=64, width=96)[0])]
    objects = [boxes((10, 10, 50, 50)), boxes(), boxes((0, 0, 20, 30), (30, 30, 90, 90)), boxes((5, 5, 60, 60))]
    together = cropper.score_candidates([entry.frame for entry in clip], objects, SHIPPED)
    for entry, own, whole in zip(clip, objects, together, strict=True):
        (alone,) = cropper.score_candidates([entry.frame], [own], SHIPPED)
        np.testing.assert_allclose(alone.scores, whole.scores, atol=1e-5)
        np.testing.assert_array_equal(alone.candidates_xyxy_px, whole.candidates_xyxy_px)


@pytest.fixture
def frame_rows() -> Callable[[], pa.Table]:
    def make() -> pa.Table:
        image = encode_image(noise_clip(0, n_frames=1)[0], encoding="png", jpeg_quality=95)
        rows = [
            {"video_id": "a", "frame_index": index, "time_s": 0.0, "width": 48, "height": 32, "encoding": "png",
             "image": image}
            for index in (0, 3)
        ]  # fmt: skip
        return pa.Table.from_pylist(rows, schema=FRAMES)

    return make


def test_objects_come_by_rank_and_a_frame_may_have_none(frame_rows: Callable[[], pa.Table]) -> None:
    box = {"x1": 9.0, "y0": 0.0, "y1": 9.0, "score": 0.5, "label": 1}
    rows = [
        {"video_id": "a", "frame_index": 3, "rank": rank, "x0": x0} | box for rank, x0 in ((1, 1.0), (0, 2.0), (2, 0.0))
    ]
    inputs = read_inputs(frame_rows(), pa.Table.from_pylist(rows, schema=PROPOSALS))
    assert inputs[0].objects_xyxy_px.shape == (0, 4)
    assert inputs[1].objects_xyxy_px[:, 0].tolist() == [2.0, 1.0, 0.0]
