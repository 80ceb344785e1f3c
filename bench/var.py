"""Value at risk and expected shortfall with contributions: the engine beside plain numpy."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bench.timing import Row, compare, report
from engine import expected_shortfall, value_at_risk

CONFIDENCE = 0.99
SIZES = ((1_000, 5), (1_000, 500), (10_000, 100))
Figures = tuple[float, Any, Any]


def historical(exposures: Any, returns: Any) -> Figures:
    """What one writes with numpy: a matrix of losses, and quantiles of it."""
    losses = -returns * exposures
    total = losses.sum(axis=1)
    order = np.argsort(total)
    place = (len(total) - 1) * CONFIDENCE
    below = int(place)
    share = place - below
    parts = (1.0 - share) * losses[order[below]] + share * losses[order[below + 1]]
    return float(np.quantile(total, CONFIDENCE)), np.quantile(losses, CONFIDENCE, axis=0), parts


def shortfall(exposures: Any, returns: Any) -> Figures:
    """The mean of the worst 1 % of losses (a whole number of rows here)."""
    losses = -returns * exposures
    total = losses.sum(axis=1)
    worst = np.argsort(total)[::-1][: round(len(total) * (1.0 - CONFIDENCE))]
    alone = np.sort(losses, axis=0)[::-1][: len(worst)].mean(axis=0)
    return float(total[worst].mean()), alone, losses[worst].mean(axis=0)


def rows() -> list[Row]:
    """Compare both measures at three sizes."""
    found = []
    for n_obs, n_symbols in SIZES:
        rng = np.random.default_rng(n_symbols)
        returns = 0.01 * rng.standard_t(4, size=(n_obs, n_symbols))
        exposures = rng.uniform(-1e6, 2e6, n_symbols)
        for name, ours, peer in (("VaR", value_at_risk, historical), ("ES", expected_shortfall, shortfall)):
            measure = ours(exposures, returns, method="historical", confidence=CONFIDENCE)
            expected = peer(exposures, returns)
            mine = np.array([measure.total, *measure.standalone, *measure.contributions])
            theirs = np.array([expected[0], *expected[1], *expected[2]])
            found.append(
                compare(
                    f"historical {name}, {n_obs} scenarios x {n_symbols} symbols",
                    partial(ours, exposures, returns, method="historical", confidence=CONFIDENCE),
                    partial(peer, exposures, returns),
                    "numpy",
                    error=float(np.abs(mine - theirs).max() / np.abs(theirs).max()),
                    note="with checks of every input, standalone figures and contributions",
                )
            )
    return found


if __name__ == "__main__":
    report("var", rows)
