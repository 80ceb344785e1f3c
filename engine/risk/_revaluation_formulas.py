"""The value of an option under moves of its market, as one source for every device.

Price alone, of what changes between scenarios: discounted spot and strike, the logarithm of their quotient, and the
total volatility. The formulas have no branches; where they do not hold the value is nan.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Formulas", "make"]

_Function = Callable[..., Any]

_NAN = math.nan


class Formulas(NamedTuple):
    """The compiled functions.

    Attributes
    ----------
    value : callable
        ``(own, owed, moneyness, total, sign)`` to the price: discounted spot and strike, the logarithm of their
        quotient, volatility times the root of time, +1 for a call or -1 for a put.
    moved : callable
        ``(spot, rate, dividend, strike, logarithm, time, volatility, sign, factor, log_factor, d_volatility, d_rate,
        passed)`` to the price after a move; `logarithm` is that of spot over strike before it.
    """

    value: _Function
    moved: _Function


def make(jit: Callable[[_Function], _Function], exp: _Function, tails: _Function) -> Formulas:
    """Compile the formulas with `jit`, for a device whose exponential is `exp`; `tails` is that of the prices."""

    @jit
    def value(own: float, owed: float, moneyness: float, total: float, sign: float) -> float:
        per_total = 1.0 / total
        d1 = moneyness * per_total + 0.5 * total
        d2 = d1 - total
        _, tail1, tail2 = tails(own, d1, total)
        gained = tail1 if sign * d1 < 0.0 else own - tail1
        given = tail2 if sign * d2 < 0.0 else owed - tail2
        within = (
            (abs(d1) <= 37.0)
            & (abs(d2) <= 37.0)
            & (total >= 1e-12)
            & (own >= 1e-100)
            & (own <= 1e100)
            & (owed >= 1e-100)
            & (owed <= 1e100)
        )
        price = sign * (gained - given)
        return (price if price > 0.0 else 0.0) if within else _NAN

    @jit
    def moved(
        spot: float,
        rate: float,
        dividend: float,
        strike: float,
        logarithm: float,
        time: float,
        volatility: float,
        sign: float,
        factor: float,
        log_factor: float,
        d_volatility: float,
        d_rate: float,
        passed: float,
    ) -> float:
        left = time - passed if time > passed else 0.0
        level = volatility + d_volatility
        growth = (rate + d_rate) * left
        fall = dividend * left
        own = spot * factor * exp(-fall)
        owed = strike * exp(-growth)
        total = (level if level > 0.0 else 0.0) * math.sqrt(left)
        found = value(own, owed, logarithm + log_factor + growth - fall, total, sign)
        return found if (abs(growth) <= 100.0) & (abs(fall) <= 100.0) else _NAN

    return Formulas(value, moved)
