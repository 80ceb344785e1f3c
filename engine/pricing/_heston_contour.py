"""Where and how the characteristic function of the Heston model is integrated, compiled for every device.

The price is Lewis's integral over ``u`` [1]_ less the same integral of Black's model with the same expected variance,
the control variate [2]_. The difference has no pole, so the contour may cross the imaginary axis wherever the moment
exists [3]_, and bend away from the real axis: ``u = b sinh(y + i omega)`` [4]_. There the trapezoidal rule in ``y``
converges exponentially.

References
----------
.. [1] A. Lewis, *Option Valuation under Stochastic Volatility* (2000), ch. 2.
.. [2] L. Andersen, V. Piterbarg, *Interest Rate Modeling* (2010), section 8.4.1.
.. [3] L. Andersen, V. Piterbarg, "Moment explosions in stochastic volatility models", Finance and Stochastics 11
   (2007), doi:10.1007/s00780-006-0011-7: proposition 3.1.
.. [4] S. Boyarchenko, S. Levendorskii, "Sinh-acceleration: efficient evaluation of probability distributions, option
   pricing, and Monte Carlo simulations", Int. J. of Theoretical and Applied Finance 22 (2019),
   doi:10.1142/S0219024919500110.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from engine.pricing._heston_formulas import Formulas

__all__ = ["CORE", "END", "FULL", "GRADIENT", "HALVINGS", "NOTHING", "PRICE", "SETTLED", "TAIL", "Contours", "make"]

PRICE, GRADIENT, FULL = 1, 6, 9  # rows of results

CORE, TAIL, END = 10.0, 35.0, 60.0  # falls of the logarithm at which the width of a characteristic function is measured
NOTHING = 1e-17  # a term below it does not change a sum of order 1
SETTLED = 1e-7  # difference of two rules of which the mean is as good as its square
HALVINGS = 9

_Function = Callable[..., Any]

_GROWTH = 2.5  # how far the logarithm of a moment may rise where a contour, or its strip, crosses the imaginary axis
_LEAN = 1.2  # how many turns an option may make per unit of decay before the contour has to bend
_STRAIGHT, _BENT, _TILT = 0.5, 0.36, 0.39  # half width of the strip without and with a bend, and the bend
_DIGITS = 14.0  # the first step's error is about exp(-14); each halving squares it


class Contours(NamedTuple):
    """The compiled functions; `model` stands for ``expiry, v0, kappa, theta, sigma, rho``, w for the total variance.

    Attributes
    ----------
    width : callable
        ``(fall, w, *model)`` to where the characteristic function's logarithm has fallen so far, how far it really has
        there, and its phase per ``u``.
    side : callable
        ``(x, core, tail, end)`` to the bend that serves an option, given the three widths: 1 up, -1 down, 0 none.
    contour : callable
        ``(side, against, w, *model)`` to b, omega and the first step; `against` is the largest ``-side x``.
    price_term : callable
        ``(y, b, omega, near, w, *model)`` to u, the integrand of the price (times exp(i u near)), and its size.
    all_terms : callable
        ``(y, b, omega, near, w, least, *model)`` to u, the integrands of all nine rows of results, and their size;
        `least` is what the last of them is divided by where u is large.
    """

    width: _Function
    side: _Function
    contour: _Function
    price_term: _Function
    all_terms: _Function


def make(jit: Callable[[_Function], _Function], formulas: Formulas) -> Contours:
    """Compile the functions with `jit`, upon the formulas."""
    exponent, slopes = formulas.exponent, formulas.slopes

    @jit
    def moment_is_small(
        shift: float, expiry: float, v0: float, kappa: float, theta: float, sigma: float, rho: float
    ) -> Any:
        """Whether E exp((1/2 + shift) X) exists and its logarithm is below `_GROWTH`."""
        p = 0.5 + shift
        xi = kappa - rho * sigma * p
        square = kappa * kappa + sigma * p * (sigma - 2.0 * kappa * rho - sigma * p * (1.0 - rho) * (1.0 + rho))
        d = math.sqrt(abs(square))
        if square > 0.0:
            lost = -math.expm1(-d * expiry)
            exists = d * (2.0 - lost) + xi * lost > 1e-9 * d
        else:
            exists = 0.5 * d * expiry < math.atan2(d, -xi) - 1e-6
        if not exists:
            return False
        return exponent(complex(0.0, -shift), expiry, v0, kappa, theta, sigma, rho).real <= _GROWTH

    @jit
    def reach(
        sign: float, w: float, expiry: float, v0: float, kappa: float, theta: float, sigma: float, rho: float
    ) -> float:
        """How far from 1/2 the moments on one side are small; at 1/2 itself they are 1."""
        shift = math.sqrt(2.0 * _GROWTH / w + 0.25)
        while shift > 0.49:
            if moment_is_small(sign * shift, expiry, v0, kappa, theta, sigma, rho):
                return shift
            shift *= 0.8
        return 0.49

    @jit
    def width(
        fall: float, w: float, expiry: float, v0: float, kappa: float, theta: float, sigma: float, rho: float
    ) -> tuple[float, float, float]:
        edge = math.sqrt(2.0 * fall / w)
        found = exponent(complex(edge, 0.0), expiry, v0, kappa, theta, sigma, rho)
        while found.real > -fall and edge < 1e25:
            edge *= 1.6
            found = exponent(complex(edge, 0.0), expiry, v0, kappa, theta, sigma, rho)
        return edge, -found.real, found.imag / edge

    @jit
    def side(x: float, core: Any, tail: Any, end: Any) -> int:
        if abs(x + core[2]) * core[0] <= _LEAN * core[1] and abs(x + tail[2]) * tail[0] <= _LEAN * tail[1]:
            return 0
        if (x + tail[2]) * (x + end[2]) <= 0.0:
            return 0
        return 1 if x + tail[2] > 0.0 else -1

    @jit
    def contour(
        side: int,
        against: float,
        w: float,
        expiry: float,
        v0: float,
        kappa: float,
        theta: float,
        sigma: float,
        rho: float,
    ) -> tuple[float, float, float]:
        if side == 0:
            up = reach(-1.0, w, expiry, v0, kappa, theta, sigma, rho)
            down = reach(1.0, w, expiry, v0, kappa, theta, sigma, rho)
            return (up if up < down else down) / math.sin(_STRAIGHT), 0.0, 2.0 * math.pi * _STRAIGHT / _DIGITS
        far = reach(-float(side), w, expiry, v0, kappa, theta, sigma, rho)
        if far * against > _GROWTH:
            far = _GROWTH / against
        b = far / math.sin(_TILT + _BENT)
        crossing = b * math.sin(_TILT)
        if abs(crossing - 0.5) < 0.1:  # 1/2 is where the difference of the two models is 0 / 0
            b *= 0.4 / crossing
        return b, side * _TILT, 2.0 * math.pi * _BENT / _DIGITS

    @jit
    def point(y: float, b: float, omega: float) -> tuple[complex, complex]:
        up, down = b * math.cosh(y), b * math.sinh(y)
        cosine, sine = math.cos(omega), math.sin(omega)
        return complex(down * cosine, up * sine), complex(up * cosine, down * sine)

    @jit
    def frame(y: float, b: float, omega: float, near: float, w: float) -> Any:
        """Return u, du, u^2 + 1/4, the exponent that turns by `near`, and Black's integrand without 1 / (u^2 + 1/4)."""
        u, du = point(y, b, omega)
        if y == 0.0:
            du *= 0.5
        a = 0.25 + u * u
        turn = complex(-u.imag, u.real) * near
        return u, du, a, turn, cmath.exp(turn - 0.5 * w * a)

    @jit
    def price_term(
        y: float,
        b: float,
        omega: float,
        near: float,
        w: float,
        expiry: float,
        v0: float,
        kappa: float,
        theta: float,
        sigma: float,
        rho: float,
    ) -> Any:
        u, du, a, turn, control = frame(y, b, omega, near, w)
        value = cmath.exp(turn + exponent(u, expiry, v0, kappa, theta, sigma, rho))
        return u, (control - value) * du / a, (abs(control) + abs(value)) * abs(du / a)

    @jit
    def all_terms(
        y: float,
        b: float,
        omega: float,
        near: float,
        w: float,
        least: float,
        expiry: float,
        v0: float,
        kappa: float,
        theta: float,
        sigma: float,
        rho: float,
    ) -> Any:
        u, du, a, turn, control = frame(y, b, omega, near, w)
        found = slopes(u, expiry, v0, kappa, theta, sigma, rho)
        value = cmath.exp(turn + found[0])
        gap = (control - value) * du
        scaled = -value * du / a
        return (
            u,
            gap / a,
            scaled * found[1],
            scaled * found[2],
            scaled * found[3],
            scaled * found[4],
            scaled * found[5],
            scaled * found[6],
            gap / a * complex(0.5 - u.imag, u.real),
            -gap,
            (abs(control) + abs(value)) * abs(du) * (1.0 / abs(a) if least * abs(a) < 1.0 else least),
        )

    return Contours(width, side, contour, price_term, all_terms)
