"""What the gate makes of two sets of metrics: one verdict a metric, and what else makes a run fail.

A metric fails when it got worse by more than its tolerance and, where the predictions of both runs are there, the
paired bootstrap tells the drop from chance. Floors hold whatever the baseline says.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd
from numpy.typing import ArrayLike

from models.errors import AigcVqaError
from models.metrics import krocc, paired_bootstrap, paper_mean, plcc, plcc_logistic, rmse, srocc
from stages.errors import GateError
from stages.sections import EvaluateParams

Direction = Literal["higher", "lower"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Rule:
    """How a metric is judged.

    better: the direction of improvement. tolerance: the change for the worse that still passes, in the metric's unit.
    floor: the worst value that passes (for `lower`: the highest); None: any.
    """

    better: Direction
    tolerance: float
    floor: float | None = None


RULES: dict[str, Rule] = {
    "srocc": Rule("higher", 0.01),
    "plcc": Rule("higher", 0.01),
    "krocc": Rule("higher", 0.01),
    "mean": Rule("higher", 0.01),
    "plcc_logistic": Rule("higher", 0.01),
    "logistic_converged": Rule("higher", 0.0),
    "rmse": Rule("lower", 0.5),
    "within_prompt_accuracy": Rule("higher", 0.01),
    "rank1": Rule("higher", 0.01),
    "rank2": Rule("higher", 0.01),
    "ntire_score": Rule("higher", 0.01),
    "n_failed": Rule("lower", 0.0, floor=0.0),
}


def mean_of_three(scores: ArrayLike, mos: ArrayLike) -> float:
    """The paper's mean of SROCC, PLCC and KROCC, of one set of videos."""
    return paper_mean(srocc(scores, mos), plcc(scores, mos), krocc(scores, mos))


FUNCTIONS: dict[str, Callable[..., float]] = {
    "srocc": srocc,
    "plcc": plcc,
    "krocc": krocc,
    "mean": mean_of_three,
    "plcc_logistic": plcc_logistic,
    "rmse": rmse,
}


@dataclass(frozen=True)
class Verdict:
    """One row of the gate's table. interval: of the change, from the paired bootstrap; None: not computed."""

    key: str
    baseline: float | None
    now: float | None
    allowed: str
    interval: Interval | None
    passes: bool
    text: str

    @property
    def change(self) -> float | None:
        return None if self.baseline is None or self.now is None else self.now - self.baseline


def rules_with(
    tolerances: Mapping[str, float], floors: Mapping[str, float], better: Mapping[str, Direction]
) -> dict[str, Rule]:
    """The shipped rules with the caller's changes; raise GateError for what cannot be judged."""
    rules = dict(RULES)
    for key, direction in better.items():
        rules[key] = replace(rules[key], better=direction) if key in rules else Rule(direction, 0.0)
    for option, values in (("--tolerance", tolerances), ("--floor", floors)):
        for key, value in values.items():
            if key not in rules:
                known = ", ".join(sorted(rules))
                raise GateError(f"{option} {key}: say --better {key}=higher or lower too; known by themselves: {known}")
            if option == "--floor":
                rules[key] = replace(rules[key], floor=value)
            elif value < 0:
                raise GateError(f"{option} {key}={value:g}: a tolerance is 0 or more")
            else:
                rules[key] = replace(rules[key], tolerance=value)
    # Failed videos are never a matter of the baseline: the tolerance is how many there may be.
    rules["n_failed"] = replace(rules["n_failed"], floor=max(rules["n_failed"].tolerance, rules["n_failed"].floor or 0))
    return rules


def judge(
    now: Mapping[str, object],
    baseline: Mapping[str, object],
    rules: Mapping[str, Rule],
    interval_of: Callable[[str, bool], Interval | None],
) -> list[Verdict]:
    """A verdict for every metric of either run and every rule with a floor, judged ones first.

    interval_of(key, dropped): the interval of the change, or None when it cannot be, or need not be, computed.
    """
    ruled = [key for key, rule in rules.items() if key in now or key in baseline or rule.floor is not None]
    others = sorted((set(now) | set(baseline)) - set(ruled))
    return [_judge_one(key, now, baseline, rules.get(key), interval_of) for key in [*ruled, *others]]


