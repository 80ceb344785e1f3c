"""Scalar formulas without branches, written once and compiled for every device.

`make` takes a compiler and the functions that differ between devices. What it returns covers the range in which
these formulas are exact to rounding; outside it the first result is nan, and `engine.pricing._limits` has the answer.

References
----------
.. [1] E. G. Haug, *The Complete Guide to Option Pricing Formulas*, 2nd ed. (2007), ch. 1 (eq. 1.1 to 1.4) and ch. 2.
.. [2] W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23 (1969),
   doi:10.1090/S0025-5718-1969-0247736-4: scaling by exp(x^2), so that a tail keeps its relative accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from engine.pricing import _inversion

__all__ = ["Formulas", "make"]

_Function = Callable[..., Any]

_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)  # of the normal distribution at 0
_NAN = math.nan
_LEAST_TAIL = 1e-250  # divided by both denominators it is still a float with all its digits

# erfcx(x) for x >= 0 as a fraction, interpolated at the 22 Chebyshev nodes in (x - 2.5) / (x + 2.5): to 1.1e-16.
# Every coefficient is positive, so nothing cancels.
(_N0, _N1, _N2, _N3, _N4, _N5) = (
    1.0,
    2.4088724141085764,
    2.8679659592603644,
    2.185904946567428,
    1.1712747649928923,
    0.4592273728909358,
)
(_N6, _N7, _N8, _N9, _N10) = (
    0.13331415236452532,
    0.0283458938115493,
    0.00424387380514103,
    0.00040728887608582526,
    1.930099669369902e-05,
)
(_D0, _D1, _D2, _D3, _D4, _D5) = (
    1.0,
    3.5372515812040897,
    5.859326952266695,
    6.012448609566567,
    4.257176895657611,
    2.1904587811226213,
)
(_D6, _D7, _D8, _D9, _D10, _D11) = (
    0.8387192696572225,
    0.240037112905994,
    0.05060273901211931,
    0.007539175531636911,
    0.0007219007368493016,
    3.4210125916061465e-05,
)


class Formulas(NamedTuple):
    """The compiled functions.

    Attributes
    ----------
    erfcx : callable
        ``exp(x^2) erfc(x)`` for x from 0 to 1e20.
    european : callable
        ``(spot, strike, expiry, rate, dividend, volatility, sign)`` to price and eight Greeks.
    terms, tails, figures : callable
        The three parts of `european`, for loops that are quicker one part at a time.
    inversion : Inversion
        Implied volatility.
    """

    erfcx: _Function
    european: _Function
    terms: _Function
    tails: _Function
    figures: _Function
    inversion: _inversion.Inversion


def make(
    jit: Callable[[_Function], _Function], exp: _Function, log: _Function, log_ratio: _Function | None = None
) -> Formulas:
    """Compile the formulas with `jit`, for a device whose functions are `exp`, for |x| <= 708, and `log`.

    `log_ratio` is ``log(a / b)``, given where the device has it to more digits than from the rounded ratio.
    """

    @jit
    def log_quotient(a: float, b: float) -> float:
        found: float = log(a / b)
        return found

    log_of = log_ratio or log_quotient

    # not min and max: their treatment of nan costs more on the processor, and compilers for cards lack them
    @jit
    def larger(a: float, b: float) -> float:
        return a if a > b else b

    @jit
    def smaller(a: float, b: float) -> float:
        return a if a < b else b

    @jit
    def fraction(x: float) -> tuple[float, float]:
        """Numerator and denominator of erfcx, so that two of them can share a division."""
        top = _N5 + x * (_N6 + x * (_N7 + x * (_N8 + x * (_N9 + x * _N10))))
        top = _N0 + x * (_N1 + x * (_N2 + x * (_N3 + x * (_N4 + x * top))))
        bottom = _D5 + x * (_D6 + x * (_D7 + x * (_D8 + x * (_D9 + x * (_D10 + x * _D11)))))
        bottom = _D0 + x * (_D1 + x * (_D2 + x * (_D3 + x * (_D4 + x * bottom))))
        return top, bottom

    @jit
    def erfcx(x: float) -> float:
        top, bottom = fraction(x)
        found: float = top / bottom
        return found

    @jit
    def terms(
        spot: float, strike: float, expiry: float, rate: float, dividend: float, volatility: float
    ) -> tuple[float, float, float, float, float]:
        """Discounted spot and strike, d1, total volatility, and 1 / (spot times total volatility)."""
        # here and below, abs keeps a product from being fused with a sum in another part: every way of running the
        # parts gives the same bits
        s = abs(volatility * math.sqrt(expiry))
        per_both = 1.0 / (s * spot)
        a = abs(spot * exp(-dividend * expiry))
        b = abs(strike * exp(-rate * expiry))
        d1 = (log_of(spot, strike) + (rate - dividend) * expiry) * (per_both * spot) + 0.5 * s
        return a, b, d1, s, per_both

    @jit
    def tails(a: float, d1: float, s: float) -> tuple[float, float, float]:
        """``a density(d1)`` over twice the density at 0, ``a Phi(-|d1|)`` and ``b Phi(-|d2|)``."""
        # a density(d1) = b density(d2), so that one exponential serves both tails and their difference is exact
        tail = 0.5 * a * exp(-0.5 * d1 * d1)
        top1, bottom1 = fraction(abs(d1) * _ROOT_HALF)
        top2, bottom2 = fraction(abs(d1 - s) * _ROOT_HALF)
        per_bottoms = tail / (bottom1 * bottom2)
        return tail, abs(top1 * bottom2 * per_bottoms), abs(top2 * bottom1 * per_bottoms)

    @jit
    def figures(
        spot: float,
        strike: float,
        expiry: float,
        rate: float,
        dividend: float,
        volatility: float,
        sign: float,
        a: float,
        b: float,
        d1: float,
        s: float,
        per_both: float,
        tail: float,
        tail1: float,
        tail2: float,
    ) -> tuple[float, ...]:
        d2 = d1 - s
        root = math.sqrt(expiry)
        per_s = per_both * spot
        per_spot = per_both * s
        per_volatility = root * per_s
        per_root = volatility * per_s
        own = tail1 if sign * d1 < 0.0 else a - tail1  # a Phi(sign d1)
        owed = tail2 if sign * d2 < 0.0 else b - tail2  # b Phi(sign d2)
        price = abs(larger(sign * (own - owed), 0.0))  # never -0
        density = 2.0 * _DENSITY * tail
        slope = density * per_spot
        delta = sign * own * per_spot
        vega = density * root
        within = (
            (smaller(spot, strike) >= 1e-100)
            & (larger(spot, strike) <= 1e100)
            & (expiry >= 1e-12)
            & (expiry <= 1e4)
            & (volatility >= 1e-8)
            & (volatility <= 1e4)
            & (larger(abs(rate), abs(dividend)) * expiry <= 100.0)
            & (abs(d1) <= 37.0)
            & (tail >= _LEAST_TAIL)  # bounds d2 as well: both have the same tail
            & (sign * sign == 1.0)
        )
        return (
            price if within else _NAN,
            delta,
            slope * per_spot * per_s,
            vega,
            sign * (dividend * own - rate * owed) - 0.5 * density * volatility * per_root,
            sign * expiry * owed,
            -slope * d2 * per_volatility,
            vega * d1 * d2 * per_volatility,
            dividend * delta - slope * ((rate - dividend) * per_s - 0.5 * d2 * (per_root * per_root)),
        )

    @jit
    def european(
        spot: float, strike: float, expiry: float, rate: float, dividend: float, volatility: float, sign: float
    ) -> tuple[float, ...]:
        a, b, d1, s, per_both = terms(spot, strike, expiry, rate, dividend, volatility)
        tail, tail1, tail2 = tails(a, d1, s)
        found: tuple[float, ...] = figures(
            spot, strike, expiry, rate, dividend, volatility, sign, a, b, d1, s, per_both, tail, tail1, tail2
        )
        return found

    inversion = _inversion.make(jit, exp, log, log_of, larger, smaller, fraction)
    return Formulas(erfcx, european, terms, tails, figures, inversion)
