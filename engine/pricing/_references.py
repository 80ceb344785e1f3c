"""Two more ways to the Greeks of a European option, which share no formula with `engine.pricing.european`.

References
----------
.. [1] W. Squire and G. Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40
   (1998), eq. 6, doi:10.1137/S003614459631241X.
.. [2] M. Broadie and P. Glasserman, "Estimating security price derivatives using simulation", Management Science 42
   (1996), doi:10.1287/mnsc.42.2.269: pathwise derivatives (section 2) and likelihood ratios (section 3).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine._checks import FloatArray

__all__ = ["finite_differences", "simulated"]

_STEP = 1e-30
_WIDTH = 0.03  # of what the price changes over
_CENTRAL = ((1, 4.0 / 5.0), (2, -1.0 / 5.0), (3, 4.0 / 105.0), (4, -1.0 / 280.0))  # of eighth order
_SHIFTS, _LEAST_POINTS = 32, 64


def finite_differences(
    spot: float, strike: float, expiry: float, rate: float, dividend: float, volatility: float, sign: float
) -> tuple[float, ...]:
    """Return price and Greeks in the order of `Greeks`, from the price as a function of complex arguments [1]_.

    First derivatives take a complex step, second ones a difference of eighth order over these. Expiry, volatility and
    spot are above 0.
    """
    from scipy.special import erfc

    base = np.array([spot, expiry, rate, volatility], dtype=np.complex128)

    def price(at: Any) -> complex:
        s, t, r, v = at
        deviation = v * np.sqrt(t)
        d1 = (np.log(s / strike) + (r - dividend) * t) / deviation + 0.5 * deviation
        own = s * np.exp(-dividend * t) * 0.5 * erfc(-sign * d1 / math.sqrt(2.0))
        owed = strike * np.exp(-r * t) * 0.5 * erfc(-sign * (d1 - deviation) / math.sqrt(2.0))
        return complex(sign * (own - owed))

    def slope(place: int, moved: int | None = None, by: float = 0.0) -> float:
        at = base.copy()
        if moved is not None:
            at[moved] += by
        at[place] += 1j * _STEP
        return price(at).imag / _STEP

    def bend(place: int, moved: int, width: float) -> float:
        pairs = ((k * width, weight) for k, weight in _CENTRAL)
        return sum(weight * (slope(place, moved, h) - slope(place, moved, -h)) for h, weight in pairs) / width

    deviation = volatility * math.sqrt(expiry)
    width = _WIDTH * min(deviation, 1.0)
    with np.errstate(all="ignore"):
        return (
            price(base).real,
            slope(0),
            bend(0, 0, width * spot),
            slope(3),
            -slope(1),
            slope(2),
            bend(0, 3, width * volatility),
            bend(3, 3, width * volatility),
            -bend(0, 1, width * expiry),
        )


def simulated(
    spot: float,
    strike: float,
    expiry: float,
    rate: float,
    dividend: float,
    volatility: float,
    sign: float,
    n_paths: int,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """Return price and Greeks by simulation [2]_, and their standard errors.

    First derivatives follow the path, second ones weigh these with the score of the density. The paths are spread
    evenly and shifted at random, and the spread of 32 shifts gives the standard error.
    """
    from scipy.special import ndtri

    n = max(_LEAST_POINTS, -(-n_paths // _SHIFTS))
    shifts = np.random.default_rng(seed).random((_SHIFTS, 1))
    t = (np.arange(n) + shifts) / n
    near = np.minimum(t, 1.0 - t)
    # more paths in the wings, where the figures are large, and each at its weight
    weights = 6.0 * near * (1.0 - near)
    z = np.copysign(ndtri(np.maximum(near * near * (3.0 - 2.0 * near), 1e-300)), t - 0.5)
    root = math.sqrt(expiry)
    centre = rate - dividend - 0.5 * volatility**2
    growth = centre * expiry + volatility * root * z
    end = spot * np.exp(growth)
    discount = math.exp(-rate * expiry)
    paid = sign * (end - strike) > 0.0
    payoff = discount * np.where(paid, sign * (end - strike), 0.0)
    by_spot = np.where(paid, sign * discount * end, 0.0)  # times what moves the log of the spot
    per_volatility = root * z - volatility * expiry
    per_time = centre + 0.5 * volatility * z / root
    # scores: how the log of the density at this end changes with spot, volatility and expiry
    from_spot = z / (spot * volatility * root)
    from_volatility = (z * z - 1.0) / volatility - root * z
    from_time = 0.5 * (z * z - 1.0) / expiry + z * centre / (volatility * root)
    figures = (
        payoff,
        by_spot / spot,
        by_spot / spot * (from_spot - 1.0 / spot),
        by_spot * per_volatility,
        rate * payoff - by_spot * per_time,
        expiry * (by_spot - payoff),
        by_spot / spot * from_volatility,
        by_spot * (per_volatility * from_volatility - per_volatility / volatility - expiry),
        by_spot / spot * (rate - from_time),
    )
    means = np.array([(weights * figure).mean(axis=1) for figure in figures])
    return means.mean(axis=1), means.std(axis=1, ddof=1) / math.sqrt(_SHIFTS)
