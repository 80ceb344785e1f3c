"""Implied volatility: a million options beside Newton's method in numpy, and ten million random cases."""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import Any

import numpy as np

from bench.greeks import book, plain
from bench.timing import Row, compare, report
from engine import european, implied_volatility

STEPS = 8
NOT_EQUAL = "both over options whose volatility rounding leaves twelve digits"


def newton(price: Any, spot: Any, strike: Any, expiry: Any, rate: Any, dividend: Any, sign: Any) -> Any:
    """What one writes with numpy and scipy: eight steps of Newton from the guess of Manaster and Koehler."""
    forward = np.log(spot / strike) + (rate - dividend) * expiry
    volatility = np.sqrt(2.0 * np.abs(forward) / expiry) + 0.01
    for _ in range(STEPS):
        found = plain(spot, strike, expiry, rate, dividend, volatility, sign)
        with np.errstate(all="ignore"):
            volatility = np.clip(volatility - (found[0] - price) / found[3], 1e-4, 10.0)
    return volatility


def lets_be_rational(arguments: tuple[Any, ...]) -> Any:
    """Jaeckel's iteration in fast-vollib, its most exact way."""
    from fast_vollib.jackel.numpy_backend import implied_volatility as rational

    price, spot, strike, expiry, rate, dividend, sign = arguments
    flag = np.where(sign > 0.0, "c", "p")
    model = "black_scholes_merton"
    return partial(rational, model, price, spot, strike, expiry, rate, flag, dividend, on_error="ignore")


def posed(columns: tuple[Any, ...], found: Any, digits: int) -> Any:
    """Mark where rounding of spot and strike leaves the volatility that many digits."""
    return found.vega * columns[5] > 10.0 ** (digits - 15) * (columns[0] + columns[1])


def random_cases(total: int, part: int = 1_000_000) -> tuple[int, int, float]:
    """Cases, those without an answer among the well posed, and the largest error in units of rounding over vega."""
    lost, worst = 0, 0.0
    for seed in range(total // part):
        rng = np.random.default_rng(seed)
        moneyness = rng.normal(size=part) * 10.0 ** rng.uniform(-6.0, 0.5, part)
        expiry, volatility = 10.0 ** rng.uniform(-4.0, 1.3, part), 10.0 ** rng.uniform(-2.5, 0.7, part)
        sign = np.where(rng.random(part) < 0.5, 1.0, -1.0)
        columns = (100.0 * np.exp(moneyness), np.full(part, 100.0), expiry, 0.0, 0.0, volatility)
        greeks = european(*columns, sign)
        found = np.asarray(implied_volatility(greeks.price, *columns[:5], sign))
        well = posed(columns, greeks, 6)
        lost += int((~np.isfinite(found[well])).sum())
        unit = np.finfo(np.float64).eps * (columns[0] + columns[1])
        error = np.abs(found - volatility) * greeks.vega / (unit + greeks.vega * volatility * np.finfo(np.float64).eps)
        worst = max(worst, float(error[well].max()))
    return total, lost, worst


def rows() -> list[Row]:
    """A book of a million options, after a check of ten million."""
    total, lost, worst = random_cases(10_000_000)
    columns = book(1_000_000)
    greeks = european(*columns)
    arguments = (greeks.price, *columns[:5], columns[6])
    ours, theirs = partial(implied_volatility, *arguments), partial(newton, *arguments)
    well = posed(columns, greeks, 12)
    right = columns[5][well]
    mine, other = (np.abs(np.asarray(way())[well] / right - 1.0) for way in (ours, theirs))
    note = (
        f"error is ours against the volatility that priced it; numpy misses {np.mean(other > 1e-6):.2%} by over 1e-6; "
        f"of {total} random cases {lost} well-posed ones have no answer, the worst is off by {worst:.1f} roundings"
    )
    row = compare(
        "1000000 options", ours, theirs, f"numpy, {STEPS} steps", error=float(mine.max()), note=note, rounds=5
    )
    found = [row]
    if importlib.util.find_spec("fast_vollib"):
        rational = lets_be_rational(arguments)
        error = np.abs(np.asarray(rational())[well] / right - 1.0)
        note = f"error is ours against the volatility that priced it; theirs {error.max():.1e}, {NOT_EQUAL}"
        found.append(
            compare(
                "1000000 options", ours, rational, "fast-vollib, rational", error=float(mine.max()), note=note, rounds=5
            )
        )
    one = partial(implied_volatility, 5.0, 100.0, 105.0, 0.5, 0.03, 0.01, "call")
    single = partial(newton, 5.0, 100.0, 105.0, 0.5, 0.03, 0.01, 1.0)
    error = abs(float(one()) / float(single()) - 1.0)
    name = f"numpy, {STEPS} steps"
    return [compare("one request", one, single, name, error=error, rounds=301, round_s=5e-4), *found]


if __name__ == "__main__":
    report("implied", rows)
