"""Scalar formulas of the Heston model, written once and compiled for every device: characteristic function and control.

With X = ln(S_T / F) and p = 1/2 + iu, the characteristic function is ``exp(A + B v0)`` of ``u``, its logarithm here
without the logarithm's branch ever being crossed. `engine.pricing._heston_contour` integrates it.

References
----------
.. [1] Y. Cui, S. del Bano Rollin, G. Germano, "Full and fast calibration of the Heston stochastic volatility model",
   European Journal of Operational Research 263 (2017), doi:10.1016/j.ejor.2017.05.018: characteristic function
   (eq. 18) and its gradient (eq. 23).
.. [2] R. Lord, C. Kahl, "Complex logarithms in Heston-like models", Mathematical Finance 20 (2010),
   doi:10.1111/j.1467-9965.2010.00416.x: which form stays on the principal branch.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Formulas", "make"]

_Function = Callable[..., Any]

_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)
_SMALL = 1e-6  # of d times expiry: below, the formula in d is as exact at this one


class Formulas(NamedTuple):
    """The compiled functions; `model` stands for ``expiry, v0, kappa, theta, sigma, rho``.

    Attributes
    ----------
    exponent : callable
        ``(u, *model)`` to the logarithm of the characteristic function at ``u - i/2``.
    slopes : callable
        ``(u, *model)`` to the same, and its derivatives to v0, kappa, theta, sigma, rho and expiry.
    variance : callable
        ``(expiry, v0, kappa, theta)`` to the expected total variance.
    black : callable
        ``(x, w)`` to the time value over the root of discounted spot and strike, and what spot's first and second
        derivative of it are, likewise scaled; x is the logarithm of forward over strike, w the total variance.
    """

    exponent: _Function
    slopes: _Function
    variance: _Function
    black: _Function


def make(jit: Callable[[_Function], _Function]) -> Formulas:
    """Compile the formulas with `jit`."""

    @jit
    def log_ratio(z: complex) -> complex:
        """Return -log(1 - z) / z."""
        size = z.real * z.real + z.imag * z.imag
        if size < 1e-40:
            return complex(1.0, 0.0)
        return -complex(0.5 * math.log1p(size - 2.0 * z.real), math.atan2(-z.imag, 1.0 - z.real)) / z

    @jit
    def log_excess(z: complex) -> Any:
        """Return (log(1 - z) + z / (1 - z)) / z^2."""
        if abs(z.real) + abs(z.imag) < 0.1:
            total = complex(0.0, 0.0)
            for order in range(18, 1, -1):
                total = total * z + (1.0 - 1.0 / order)
            return total
        return (1.0 / (1.0 - z) - log_ratio(z)) / z

    @jit
    def parts(u: complex, expiry: float, kappa: float, sigma: float, rho: float) -> Any:
        """Return what the logarithm and its derivatives are made of; none of it is a difference of near numbers."""
        p = complex(0.5 - u.imag, u.real)
        a = p * (1.0 - p)
        xi = kappa - rho * sigma * p
        # xi^2 + sigma^2 a, whose squares of p all but cancel when rho is near 1
        d = cmath.sqrt(kappa * kappa + sigma * p * (sigma - 2.0 * kappa * rho - sigma * p * (1.0 - rho) * (1.0 + rho)))
        if abs(d.real) + abs(d.imag) < _SMALL / expiry:
            d = complex(_SMALL / expiry, 0.0)
            plus, minus = d + xi, d - xi
            per = a / plus
        elif xi.real >= 0.0:
            plus = d + xi
            per = a / plus
            minus = sigma * sigma * per
        else:
            minus = d - xi
            per = minus / (sigma * sigma)
            plus = a / per
        x, y = -d.real * expiry, -d.imag * expiry
        size, half = math.exp(x), math.sin(0.5 * y)
        grown = complex(math.expm1(x) * math.cos(y) - 2.0 * half * half, size * math.sin(y))  # exp(-d T) - 1
        q = -0.5 * per * grown / d
        z = -0.5 * minus * grown / d
        return p, a, xi, d, minus, per, -grown, q, z

    @jit
    def exponent(u: complex, expiry: float, v0: float, kappa: float, theta: float, sigma: float, rho: float) -> Any:
        _, a, _, d, _, per, lost, q, z = parts(u, expiry, kappa, sigma, rho)
        return kappa * theta * (2.0 * q * log_ratio(z) - per * expiry) - 0.5 * v0 * a * lost / (d * (1.0 - z))

    @jit
    def slopes(u: complex, expiry: float, v0: float, kappa: float, theta: float, sigma: float, rho: float) -> Any:
        p, a, xi, d, minus, per, lost, q, z = parts(u, expiry, kappa, sigma, rho)
        e = 1.0 - lost
        per_d = 1.0 / d
        n = 2.0 * d * (1.0 - z)
        b = -a * lost / n
        a_unit = 2.0 * q * log_ratio(z) - per * expiry  # A over kappa theta
        # to d, at the same xi; then to xi and to sigma^2, on both of which d depends
        n_d = 1.0 + e - expiry * minus * e
        b_d = -(a * expiry * e + b * n_d) / n
        q_d = 0.5 * per * per_d * (expiry * e - lost * per_d)
        to_xi, to_square = xi * per_d, 0.5 * a * per_d
        b_xi = b_d * to_xi - b * lost / n
        b_square = b_d * to_square
        q_xi = q_d * to_xi - q * per_d
        per_square = -0.5 * per * per * per_d
        q_square = q_d * to_square + 0.5 * per_square * lost * per_d
        a_xi = per * per_d * expiry + 2.0 * q_xi / (1.0 - z)
        a_square = 2.0 * q_square / (1.0 - z) + 2.0 * q * q * log_excess(z) - per_square * expiry
        mean = kappa * theta
        xi_slope = mean * a_xi + v0 * b_xi
        return (
            mean * a_unit + v0 * b,
            b,
            theta * a_unit + xi_slope,
            kappa * a_unit,
            2.0 * sigma * (mean * a_square + v0 * b_square) - rho * p * xi_slope,
            -sigma * p * xi_slope,
            mean * b + v0 * (0.5 * sigma * sigma * b * b - xi * b - 0.5 * a),
        )

    @jit
    def variance(expiry: float, v0: float, kappa: float, theta: float) -> float:
        t = kappa * expiry
        held = -math.expm1(-t) / t if t > 1e-12 else 1.0
        risen = 1.0 - held if t > 1e-4 else 0.5 * t * (1.0 - t / 3.0)
        return expiry * (theta * risen + v0 * held)

    @jit
    def black(x: float, w: float) -> Any:
        s = math.sqrt(w)
        sign = -1.0 if x > 0.0 else 1.0
        d1 = x / s + 0.5 * s
        own = 0.5 * math.exp(0.5 * x) * math.erfc(-sign * d1 * _ROOT_HALF)
        owed = 0.5 * math.exp(-0.5 * x) * math.erfc(-sign * (d1 - s) * _ROOT_HALF)
        return sign * (own - owed), sign * own, _DENSITY * math.exp(0.5 * x - 0.5 * d1 * d1) / s

    return Formulas(exponent, slopes, variance, black)