def _judge_one(
    key: str,
    now: Mapping[str, object],
    baseline: Mapping[str, object],
    rule: Rule | None,
    interval_of: Callable[[str, bool], Interval | None],
) -> Verdict:
    old, new = _number(baseline.get(key)), _number(now.get(key))
    allowed = _allowed(key, rule)

    def verdict(passes: bool, text: str, interval: Interval | None = None) -> Verdict:
        return Verdict(key, old, new, allowed, interval, passes, text)

    if key not in now:
        return verdict(False, "missing")
    if new is None or not math.isfinite(new):
        return verdict(False, f"not a finite number: {now[key]}")
    if key == "n_expected":
        same = old is None or old == new
        return verdict(same, "same" if same else "another number of test videos")
    if rule is None:
        return verdict(True, "not judged")
    sign = 1.0 if rule.better == "higher" else -1.0
    if rule.floor is not None and sign * (new - rule.floor) < 0:
        return verdict(False, f"{'below' if sign > 0 else 'above'} {rule.floor:g}")
    if key == "n_failed":
        return verdict(True, "none" if new == 0 else "allowed")
    if old is None or not math.isfinite(old):
        return verdict(True, "new" if key not in baseline else "baseline is not a number")
    gain = sign * (new - old)
    dropped = gain < -rule.tolerance
    interval = interval_of(key, dropped)
    if not dropped:
        text = "better" if gain > 0 else "same" if gain == 0 else "worse, within tolerance"
        return verdict(True, text, interval)
    if interval is not None and max(sign * interval[0], sign * interval[1]) >= 0:
        return verdict(True, "worse, within noise", interval)
    return verdict(False, "regression", interval)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _allowed(key: str, rule: Rule | None) -> str:
    if key == "n_expected":
        return "the same"
    if rule is None:
        return ""
    sign, bound = ("-", "at least") if rule.better == "higher" else ("+", "at most")
    floor = "" if rule.floor is None else f"{bound} {rule.floor:g}"
    return floor if key == "n_failed" else f"{sign}{rule.tolerance:g}{', ' if floor else ''}{floor}"


def changed_videos(now: Mapping[str, float | None], baseline: Mapping[str, float | None]) -> list[str]:
    """Sentences on what differs between two test sets (video id -> MOS, None where unknown); empty: the same."""
    problems = []
    for word, one, other in (("new", now, baseline), ("gone", baseline, now)):
        ids = sorted(set(one) - set(other))
        if ids:
            problems.append(f"{len(ids)} test videos are {word} (first: {ids[0]})")
    changed = sorted(name for name in set(now) & set(baseline) if _differs(now[name], baseline[name]))
    if changed:
        problems.append(f"{len(changed)} test videos have another MOS (first: {changed[0]})")
    return problems


def _differs(first: float | None, second: float | None) -> bool:
    return first is not None and second is not None and abs(first - second) > 1e-6


def intervals_of_change(
    now: pd.DataFrame | None, baseline: pd.DataFrame | None, params: EvaluateParams
) -> Callable[[str, bool], Interval | None]:
    """The function that `judge` asks; predictions are the test part's rows, None: there are none to compare."""
    if now is None or baseline is None:
        return lambda key, dropped: None
    scored = [rows.loc[rows["status"] == "ok", ["video_id", "mos", "score"]] for rows in (now, baseline)]
    both = scored[0].merge(scored[1][["video_id", "score"]], on="video_id", suffixes=("", "_baseline"))

    def interval_of(key: str, dropped: bool) -> Interval | None:
        # A logistic fit for each of thousands of resamples is worth its seconds only where it decides.
        if key not in FUNCTIONS or (key == "plcc_logistic" and not dropped):
            return None
        try:
            found = paired_bootstrap(
                both["mos"],
                both["score"],
                both["score_baseline"],
                metric=FUNCTIONS[key],
                n_resamples=params.bootstrap_samples,
                confidence=params.confidence,
                seed=params.seed,
            )
        except AigcVqaError:
            return None
        return found.low, found.high

    return interval_of
