"""How often `aigc-vqa gate` fails a run, in a simulation of 112 test videos of 14 prompts and a baseline of SROCC 0.89.

The MOS are spread evenly over 0-100; both runs add normal errors, of which a share is common to them: 0.95 is another
seed of one network, 0.8 a small change, 0.5 another network. Three tenths of the variance of an error belong to its
prompt. "No fall" gives the false alarms; a fall of 0.02 that is failed in 40 % of the runs slips through in 60 %. The
rows "smallest fall" are what the gate's own line promises to find in 80 % of cases, the mean over runs without a fall.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize

from benchmarks.compare import Row
from models.metrics import srocc
from stages.evaluation.intervals import Interval, Intervals
from stages.evaluation.metrics import METRICS
from stages.evaluation.runs import Run
from stages.evaluation.verdicts import RULES, judge, smallest_fall
from stages.params.schema import EvaluateParams

FloatArray = NDArray[np.float64]
PROMPTS, VIDEOS_A_PROMPT = 14, 8
BASELINE = 0.89
COMMON = {0.95: "another seed", 0.8: "a small change", 0.5: "another network"}
FALLS = (0.0, 0.02, 0.03, 0.05)
RUNS = 100
PROMPT_SHARE = 0.3
KEYS = ("srocc", "plcc", "krocc", "mean", "rmse")
PARAMS = EvaluateParams(bootstrap_samples=300, confidence=0.95, seed=1)


def deviation_of(correlation: float) -> float:
    """The standard deviation of errors, points, at which scores of many videos have this SROCC."""
    generator = np.random.default_rng(0)
    mos, errors = generator.uniform(0, 100, 20_000), generator.normal(size=20_000)
    return float(optimize.brentq(lambda deviation: srocc(mos + deviation * errors, mos) - correlation, 1, 100))


def errors(generator: np.random.Generator) -> FloatArray:
    """(112,) of variance 1, of which a share is one value for each prompt."""
    own = generator.normal(size=PROMPTS * VIDEOS_A_PROMPT)
    prompts = np.repeat(generator.normal(size=PROMPTS), VIDEOS_A_PROMPT)
    result: FloatArray = np.sqrt(PROMPT_SHARE) * prompts + np.sqrt(1 - PROMPT_SHARE) * own
    return result


def run_of(name: str, mos: FloatArray, scores: FloatArray) -> Run:
    rows = pd.DataFrame(
        {"video_id": [f"v{n}" for n in range(len(mos))], "part": "test", "mos": mos, "score": scores, "status": "ok"}
    )
    return Run(name, {key: METRICS[key].judge_videos(scores, mos) for key in KEYS}, rows, None)


def simulated(generator: np.random.Generator, *, common: float, deviations: tuple[float, float]) -> Intervals:
    """A baseline and a run whose errors share the part `common`, with the test set's prompts."""
    mos = generator.uniform(0, 100, PROMPTS * VIDEOS_A_PROMPT)
    first = errors(generator)
    second = common * first + np.sqrt(1 - common**2) * errors(generator)
    old, new = (mos + deviation * each for deviation, each in zip(deviations, (first, second), strict=True))
    names = [f"p{n // VIDEOS_A_PROMPT}" for n in range(len(mos))]
    drawn = pd.Series(names, index=[f"v{n}" for n in range(len(mos))])
    return Intervals(run_of("now", mos, new), run_of("old", mos, old), PARAMS, drawn=drawn)


def is_failed(intervals: Intervals) -> bool:
    now, old = intervals.now.metrics, intervals.baseline.metrics
    rules = {key: RULES[key] for key in KEYS}

    def interval_of(key: str) -> Interval | None:
        # Where a change passes by the tolerance no interval can fail it.
        sign = 1 if rules[key].better == "higher" else -1
        gain = sign * (float(str(now[key])) - float(str(old[key])))
        return intervals.of(key) if gain < -rules[key].tolerance else None

    return not all(verdict.passes for verdict in judge(now, old, rules, interval_of))


def rows() -> list[Row]:
    result: list[Row] = []
    for common, words in COMMON.items():
        for fall in FALLS:
            deviations = deviation_of(BASELINE), deviation_of(BASELINE - fall)
            cases = [
                simulated(np.random.default_rng([number, round(100 * common)]), common=common, deviations=deviations)
                for number in range(RUNS)
            ]
            failed = 100 * float(np.mean([is_failed(case) for case in cases]))
            what = f"fall of {fall:g}" if fall else "no fall"
            result.append(Row(f"{words} ({common:g} common), {what}: failed", failed, unit="% of runs"))
            if not fall:
                found = [difference.error for case in cases if (difference := case.difference("srocc")) is not None]
                told = np.mean([smallest_fall(RULES["srocc"], error, confidence=0.95) for error in found])
                result.append(Row(f"{words}, smallest fall that the gate can tell", float(told), unit="SROCC"))
    return result
