"""The gate's judgement of two sets of metrics: one verdict per metric.

A metric fails when it got worse by more than its tolerance and, where an interval of the change can be computed, the
drop is distinguishable from chance; otherwise the tolerance alone decides. "Better" asks for the same: an interval
without 0, and where there is none a rise beyond the tolerance. Floors apply whatever the baseline is.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist

from stages.errors import GateError
from stages.evaluation.intervals import Interval
from stages.evaluation.metrics import METRICS, Direction
from stages.io.json import number

# Share of cases in which a fall is called one that the test set can tell.
POWER = 0.8


@dataclass(frozen=True)
class Rule:
    """How a metric is judged.

    Attributes:
        better: Direction of improvement.
        tolerance: Change for the worse that still passes, in the metric's unit.
        floor: Worst value that passes (for `lower`: the highest); None: any.
    """

    better: Direction
    tolerance: float
    floor: float | None = None


RULES: dict[str, Rule] = {
    key: Rule(metric.better, metric.tolerance, metric.floor)
    for key, metric in METRICS.items()
    if metric.better and metric.judged
}
# Judged by their floor, whatever the baseline has.
WITHOUT_BASELINE = {key for key, rule in RULES.items() if rule.floor is not None}


@dataclass(frozen=True)
class Verdict:
    """One row of the gate's table.

    Attributes:
        key: The metric.
        baseline: Its value there; None: it has none.
        now: Its value in this run; None: it has none.
        allowed: What would pass, in words.
        interval: Of the change, from resampling; None: not computed.
        passes: Whether the metric passes.
        text: Why, in a few words.
        alone: Whether the interval cannot be computed, so that the tolerance alone decided.
    """

    key: str
    baseline: float | None
    now: float | None
    allowed: str
    interval: Interval | None
    passes: bool
    text: str
    alone: bool = False

    @property
    def change(self) -> float | None:
        """This run's value minus the baseline's; None where one of them is missing."""
        return None if self.baseline is None or self.now is None else self.now - self.baseline


def rules_with(
    tolerances: Mapping[str, float], floors: Mapping[str, float], better: Mapping[str, Direction]
) -> dict[str, Rule]:
    """The shipped rules with the caller's changes.

    Args:
        tolerances: Metric -> tolerance, 0 or more.
        floors: Metric -> worst value that passes.
        better: Metric -> direction, needed for metrics without a shipped rule.

    Raises:
        GateError: A tolerance is negative, or a metric has no direction.
    """
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
    # Failed videos are never compared with the baseline: the tolerance is how many there may be.
    rules["n_failed"] = replace(rules["n_failed"], floor=max(rules["n_failed"].tolerance, rules["n_failed"].floor or 0))
    return rules


def comparable(baseline: Mapping[str, object], rules: Mapping[str, Rule]) -> bool:
    """Whether a baseline has any metric that a run is judged against."""
    return any(key in baseline for key in rules if key not in WITHOUT_BASELINE)


def judge(
    now: Mapping[str, object],
    baseline: Mapping[str, object],
    rules: Mapping[str, Rule],
    interval_of: Callable[[str], Interval | None],
) -> list[Verdict]:
    """A verdict for every metric of either run and every rule with a floor, judged metrics first.

    Args:
        now: The metrics of this run.
        baseline: Those of the other.
        rules: How metrics are judged; others are shown only.
        interval_of: Gives the interval of a metric's change, or None when it cannot be computed.
    """
    ruled = [key for key, rule in rules.items() if key in now or key in baseline or rule.floor is not None]
    others = sorted((set(now) | set(baseline)) - set(ruled))
    return [_judge_one(key, now, baseline, rules.get(key), interval_of) for key in [*ruled, *others]]


def wants_interval(key: str, rule: Rule, change: float) -> bool:
    """Whether the interval of a change is worth its time: for slow metrics only where it is beyond the tolerance.

    Args:
        key: The metric.
        rule: How it is judged.
        change: This run's value minus the baseline's.
    """
    return key not in METRICS or not METRICS[key].slow or abs(change) > rule.tolerance


def smallest_fall(rule: Rule, error: float, *, confidence: float) -> float:
    """The smallest true fall that a gate would fail on in a share POWER of test sets like this one.

    The change that is seen scatters around the true one with its standard error. It fails where it is beyond the
    tolerance and its interval does not reach 0, that is beyond max(tolerance, 1.96 errors) at 95 %; of changes whose
    true value lies 0.84 errors further out, 8 of 10 are.

    Args:
        rule: How the metric is judged.
        error: Standard error of the change, from the paired bootstrap, in the metric's unit.
        confidence: Of the interval, 0..1.

    Returns:
        In the metric's unit, 0 or more.
    """
    normal = NormalDist()
    return max(rule.tolerance, normal.inv_cdf((1 + confidence) / 2) * error) + normal.inv_cdf(POWER) * error


def _judge_one(
    key: str,
    now: Mapping[str, object],
    baseline: Mapping[str, object],
    rule: Rule | None,
    interval_of: Callable[[str], Interval | None],
) -> Verdict:
    old, new = number(baseline.get(key)), number(now.get(key))
    allowed = _allowed(key, rule)

    def verdict(passes: bool, text: str, interval: Interval | None = None, alone: bool = False) -> Verdict:
        return Verdict(key, old, new, allowed, interval, passes, text, alone)

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
    if key in WITHOUT_BASELINE:
        return verdict(True, "none" if new == 0 else "allowed")
    if key not in baseline:
        return verdict(True, "new")
    if old is None or not math.isfinite(old):
        return verdict(False, f"the baseline is not a finite number: {baseline[key]}")
    gain = sign * (new - old)
    wanted = wants_interval(key, rule, new - old)
    interval = interval_of(key) if wanted else None
    alone = wanted and interval is None
    gains = None if interval is None else sorted(sign * end for end in interval)
    if gain == 0:
        return verdict(True, "same", interval, alone)
    if gain < 0:
        if gain >= -rule.tolerance:
            return verdict(True, "worse, within tolerance", interval, alone)
        if gains is not None and gains[1] >= 0:
            return verdict(True, "worse, within noise", interval)
        return verdict(False, "regression", interval, alone)
    if gains is not None and gains[0] <= 0:
        return verdict(True, "better, within noise", interval)
    # A gain as small as a drop that passes is no news where nothing tells it from chance.
    told = gains is not None or gain > rule.tolerance
    return verdict(True, "better" if told else "better, within tolerance", interval, alone)


def _allowed(key: str, rule: Rule | None) -> str:
    if key == "n_expected":
        return "the same"
    if rule is None:
        return ""
    sign, bound = ("-", "at least") if rule.better == "higher" else ("+", "at most")
    floor = "" if rule.floor is None else f"{bound} {rule.floor:g}"
    change = f"{sign}{rule.tolerance:g}" if rule.tolerance else "no worse"
    return floor if key == "n_failed" else f"{change}{', ' if floor else ''}{floor}"
