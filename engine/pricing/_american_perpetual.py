"""An American put on a strike of 1 that never expires, and how much less one is worth that does.

Where volatility is small beside the rates, the spot has met the boundary, or never will, long before expiry. What is
solved on points for the rest has a layer there that is thinner than points can tell.

References
----------
.. [1] R. C. Merton, "Theory of rational option pricing", Bell Journal of Economics 4 (1973), eq. 52,
   doi:10.2307/3003143: the perpetual put.
.. [2] J. M. Harrison, *Brownian Motion and Stochastic Flow Systems* (1985), section 1.8, eq. 11: the time at which a
   Brownian motion with drift first meets a level.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["Perpetual", "perpetual"]

_ROOT_HALF = math.sqrt(0.5)


class Perpetual(NamedTuple):
    """A put on 1 without an end.

    Attributes
    ----------
    worth, slope, bend : float
        And its derivatives by spot.
    boundary : float
        Spot at or below which it is exercised.
    gap : float
        Bound of what one with an expiry is worth less.
    """

    worth: float
    slope: float
    bend: float
    boundary: float
    gap: float


def perpetual(spot: float, expiry: float, rate: float, dividend: float, volatility: float) -> Perpetual | None:
    """Return the perpetual put, for a rate above 0; None where the boundary is 0, or the variance no float."""
    variance = volatility * volatility
    if variance < 1e-290 or not math.isfinite(variance):
        return None
    # neither root of the quadratic, nor one less the boundary, is a difference of near numbers
    drift = rate - dividend - 0.5 * variance
    root = math.hypot(drift, math.sqrt(2.0 * rate) * volatility)
    if drift < 0.0:
        power = -2.0 * rate / (root - drift)
        whole = root - drift + 2.0 * rate
        above, boundary = (root - drift) / whole, 2.0 * rate / whole
    else:
        power = -(drift + root) / variance
        whole = variance + drift + root
        above, boundary = variance / whole, (drift + root) / whole
    if spot <= boundary:
        return Perpetual(1.0 - spot, -1.0, 0.0, boundary, 0.0)
    if boundary == 0.0:
        return None
    away = math.log(spot) - (math.log1p(-above) if above < 0.5 else math.log(boundary))
    worth = above * math.exp(power * away)
    slope = power * worth / spot
    bend = (power - 1.0) * slope / spot
    # the strategy that waits for this boundary until expiry loses where the spot meets it later
    ever = math.exp(-2.0 * drift / variance * away) if drift > 0.0 else 1.0
    later = 0.5 * math.erfc((abs(drift) * expiry - away) / (volatility * math.sqrt(expiry)) * _ROOT_HALF)
    return Perpetual(worth, slope, bend, boundary, above * math.exp(-rate * expiry) * ever * later)
