"""Statistics of frames, distances from the training videos, and what a reliability says of a score."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.steps.familiarity import Familiarity, frame_statistics
from stages.steps.reliability import Reliability, video_deviation


def smooth(random: np.random.Generator, *, side: int = 48) -> NDArray[np.uint8]:
    """A frame of soft waves in one colour cast, with a little noise."""
    y, x = np.mgrid[:side, :side] / side
    waves = np.sin(6 * x + random.uniform(0, 6)) + np.cos(5 * y + random.uniform(0, 6))
    colours = np.array([1.0, 0.7, 0.5]) * random.uniform(0.8, 1.2)
    frame = 120 + 40 * waves[..., None] * colours + random.normal(0, 2, (side, side, 3))
    return np.clip(frame, 0, 255).astype(np.uint8)


def rough(random: np.random.Generator, *, side: int = 48) -> NDArray[np.uint8]:
    """Blocks of random colours."""
    blocks = random.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
    return blocks.repeat(4, axis=0).repeat(4, axis=1)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 70), (300, 20), (64, 64)])
def test_statistics_are_finite_for_every_size_and_for_flat_frames(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    frames = [
        np.zeros((*shape, 3), np.uint8),
        np.full((*shape, 3), 255, np.uint8),
        random.integers(0, 256, (*shape, 3), dtype=np.uint8),
    ]
    found = [frame_statistics(frame) for frame in frames]
    assert {len(each) for each in found} == {len(frame_statistics(np.zeros((9, 9, 3), np.uint8)))}
    assert np.isfinite(found).all()
    # The frame is not written to.
    assert (frames[1] == 255).all()


def test_only_the_middle_of_a_large_frame_counts() -> None:
    random = np.random.default_rng(1)
    frame = random.integers(0, 256, (300, 280, 3), dtype=np.uint8)
    # (300 - 256) / 2 = 22 rows and (280 - 256) / 2 = 12 columns lie outside on each side.
    np.testing.assert_array_equal(frame_statistics(frame), frame_statistics(frame[22:278, 12:268].copy()))


def videos(make, n: int, seed: int) -> list[NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    return [np.stack([frame_statistics(make(random)) for _ in range(3)]) for _ in range(n)]


@pytest.fixture(scope="module")
def familiarity() -> Familiarity:
    return Familiarity.fit(np.concatenate(videos(smooth, 60, 0)), videos(smooth, 40, 1))


def test_the_distance_is_mahalanobis_of_shrunk_correlations() -> None:
    # Two statistics that are uncorrelated with spread 1: only the ridge of 1e-4 in the scale is between them and 5.
    train = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    found = Familiarity.fit(train, [np.array([[3.0, 4.0], [0.0, 0.0]])])
    assert found.distance(np.array([[3.0, 4.0]]))[0] == pytest.approx(5.0, rel=1e-3)
    # The validation video's is the mean over its frames.
    assert found.distances == pytest.approx([2.5], rel=1e-3)
    assert found.percentile(2.6) == 100.0
    assert found.percentile(2.4) == 0.0


def test_videos_of_another_kind_are_unlike_and_those_of_the_same_kind_are_not(familiarity: Familiarity) -> None:
    same = [familiarity.percentile(familiarity.distance(each).mean()) for each in videos(smooth, 40, 2)]
    other = [familiarity.percentile(familiarity.distance(each).mean()) for each in videos(rough, 40, 3)]
    assert np.mean(np.array(other) > 95) == 1.0
    assert np.mean(np.array(same) > 95) < 0.2


def test_the_deviation_of_a_video_is_that_of_all_its_frames_bins() -> None:
    # Two frames with bins at 20 +- 3 and 40 +- 4: variance inside (9 + 16) / 2, between 10^2.
    assert video_deviation([3.0, 4.0], [20.0, 40.0]) == pytest.approx((12.5 + 100) ** 0.5)


def test_a_score_gets_its_interval_inside_the_scale_or_the_mark(familiarity: Familiarity) -> None:
    errors = [float(each) for each in range(1, 20)]
    found = Reliability.fit(errors, [1.0] * 19, confidence=0.9, familiarity=familiarity)
    # 90 % of 20 places is the 18th: 18 points for a deviation of 1.
    assert found.quantile == 18.0
    near, far = familiarity.distances[0], familiarity.distances[-1] + 1
    assert found.judge(50.0, deviation=0.5, distance=near)[:2] == (41.0, 59.0)
    assert found.judge(95.0, deviation=1.0, distance=near)[:2] == (77.0, 100.0)
    unlike = found.judge(50.0, deviation=1.0, distance=far)
    assert unlike == (None, None, 100.0, True)
    # Too few validation videos for the confidence: the whole scale, honestly.
    few = Reliability.fit([1.0], [1.0], confidence=0.9, familiarity=familiarity)
    assert few.judge(50.0, deviation=1.0, distance=near)[:2] == (0.0, 100.0)
    assert Reliability.model_validate(few.model_dump(mode="json")) == few
