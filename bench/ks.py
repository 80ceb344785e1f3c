"""Kolmogorov-Smirnov of a million rows against a million: the engine beside scipy, over kinds of features."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.stats import ks_2samp

from bench.timing import Row, compare, report
from engine.validation import ks

ROWS = 1_000_000


def features() -> dict[str, tuple[Any, Any]]:
    rng = np.random.default_rng(0)
    return {
        "normal": (rng.normal(size=ROWS), rng.normal(0.01, 1.02, ROWS)),
        "lognormal": (np.exp(rng.normal(0.0, 0.5, ROWS)), 1.01 * np.exp(rng.normal(0.0, 0.5, ROWS))),
        "lognormal, sigma 3": (np.exp(rng.normal(0.0, 3.0, ROWS)), 1.01 * np.exp(rng.normal(0.0, 3.0, ROWS))),
        "Student t(3), two digits": tuple(np.round(scale * rng.standard_t(3, ROWS), 2) for scale in (1.0, 1.02)),
        "Cauchy": (rng.standard_cauchy(ROWS), 1.01 * rng.standard_cauchy(ROWS)),
        "six values": tuple(rng.integers(0, 6, ROWS).astype(float) for _ in range(2)),
    }  # type: ignore[return-value]


def rows() -> list[Row]:
    """One feature at a time, of every kind."""
    found = []
    for name, (expected, actual) in features().items():
        theirs = partial(ks_2samp, expected, actual, method="asymp")
        error = abs(ks(expected, actual).statistic - theirs().statistic)
        found.append(
            compare(
                f"{name}, {ROWS} rows against {ROWS}",
                partial(ks, expected, actual),
                theirs,
                "scipy.stats.ks_2samp",
                error=float(error),
                note="the error is the absolute one of the statistic",
                rounds=5,
            )
        )
    return found


if __name__ == "__main__":
    report("ks", rows)
