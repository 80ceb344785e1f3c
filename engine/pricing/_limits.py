"""Scalar formulas for what `engine.pricing._formulas` leaves out: limits, wings, and prices near their bounds.

Plain branches and the C library's functions; rare, so never vectorised. The same source runs as Python.

References
----------
.. [1] P. Jaeckel, "Let's be rational", Wilmott 75 (2015), doi:10.1002/wilm.10395: section 6 on the normalised price
   for small total volatility (the expansion here is in powers of half of it), section 5 on the iteration.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from engine.pricing._formulas import Formulas

__all__ = ["Limits", "make"]

_Function = Callable[..., Any]

_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)
_ROOT_TWO_PI = math.sqrt(2.0 * math.pi)
_ROUNDING = 4.5e-16
_TINY = 1e-290
_PER_ROOT_PI = 1.0 / math.sqrt(math.pi)
_NAN = math.nan
_INFINITY = math.inf


class Limits(NamedTuple):
    """The compiled functions; arguments and results are those of `engine.pricing._formulas.Formulas`.

    `bounds` takes ``(spot, strike, expiry, rate, dividend, sign)``, to the price without volatility, that with an
    infinite one, and the logarithm of forward over strike.
    """

    european: _Function
    implied: _Function
    bounds: _Function


def make(jit: Callable[[_Function], _Function], formulas: Formulas) -> Limits:
    """Compile the careful formulas with `jit`, upon the fast ones."""
    scaled = formulas.erfcx
    seed = formulas.inversion.seed
    householder = formulas.inversion.householder

    @jit
    def erfcx(x: float) -> float:
        """As a fraction, and by its limit where the powers of the fraction would overflow."""
        found: float = scaled(x) if x < 1e20 else _PER_ROOT_PI / x
        return found

    @jit
    def logarithm(spot: float, strike: float, expiry: float, rate: float, dividend: float) -> float:
        """Logarithm of forward over strike, exact also where the two are close."""
        drift = (rate - dividend) * expiry
        if abs(spot - strike) < 0.5 * strike:
            return math.log1p((spot - strike) / strike) + drift
        ratio = spot / strike
        if 1e-300 < ratio < 1e300:
            return math.log(ratio) + drift
        return math.log(spot) - math.log(strike) + drift

    @jit
    def european(
        spot: float, strike: float, expiry: float, rate: float, dividend: float, volatility: float, sign: float
    ) -> tuple[float, ...]:
        valid = 0.0 <= spot < _INFINITY and 0.0 < strike < _INFINITY and 0.0 <= expiry < _INFINITY
        valid = valid and abs(rate) < _INFINITY and abs(dividend) < _INFINITY and 0.0 <= volatility < _INFINITY
        if not (valid and (sign == 1.0 or sign == -1.0) and -rate * expiry < 700.0 and -dividend * expiry < 700.0):
            return _NAN, _NAN, _NAN, _NAN, _NAN, _NAN, _NAN, _NAN, _NAN
        a = spot * math.exp(-dividend * expiry)
        b = strike * math.exp(-rate * expiry)
        if not (a < _INFINITY and b < _INFINITY):
            return _NAN, _NAN, _NAN, _NAN, _NAN, _NAN, _NAN, _NAN, _NAN
        root = math.sqrt(expiry)
        s = volatility * root
        x = -_INFINITY if spot == 0.0 else logarithm(spot, strike, expiry, rate, dividend)
        d1 = _INFINITY if x > 0.0 else -_INFINITY
        d2 = d1
        if spot > 0.0:
            if s > 0.0:
                d1 = x / s + 0.5 * s
                d2 = x / s - 0.5 * s
            elif x == 0.0:
                d1 = 0.0
                d2 = 0.0
        tail = 0.0  # a density(d1) = b density(d2), in logarithms, so that neither factor underflows alone
        if a > 0.0 and abs(d1) < 1e100:
            tail = 0.5 * math.exp(math.log(spot) - dividend * expiry - 0.5 * d1 * d1)
        if d2 <= 0.0 <= d1 or tail == 0.0:
            tail1 = 0.5 * a * math.erfc(abs(d1) * _ROOT_HALF)
            tail2 = 0.5 * b * math.erfc(abs(d2) * _ROOT_HALF)
        else:
            tail1 = tail * erfcx(abs(d1) * _ROOT_HALF)
            tail2 = tail * erfcx(abs(d2) * _ROOT_HALF)
        own = tail1 if sign * d1 < 0.0 else a - tail1
        owed = tail2 if sign * d2 < 0.0 else b - tail2
        phi = math.erfc(-sign * d1 * _ROOT_HALF) * 0.5 * math.exp(-dividend * expiry)
        density = 2.0 * _DENSITY * tail
        price = sign * (own - owed)
        price = price if price > 0.0 else 0.0  # never -0
        carry = sign * (dividend * own - rate * owed)
        fade = sign * dividend * phi
        rho = sign * expiry * owed
        if density == 0.0:
            return price, sign * phi, 0.0, 0.0, carry, rho, 0.0, 0.0, fade
        slope = density / spot
        vega = density * root
        if s > 0.0:
            return (
                price,
                sign * phi,
                slope / spot / s,
                vega,
                carry - 0.5 * density * volatility / root,
                rho,
                -slope * d2 / volatility,
                vega * d1 * d2 / volatility,
                fade - slope * ((rate - dividend) / s - 0.5 * d2 / expiry),
            )
        # at the money with nothing left to move it: the limit of time to 0, or of volatility to 0
        drift = rate - dividend
        if expiry == 0.0:
            drift += 0.5 * volatility * volatility
            decay = -_INFINITY if volatility > 0.0 else 0.0
            vanna = 0.0
        else:
            decay = 0.0
            vanna = 0.5 * slope * root
        charm = fade
        if drift > 0.0:
            charm = -_INFINITY
        elif drift < 0.0:
            charm = _INFINITY
        return price, sign * phi, _INFINITY, vega, carry + decay, rho, vanna, 0.0, charm

    @jit
    def level(x: float, s: float, complement: bool) -> tuple[float, float]:
        """Logarithm of the normalised price (or of its distance to its bound), and the derivative of it."""
        h = -x / s
        t = 0.5 * s
        exponent = -0.5 * (h * h + t * t)
        z1 = h + t
        if not complement and t < 0.1 and x < 0.5:
            # odd terms of the series in t of Y(h + t) - Y(h - t), Y = Phi / density, Y' = 1 + z Y
            before = math.sqrt(0.5 * math.pi) * erfcx(-h * _ROOT_HALF)
            now = 1.0 + h * before
            power = t
            part = now * power
            for order in range(1, 16):
                before, now = now, order * before + h * now
                power *= t / (order + 1)
                if order % 2 == 0:
                    part += now * power
            part *= 2.0 * _DENSITY
        else:
            x1 = erfcx(abs(z1) * _ROOT_HALF)
            x2 = erfcx((t - h) * _ROOT_HALF)
            part = 0.5 * (x1 + x2 if z1 > 0.0 else x1 - x2)
            if (z1 > 0.0) != complement:
                e = math.exp(exponent)
                rest = math.exp(-0.5 * x) - e * part
                rest = rest if rest > 1e-300 else 1e-300
                return math.log(rest), (-_DENSITY if complement else _DENSITY) * e / rest
        return exponent + math.log(part), (-_DENSITY if complement else _DENSITY) / part

    @jit
    def bounds(
        spot: float, strike: float, expiry: float, rate: float, dividend: float, sign: float
    ) -> tuple[float, float, float]:
        a = spot * math.exp(-dividend * expiry)
        b = strike * math.exp(-rate * expiry)
        forward = logarithm(spot, strike, expiry, rate, dividend)
        worth = 0.0
        if sign * forward > 0.0:
            if (rate - dividend) * expiry == 0.0:
                worth = sign * (spot - strike) * math.exp(-rate * expiry)
            elif abs(spot - strike) < 0.5 * strike and abs(forward) < 0.4:
                worth = sign * b * math.expm1(forward)
            else:
                worth = sign * (a - b)
        return worth, a if sign > 0.0 else b, forward

    @jit
    def implied(
        price: float, spot: float, strike: float, expiry: float, rate: float, dividend: float, sign: float
    ) -> float:
        if not (spot > 0.0 and strike > 0.0 and expiry > 0.0 and sign * sign == 1.0):
            return _NAN
        if not (-rate * expiry < 700.0 and -dividend * expiry < 700.0):
            return _NAN
        worth, bound, forward = bounds(spot, strike, expiry, rate, dividend, sign)
        x = abs(forward)
        # a price at a bound may have been rounded to either side of it, as its discounting was
        slack = worth
        if rate * expiry != 0.0 or dividend * expiry != 0.0:
            slack = spot * math.exp(-dividend * expiry) + strike * math.exp(-rate * expiry)
        if slack == _INFINITY:
            return _NAN
        slack = _ROUNDING * slack if worth > 0.0 else 0.0
        if not worth - slack <= price <= bound * (1.0 + _ROUNDING):
            return _NAN
        if price >= bound:
            return _INFINITY
        if price <= worth + slack:
            return 0.0
        mean = bound * math.exp(-0.5 * sign * forward)
        beta = (price - worth) / mean
        gamma = (bound - price) / mean
        top = math.exp(-0.5 * x)
        upper = beta > 0.5 * top
        target = math.log(gamma if upper else beta) if beta >= _TINY else math.log(price - worth) - math.log(mean)
        if beta < _TINY and x == 0.0:
            at_the_forward: float = beta * _ROOT_TWO_PI / math.sqrt(expiry)
            return at_the_forward
        s: float = seed(x, beta / top, gamma / top, target + 0.5 * x) if beta >= _TINY else x / math.sqrt(-2.0 * target)
        low = 0.0
        high = _INFINITY
        for _ in range(200):
            here, slope = level(x, s, upper)
            if (here > target) != upper:
                high = s
            else:
                low = s
            newton, step, bend = householder(
                here, 1.0 / here, target, 1.0 / target, slope, 1.0 / slope, -x / (s * s), s, upper
            )
            close = abs(newton) * (1.0 / s + abs(bend)) < 1e-5
            following = s + step
            if not low <= following <= high:
                following = 2.0 * s if high == _INFINITY else 0.5 * (low + high)
                close = close and abs(newton) <= 1e-15 * s
            if close or following == s:
                s = following
                break
            s = following
        return s / math.sqrt(expiry)

    return Limits(european, implied, bounds)
