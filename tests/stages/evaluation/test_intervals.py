"""Intervals of the change: equal to slow loops over the same draws, and absent where nothing can be drawn."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from models.metrics import group_pair_accuracy, mean_of_three, ntire_score, plcc, rank_accuracy, srocc
from stages.evaluation.intervals import Intervals
from stages.evaluation.metrics import PAIR_KINDS
from stages.evaluation.runs import Run
from stages.io.schemas import PAIRS
from stages.params.schema import EvaluateParams

N_PROMPTS, A_PROMPT = 12, 4
N = N_PROMPTS * A_PROMPT
PARAMS = EvaluateParams(bootstrap_samples=100, confidence=0.9, seed=5)
IDS = [f"clip_{number}.mp4" for number in range(N)]
GROUPS = pd.Series([f"prompt {number // A_PROMPT}" for number in range(N)], index=IDS)


def some_pairs() -> pd.DataFrame:
    """Neighbours of one prompt are pairs of one source, videos far apart those of two; raters prefer the first."""
    rows = [("source", number, number + 1) for number in range(0, N - 1, 2)]
    rows += [("nonsource", number, (number + 17) % N) for number in range(0, N, 3)]
    return pd.DataFrame([(kind, IDS[i], IDS[j], True) for kind, i, j in rows], columns=PAIRS.names)


def pairs_of(kind: str) -> pd.DataFrame:
    return some_pairs()[some_pairs()["kind"] == kind]


def run_of(noise: float, seed: int, **metrics: float) -> Run:
    mos = np.random.default_rng(0).uniform(10, 90, N)
    score = mos + np.random.default_rng(seed).normal(0, noise, N)
    rows = pd.DataFrame({"video_id": IDS, "part": "test", "mos": mos, "score": score, "status": "ok"})
    found = {"within_prompt_accuracy": group_pair_accuracy(score, mos, GROUPS.tolist()).accuracy}
    for key, kind in PAIR_KINDS.items():
        found[key] = rank_accuracy(*answers(rows, pairs_of(kind)))
    found["ntire_score"] = ntire_score(
        srocc=srocc(score, mos), plcc=plcc(score, mos), rank1=found["rank1"], rank2=found["rank2"]
    )
    return Run("a run", {**found, **metrics}, rows, None)


def answers(rows: pd.DataFrame, pairs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores = rows.set_index("video_id")["score"]
    better = pairs["first_is_better"].to_numpy(dtype=bool)
    return scores[pairs["first"]].to_numpy(), scores[pairs["second"]].to_numpy(), better


@pytest.fixture
def runs() -> tuple[Run, Run]:
    return run_of(90, 1), run_of(8, 2)


def percentiles(changes: list[float]) -> list[float]:
    return list(np.percentile(changes, [5, 95]))


def test_prompts_are_drawn_whole(runs: tuple[Run, Run]) -> None:
    # A prompt that is drawn twice counts twice, and its copies are not compared with each other.
    generator, changes = np.random.default_rng([PARAMS.seed, 0]), []
    for drawn in generator.integers(0, N_PROMPTS, (PARAMS.bootstrap_samples, N_PROMPTS)):
        # Units are sorted by name, as text.
        names = sorted(set(GROUPS))
        videos = np.concatenate([np.flatnonzero(GROUPS.to_numpy() == names[one]) for one in drawn])
        copies = np.repeat(np.arange(N_PROMPTS), A_PROMPT).tolist()
        now, baseline = (
            group_pair_accuracy(run.scored["score"].to_numpy()[videos], run.scored["mos"].to_numpy()[videos], copies)
            for run in runs
        )
        changes.append(now.accuracy - baseline.accuracy)
    found = Intervals(*runs, PARAMS, groups=GROUPS).of("within_prompt_accuracy")
    assert found == pytest.approx(percentiles(changes), abs=1e-12)
    assert found is not None
    assert found[0] < found[1] < 0


def rank_changes(runs: tuple[Run, Run], kind: str, stream: int) -> list[float]:
    pairs = pairs_of(kind)
    generator = np.random.default_rng([PARAMS.seed, stream])
    changes = []
    for drawn in generator.integers(0, len(pairs), (PARAMS.bootstrap_samples, len(pairs))):
        now, baseline = (rank_accuracy(*answers(run.scored, pairs.iloc[drawn])) for run in runs)
        changes.append(now - baseline)
    return changes


@pytest.mark.parametrize(("key", "kind"), [("rank1", "nonsource"), ("rank2", "source")])
def test_rated_pairs_are_drawn(runs: tuple[Run, Run], key: str, kind: str) -> None:
    found = Intervals(*runs, PARAMS, pairs=some_pairs()).of(key)
    assert found == pytest.approx(percentiles(rank_changes(runs, kind, 0)), abs=1e-12)


def test_the_final_score_draws_videos_and_pairs_of_both_kinds(runs: tuple[Run, Run]) -> None:
    ranks = [rank_changes(runs, "nonsource", 1), rank_changes(runs, "source", 2)]
    generator, changes = np.random.default_rng([PARAMS.seed, 3]), []
    for first, second in zip(*ranks, strict=True):
        drawn = generator.integers(0, N, N)
        now, baseline = (
            [metric(run.scored["score"].to_numpy()[drawn], run.scored["mos"].to_numpy()[drawn]) for run in runs]
            for metric in (srocc, plcc)
        )
        changes.append(0.45 * (now[0] - now[1]) + 0.45 * (baseline[0] - baseline[1]) + 0.05 * (first + second))
    found = Intervals(*runs, PARAMS, pairs=some_pairs()).of("ntire_score")
    assert found == pytest.approx(percentiles(changes), abs=1e-12)


def test_a_run_against_itself_does_not_change(runs: tuple[Run, Run]) -> None:
    intervals = Intervals(runs[0], runs[0], PARAMS, groups=GROUPS, pairs=some_pairs())
    for key in ("srocc", "mean", "rmse", "within_prompt_accuracy", "rank1", "rank2", "ntire_score"):
        assert intervals.of(key) == (0, 0), key


def without_predictions(run: Run) -> Run:
    return Run(run.name, run.metrics, None, None)


@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("within_prompt_accuracy", lambda now, old: Intervals(now, old, PARAMS, pairs=some_pairs())),
        ("rank1", lambda now, old: Intervals(now, old, PARAMS, groups=GROUPS)),
        ("ntire_score", lambda now, old: Intervals(now, old, PARAMS, pairs=pairs_of("source"))),
        # Two pairs are too few to draw from.
        ("rank2", lambda now, old: Intervals(now, old, PARAMS, pairs=some_pairs().head(2))),
        # The prompts, or pairs, of the baseline were others: they do not give what it recorded.
        (
            "within_prompt_accuracy",
            lambda now, old: Intervals(now, run_of(8, 2, within_prompt_accuracy=0.5), PARAMS, groups=GROUPS),
        ),
        ("rank1", lambda now, old: Intervals(run_of(90, 1, rank1=0.25), old, PARAMS, pairs=some_pairs())),
        ("srocc", lambda now, old: Intervals(without_predictions(now), without_predictions(old), PARAMS)),
        (
            "rank1",
            lambda now, old: Intervals(now, without_predictions(old), PARAMS, pairs=some_pairs()),
        ),
        ("logistic_converged", lambda now, old: Intervals(now, old, PARAMS, groups=GROUPS, pairs=some_pairs())),
    ],
)
def test_what_cannot_be_drawn_has_no_interval(
    runs: tuple[Run, Run], key: str, make: Callable[[Run, Run], Intervals]
) -> None:
    assert make(*runs).of(key) is None


def test_the_mean_of_the_three() -> None:
    # Ranks 1 2 3 5 4 against 1 2 3 4 5: Spearman 0.9, Pearson the same, 8 of 10 pairs less the 1 wrong: Kendall 0.8.
    assert mean_of_three([1, 2, 3, 5, 4], [1, 2, 3, 4, 5]) == pytest.approx((0.9 + 0.9 + 0.8) / 3)
