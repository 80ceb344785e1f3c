"""Scalar formulas of the implied volatility, without branches; made by `engine.pricing._formulas.make`.

Normalised as in [1]_: x is the distance of the logarithms of forward and strike, prices are of the option out of the
money in units of the root of their discounted product, and s is the volatility times the root of the expiry.

References
----------
.. [1] P. Jaeckel, "Let's be rational", Wilmott 75 (2015), doi:10.1002/wilm.10395: normalised price (eq. 2.1 to 2.4),
   the point of inflection (eq. 3.2), objectives and Householder's iteration (section 5).
.. [2] M. Abramowitz and I. Stegun, *Handbook of Mathematical Functions* (1964), eq. 26.2.23.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Inversion", "make"]

_Function = Callable[..., Any]

_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)
_LN2 = math.log(2.0)
_NAN = math.nan


class Inversion(NamedTuple):
    """The compiled functions.

    Attributes
    ----------
    seed : callable
        ``(x, beta, gamma, top)`` to a first guess of s.
    householder : callable
        ``(level, per_level, target, per_target, slope, per_slope, ratio, s, direct)`` to Newton's step, Householder's
        step and the curvature; a `per` is 1 over what it is named by.
    start : callable
        ``(price, spot, strike, expiry, rate, dividend, sign)`` to x, the target (nan outside the range in which the
        formulas are exact), the bound, whether the upper branch is meant (1 or 0), and the first guess.
    refine : callable
        ``(x, target, top, upper, s)`` to a better s, and how far it was from settled.
    settle : callable
        ``(x, s, far, expiry)`` to the volatility; nan where it is not settled.
    implied : callable
        ``(price, spot, strike, expiry, rate, dividend, sign)`` to the implied volatility: the parts above in turn.
    """

    seed: _Function
    householder: _Function
    start: _Function
    refine: _Function
    settle: _Function
    implied: _Function


def make(
    jit: Callable[[_Function], _Function],
    exp: _Function,
    log: _Function,
    log_ratio: _Function,
    larger: _Function,
    smaller: _Function,
    fraction: _Function,
) -> Inversion:
    """Compile the formulas with `jit`; `fraction` gives numerator and denominator of erfcx."""

    @jit
    def seed(x: float, beta: float, rest: float, level: float) -> float:
        # below half the bound: inverse of the normal (Bachelier) price at the same moneyness, to 5e-4
        least = larger(x, 1e-8 * beta)
        square = log_ratio(beta + least, beta)
        u = math.sqrt(square)
        p = 0.3989034281016143 + u * (0.015098357590535665 + u * (0.0372332653377807 + u * 0.01933421039016497))
        q = 0.025189165984784746 + u * 0.013709756462332247
        q = 1.0 + u * (0.033676787191827345 + u * (0.11138206606532886 + u * q))
        # above: d1 from what is missing to the bound [2]
        k = math.sqrt(-2.0 * smaller(level - _LN2, -_LN2))
        top = 2.515517 + k * (0.802853 + k * 0.010328)
        bottom = 1.0 + k * (1.432788 + k * (0.189269 + k * 0.001308))
        square_p = square * p
        each = 1.0 / (square_p * bottom)
        low = least * q * (bottom * each)
        d1 = k - top * (square_p * each)
        high = d1 + math.sqrt(d1 * d1 + 2.0 * x)
        found: float = high if rest < 0.5 else low
        return found

    @jit
    def householder(
        level: float,
        per_level: float,
        target: float,
        per_target: float,
        slope: float,
        per_slope: float,
        ratio: float,
        s: float,
        direct: bool,
    ) -> tuple[float, float, float]:
        # of log y (direct) or 1 / log y; level = log y, slope = (log y)', second and third derivatives of y over y'
        square = ratio * ratio
        second = s * (square - 0.25)
        third = second * second - 3.0 * square - 0.25
        f2 = second - slope
        f3 = third - 3.0 * slope * second + 2.0 * slope * slope
        twist = 0.0 if direct else slope * per_level
        newton = (target - level) * per_slope * (1.0 if direct else level * per_target)
        h2 = f2 - 2.0 * twist
        h3 = f3 - 6.0 * twist * f2 + 6.0 * twist * twist
        step = newton * (1.0 + 0.5 * h2 * newton) / (1.0 + newton * (h2 + h3 * newton * (1.0 / 6.0)))
        return newton, step, h2

    @jit
    def start(
        price: float, spot: float, strike: float, expiry: float, rate: float, dividend: float, sign: float
    ) -> tuple[float, float, float, float]:
        a = spot * exp(-dividend * expiry)
        b = strike * exp(-rate * expiry)
        x = abs(log_ratio(spot, strike) + (rate - dividend) * expiry)
        per_bound = 1.0 / smaller(a, b)
        beta = (price - larger(sign * (a - b), 0.0)) * per_bound
        rest = ((a if sign > 0.0 else b) - price) * per_bound
        upper = rest < 0.5
        level = log(rest if upper else beta)
        within = (
            (x < 20.0)
            & (smaller(beta, rest) > 1e-140)
            & (larger(abs(rate), abs(dividend)) * expiry <= 100.0)
            & (expiry > 1e-12)
            & (expiry < 1e4)
            & (smaller(spot, strike) >= 1e-100)
            & (larger(spot, strike) <= 1e100)
            & (sign * sign == 1.0)
        )
        return x, level - 0.5 * x if within else _NAN, 1.0 if upper else 0.0, seed(x, beta, rest, level)

    @jit
    def refine(x: float, target: float, upper: float, s: float) -> tuple[float, float]:
        per_s = 1.0 / s
        h = x * per_s
        t = 0.5 * s
        z = t - h
        top1, bottom1 = fraction(abs(z) * _ROOT_HALF)
        top2, bottom2 = fraction((t + h) * _ROOT_HALF)
        e = exp(larger(-0.5 * z * z, -700.0))
        direct = upper > 0.5
        above = z > 0.0
        first, second = top1 * bottom2, top2 * bottom1
        part = 0.5 * e * (first + second if above else first - second) / (bottom1 * bottom2)
        y = part if above == direct else 1.0 - part
        level = log(y) - 0.5 * x
        # one division for four reciprocals
        e_y = e * y
        levels = level * target
        each = 1.0 / (e_y * levels)
        per_level, per_target = e_y * target * each, e_y * level * each
        slope = e * e * levels * each
        per_slope = y * y * levels * each
        density = -_DENSITY if direct else _DENSITY
        newton, step, bend = householder(
            level,
            per_level,
            target,
            per_target,
            density * slope,
            (-1.0 / _DENSITY if direct else 1.0 / _DENSITY) * per_slope,
            -h * per_s,
            s,
            direct,
        )
        return larger(s + step, 0.25 * s), abs(newton) * (per_s + abs(bend))

    @jit
    def settle(x: float, s: float, far: float, expiry: float) -> float:
        # Householder's step squares the distance twice: 1e-4 before it is nothing after it
        settled = (far < 1e-4) & (s > 0.01) & (s < 20.0) & ((x > 0.01) | (x < 10.0 * s))
        return s / math.sqrt(expiry) if settled else _NAN

    @jit
    def implied(
        price: float, spot: float, strike: float, expiry: float, rate: float, dividend: float, sign: float
    ) -> float:
        x, target, upper, s = start(price, spot, strike, expiry, rate, dividend, sign)
        s, _ = refine(x, target, upper, s)
        s, far = refine(x, target, upper, s)
        found: float = settle(x, s, far, expiry)
        return found

    return Inversion(seed, householder, start, refine, settle, implied)
