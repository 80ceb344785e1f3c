"""Price and eight Greeks: one request and a million options, beside numpy with scipy, and QuantLib where it is."""

from __future__ import annotations

import importlib.util
import math
from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtr

from bench.timing import Row, compare, report
from engine import european

ONE = (100.0, 105.0, 0.5, 0.03, 0.01, 0.25)
SIZES = (1_000, 100_000, 1_000_000)


def book(n: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(1)
    ranges = ((50, 150), (50, 150), (0.02, 3.0), (0.0, 0.08), (0.0, 0.04), (0.05, 1.2))
    return (*(rng.uniform(*bounds, n) for bounds in ranges), np.where(rng.random(n) < 0.5, 1.0, -1.0))


def plain(spot: Any, strike: Any, expiry: Any, rate: Any, dividend: Any, volatility: Any, sign: Any) -> tuple[Any, ...]:
    """What one writes with numpy and scipy; the same nine figures."""
    root = np.sqrt(expiry)
    s = volatility * root
    d1 = (np.log(spot / strike) + (rate - dividend) * expiry) / s + 0.5 * s
    d2 = d1 - s
    growth = np.exp(-dividend * expiry)
    own, owed = spot * growth * ndtr(sign * d1), strike * np.exp(-rate * expiry) * ndtr(sign * d2)
    density = growth * np.exp(-0.5 * d1 * d1) / math.sqrt(2.0 * math.pi)
    vega = spot * density * root
    theta = -0.5 * vega * volatility / expiry + sign * (dividend * own - rate * owed)
    charm = sign * dividend * own / spot - density * ((rate - dividend) / s - 0.5 * d2 / expiry)
    return (
        sign * (own - owed),
        sign * own / spot,
        density / (spot * s),
        vega,
        theta,
        sign * expiry * owed,
        -density * d2 / volatility,
        vega * d1 * d2 / volatility,
        charm,
    )


def difference(ours: Any, theirs: Any) -> float:
    """Largest difference, relative to the largest of each figure."""
    return max(
        float(np.max(np.abs(np.asarray(mine) - other)) / np.max(np.abs(other)))
        for mine, other in zip(ours, theirs, strict=True)
    )


def quantlib() -> Any:
    """One option with QuantLib's calculator, its quickest way from Python; price and the five Greeks that it has."""
    import QuantLib

    spot, strike, expiry, rate, dividend, volatility = ONE
    growth, discount = math.exp(-dividend * expiry), math.exp(-rate * expiry)
    payoff = QuantLib.PlainVanillaPayoff(QuantLib.Option.Call, strike)

    def work() -> tuple[float, ...]:
        forward = spot * growth / discount
        found = QuantLib.BlackCalculator(payoff, forward, volatility * math.sqrt(expiry), discount)
        return (
            found.value(),
            found.delta(spot),
            found.gamma(spot),
            found.vega(expiry),
            found.theta(spot, expiry),
            found.rho(expiry),
        )

    return work


def rows() -> list[Row]:
    """One request, then books."""
    one = partial(european, *ONE, "call")
    peer = partial(plain, *ONE, 1.0)
    found = [compare("one request", one, peer, "numpy and scipy", error=difference(one(), peer()))]
    if importlib.util.find_spec("QuantLib"):
        calculator = quantlib()
        error = difference(one()[:6], calculator())
        found.append(compare("one request", one, calculator, "QuantLib", error=error, note="it gives 6 of 9 figures"))
    for n in SIZES:
        columns = book(n)
        ours, theirs = partial(european, *columns), partial(plain, *columns)
        found.append(compare(f"{n} options", ours, theirs, "numpy and scipy", error=difference(ours(), theirs())))
    columns = book(SIZES[-1])
    outputs = np.empty((9, SIZES[-1]))

    def copy() -> None:
        """Read seven columns and write nine: what memory alone costs."""
        for row, column in zip(outputs, (*columns, *columns[:2]), strict=True):
            row[:] = column

    note = "below 1: times as long as memory alone"
    found.append(compare(f"{SIZES[-1]} options", partial(european, *columns), copy, "copy of its bytes", note=note))
    return found


if __name__ == "__main__":
    report("greeks", rows)
