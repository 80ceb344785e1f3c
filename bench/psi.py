"""Population stability index of a million rows against a million: the engine beside np.quantile and np.histogram."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bench.timing import Row, compare, report
from engine.validation import psi

ROWS = 1_000_000
BINS = 20
FLOOR = 1e-4


def histograms(expected: Any, actual: Any) -> float:
    """What one writes with numpy: bins at the quantiles, and a histogram of each sample."""
    edges = np.quantile(expected, np.linspace(0.0, 1.0, BINS + 1))
    edges[0], edges[-1] = -np.inf, np.inf
    return counted(expected, actual, edges)


def counted(expected: Any, actual: Any, edges: Any) -> float:
    """The same with the edges known."""
    before, now = (np.maximum(np.histogram(values, edges)[0] / values.size, FLOOR) for values in (expected, actual))
    return float(((now - before) * np.log(now / before)).sum())


def rows() -> list[Row]:
    """From the samples as they come, with known edges, and from sorted samples."""
    rng = np.random.default_rng(0)
    expected, actual = rng.normal(size=ROWS), rng.normal(0.05, 1.1, ROWS)
    in_order = np.sort(expected), np.sort(actual)
    edges = np.quantile(expected, np.linspace(0.0, 1.0, BINS + 1)[1:-1])
    outer = np.concatenate([[-np.inf], edges, [np.inf]])
    cases = (
        ("quantile bins", partial(psi, expected, actual), partial(histograms, expected, actual), "quantile, histogram"),
        (
            "known bins",
            partial(psi, expected, actual, bins=edges),
            partial(counted, expected, actual, outer),
            "histogram",
        ),
        ("sorted", partial(psi, *in_order, presorted=True), partial(histograms, *in_order), "quantile, histogram"),
    )
    return [
        compare(
            f"{name}, {BINS} bins, {ROWS} rows against {ROWS}",
            ours,
            theirs,
            f"numpy {peer}",
            error=abs(ours() - theirs()) / theirs(),
            rounds=9,
        )
        for name, ours, theirs, peer in cases
    ]


if __name__ == "__main__":
    report("psi", rows)
