"""Scalar formulas without branches, written once and compiled for every device.

`make` takes a compiler and the two functions that differ between devices. What it returns covers the range in which
these formulas are exact to rounding; outside it the first result is nan, and `engine.pricing._limits` has the answer.

References
----------
.. [1] E. G. Haug, *The Complete Guide to Option Pricing Formulas*, 2nd ed. (2007), ch. 1 (eq. 1.1 to 1.4) and ch. 2.
.. [2] W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23 (1969),
   doi:10.1090/S0025-5718-1969-0247736-4: scaling by exp(x^2), so that a tail keeps its relative accuracy.
.. [3] P. Jaeckel, "Let's be rational", Wilmott 75 (2015), doi:10.1002/wilm.10395: normalised price (eq. 2.1 to 2.4),
   the point of inflection (eq. 3.2), objectives and Householder's iteration (section 5).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Formulas", "make"]

_Function = Callable[..., Any]

_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)  # of the normal distribution at 0
_NAN = math.nan

# (1 + 2 x) erfcx(x) at t = (x - 3.75) / (x + 3.75): interpolated at the 23 Chebyshev nodes of [-1, 1], to 3e-16
(_C0, _C1, _C2, _C3, _C4, _C5, _C6, _C7) = (
    1.2375126308378275,
    -0.14024059858554522,
    0.0035854154854663067,
    0.08227673848999159,
    -0.10880393014193915,
    0.09230432116435616,
    -0.058693398584491845,
    0.028362277371370044,
)
(_C8, _C9, _C10, _C11, _C12, _C13, _C14, _C15) = (
    -0.00974657962081509,
    0.0017556261692276722,
    0.00029371408777227685,
    -0.0002901553656394713,
    5.164737123871838e-05,
    2.238759272534769e-05,
    -1.143961526007595e-05,
    -9.79297529099823e-07,
)
(_C16, _C17, _C18, _C19, _C20, _C21, _C22) = (
    1.7438577411359181e-06,
    -5.0816911811698186e-08,
    -2.4996538037405243e-07,
    1.8778501156468795e-08,
    3.256499083798513e-08,
    -1.952790162974837e-09,
    -2.7293941332533855e-09,
)


class Formulas(NamedTuple):
    """The compiled functions.

    Attributes
    ----------
    erfcx : callable
        ``exp(x^2) erfc(x)`` for x >= 0.
    european : callable
        ``(spot, strike, expiry, rate, dividend, volatility, sign)`` to price and eight Greeks.
    seed : callable
        ``(x, beta, gamma, top)`` to a first guess of the total volatility.
    householder : callable
        ``(level, target, slope, h, s, direct)`` to Newton's step, Householder's step and the curvature.
    implied : callable
        ``(price, spot, strike, expiry, rate, dividend, sign)`` to the implied volatility.
    """

    erfcx: _Function
    european: _Function
    seed: _Function
    householder: _Function
    implied: _Function


def make(jit: Callable[[_Function], _Function], exp: _Function, log: _Function) -> Formulas:
    """Compile the formulas with `jit`, for a device whose exponential and logarithm are `exp` and `log`."""

    @jit
    def erfcx(x: float) -> float:
        scale = 1.0 / ((x + 3.75) * (1.0 + 2.0 * x))
        t = (x - 3.75) * ((1.0 + 2.0 * x) * scale)
        u = t * t
        high = _C16 + u * (_C18 + u * (_C20 + u * _C22))
        even = _C0 + u * (_C2 + u * (_C4 + u * (_C6 + u * (_C8 + u * (_C10 + u * (_C12 + u * (_C14 + u * high)))))))
        high = _C15 + u * (_C17 + u * (_C19 + u * _C21))
        odd = _C1 + u * (_C3 + u * (_C5 + u * (_C7 + u * (_C9 + u * (_C11 + u * (_C13 + u * high))))))
        return (even + t * odd) * ((x + 3.75) * scale)

    @jit
    def european(
        spot: float, strike: float, expiry: float, rate: float, dividend: float, volatility: float, sign: float
    ) -> tuple[float, ...]:
        root = math.sqrt(expiry)
        s = volatility * root
        per_s = 1.0 / s
        per_spot = 1.0 / spot
        a = spot * exp(-dividend * expiry)
        b = strike * exp(-rate * expiry)
        d1 = (log(spot / strike) + (rate - dividend) * expiry) * per_s + 0.5 * s
        d2 = d1 - s
        # a density(d1) = b density(d2), so that one exponential serves both tails and their difference is exact
        tail = 0.5 * a * exp(-0.5 * d1 * d1)
        tail1 = tail * erfcx(abs(d1) * _ROOT_HALF)
        tail2 = tail * erfcx(abs(d2) * _ROOT_HALF)
        own = tail1 if sign * d1 < 0.0 else a - tail1  # a Phi(sign d1)
        owed = tail2 if sign * d2 < 0.0 else b - tail2  # b Phi(sign d2)
        density = 2.0 * _DENSITY * tail
        per_volatility = root * per_s
        per_expiry = volatility * volatility * per_s * per_s
        vega = density * root
        price = abs(max(sign * (own - owed), 0.0))  # never -0
        within = (
            (spot >= 1e-100)
            & (spot <= 1e100)
            & (strike >= 1e-100)
            & (strike <= 1e100)
            & (expiry >= 1e-12)
            & (expiry <= 1e4)
            & (volatility >= 1e-8)
            & (volatility <= 1e4)
            & (abs(rate) * expiry <= 100.0)
            & (abs(dividend) * expiry <= 100.0)
            & (abs(d1) <= 37.0)
            & (abs(d2) <= 37.0)
            & (sign * sign == 1.0)
        )
        return (
            price if within else _NAN,
            sign * own * per_spot,
            density * per_spot * per_spot * per_s,
            vega,
            -0.5 * density * volatility * volatility * per_s + sign * (dividend * own - rate * owed),
            sign * expiry * owed,
            -density * per_spot * d2 * per_volatility,
            vega * d1 * d2 * per_volatility,
            sign * dividend * own * per_spot - density * per_spot * ((rate - dividend) * per_s - 0.5 * d2 * per_expiry),
        )

    @jit
    def seed(x: float, beta: float, gamma: float, top: float) -> float:
        # below half the bound: inverse of the normal (Bachelier) price at the same moneyness, to 5e-4
        least = max(x, 1e-8 * beta)
        square = log(1.0 + least / beta)
        u = math.sqrt(square)
        p = 0.3989034281016143 + u * (0.015098357590535665 + u * (0.0372332653377807 + u * 0.01933421039016497))
        q = 0.025189165984784746 + u * 0.013709756462332247
        q = 1.0 + u * (0.033676787191827345 + u * (0.11138206606532886 + u * q))
        low = least * q / (square * p)
        # above: d1 from the complement of the price, by Abramowitz and Stegun's 26.2.23
        k = math.sqrt(-2.0 * log(min(0.5 * gamma / top, 0.5)))
        numerator = 2.515517 + k * (0.802853 + k * 0.010328)
        d1 = k - numerator / (1.0 + k * (1.432788 + k * (0.189269 + k * 0.001308)))
        high = d1 + math.sqrt(d1 * d1 + 2.0 * x)
        return high if beta > 0.5 * top else low

    @jit
    def householder(
        level: float, target: float, slope: float, h: float, s: float, direct: bool
    ) -> tuple[float, float, float]:
        # of log y (direct) or 1 / log y; level = log y, slope = (log y)', second and third derivatives of y over y'
        ratio = h / s
        second = h * ratio - 0.25 * s
        third = second * second - 3.0 * ratio * ratio - 0.25
        f2 = second - slope
        f3 = third - 3.0 * slope * second + 2.0 * slope * slope
        twist = 0.0 if direct else slope / level
        newton = (target - level) / slope * (1.0 if direct else level / target)
        h2 = f2 - 2.0 * twist
        h3 = f3 - 6.0 * twist * f2 + 6.0 * twist * twist
        step = newton * (1.0 + 0.5 * h2 * newton) / (1.0 + newton * (h2 + h3 * newton * (1.0 / 6.0)))
        return newton, step, h2

    @jit
    def implied(
        price: float, spot: float, strike: float, expiry: float, rate: float, dividend: float, sign: float
    ) -> float:
        a = spot * exp(-dividend * expiry)
        b = strike * exp(-rate * expiry)
        forward = log(spot / strike) + (rate - dividend) * expiry
        x = abs(forward)
        per_mean = 1.0 / math.sqrt(a * b)
        beta = (price - max(sign * (a - b), 0.0)) * per_mean
        gamma = ((a if sign > 0.0 else b) - price) * per_mean
        top = exp(-0.5 * x)
        upper = beta > 0.5 * top
        target = log(gamma if upper else beta)
        s = seed(x, beta, gamma, top)
        newton = s
        bend = 0.0
        for _ in range(3):
            h = -x / s
            t = 0.5 * s
            z1 = h + t
            e = exp(-0.5 * (h * h + t * t))
            x1 = erfcx(abs(z1) * _ROOT_HALF)
            x2 = erfcx((t - h) * _ROOT_HALF)
            above = z1 > 0.0
            part = 0.5 * e * (x1 + x2 if above else x1 - x2)
            y = part if above == upper else top - part
            level = log(y)
            slope = (-_DENSITY if upper else _DENSITY) * e / y
            newton, step, bend = householder(level, target, slope, h, s, upper)
            s = max(s + step, 0.25 * s)
        within = (
            (abs(newton) * (1.0 / s + abs(bend)) < 1e-4)
            & (s > 0.01)
            & (s < 20.0)
            & (x < 20.0)
            & ((x > 0.01) | (x < 10.0 * s))
            & (beta > 1e-200)
            & (gamma > 1e-200)
            & (abs(rate) * expiry <= 100.0)
            & (abs(dividend) * expiry <= 100.0)
            & (expiry > 1e-12)
            & (expiry < 1e4)
            & (spot >= 1e-100)
            & (spot <= 1e100)
            & (strike >= 1e-100)
            & (strike <= 1e100)
            & (sign * sign == 1.0)
        )
        return s / math.sqrt(expiry) if within else _NAN

    return Formulas(erfcx, european, seed, householder, implied)
