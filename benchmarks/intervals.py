"""Bootstrap intervals of 1,000 resamples: scipy.stats.bootstrap against `models.resampling`, for 112 and 2,000 videos.

Both draw the same videos from the same generator, as many at once, and measure them with the same functions by rows. A
ratio above 1: scipy takes longer. Last, what each has in memory at its highest, and scipy without blocks.
"""

import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.compare import Row, duration_row, ratio_row, time_in_turn
from models.metrics import krocc, metric_rows, plcc, srocc
from models.resampling import BOOTSTRAP_VALUES_MAX, bootstrap_interval, paired_bootstrap

FloatArray = NDArray[np.float64]
RESAMPLES, CONFIDENCE = 1000, 0.95
MEBIBYTE = 2**20


def runs(n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """MOS and two runs with independent errors."""
    generator = np.random.default_rng(0)
    mos = generator.uniform(0.0, 100.0, n)
    return mos, mos + generator.normal(0.0, 20.0, n), mos + generator.normal(0.0, 18.0, n)


def scipy_interval(statistic: Callable[..., FloatArray], *arrays: FloatArray, batch: int | None) -> Any:
    return stats.bootstrap(
        arrays,
        statistic,
        paired=True,
        vectorized=True,
        batch=batch,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval


def single(metric: Callable[..., float], x: FloatArray, y: FloatArray, axis: int) -> FloatArray:
    return metric_rows(metric, x, y)


def change(metric: Callable[..., float], a: FloatArray, b: FloatArray, y: FloatArray, axis: int) -> FloatArray:
    return metric_rows(metric, a, y) - metric_rows(metric, b, y)


def peak_mib(run: Callable[[], object]) -> float:
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1] / MEBIBYTE
    finally:
        tracemalloc.stop()


def rows() -> list[Row]:
    result: list[Row] = []
    for n in (112, 2000):
        mos, a, b = runs(n)
        batch = BOOTSTRAP_VALUES_MAX // n
        # Kendall's correlation at 2,000 videos takes half a minute in either.
        for metric in (srocc, plcc, krocc) if n < 1000 else (srocc, plcc):
            ours = partial(bootstrap_interval, metric, a, mos, samples=RESAMPLES, confidence=CONFIDENCE, seed=0)
            theirs = partial(scipy_interval, partial(single, metric), a, mos, batch=batch)
            ours_paired = partial(
                paired_bootstrap, mos, a, b, metric=metric, n_resamples=RESAMPLES, confidence=CONFIDENCE, seed=0
            )
            theirs_paired = partial(scipy_interval, partial(change, metric), a, b, mos, batch=batch)
            rounds = 3 if metric is krocc else 15
            cases = {"ours": ours, "scipy": theirs, "ours, paired": ours_paired, "scipy, paired": theirs_paired}
            seconds = time_in_turn(cases, rounds=rounds)
            name = f"{metric.__name__.upper()}, {n:,} videos"
            result += [
                duration_row(f"{name}, ours", seconds["ours"]),
                ratio_row(f"{name}, scipy / ours", seconds["scipy"], seconds["ours"]),
                ratio_row(f"change of {name}, scipy / ours", seconds["scipy, paired"], seconds["ours, paired"]),
            ]
            if metric is srocc:
                whole = partial(scipy_interval, partial(single, metric), a, mos, batch=None)
                peaks = {"ours": ours, "scipy": theirs, "scipy without blocks": whole}
                result += [Row(f"peak, {name}, {who}", peak_mib(run), unit="MiB") for who, run in peaks.items()]
    return result
