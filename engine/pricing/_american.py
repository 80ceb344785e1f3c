"""One American put on a strike of 1: refined until its price settles."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from engine._checks import FloatArray
from engine.pricing._american_grid import LEVELS, evaluation, grid

__all__ = ["Solution", "solve"]

_UNSETTLED = 1e-9  # a last step of the boundary above this is added to the error
_ROUNDING = 4e-16
_EARLIER = 0.05


class Solution(NamedTuple):
    """A put on 1.

    Attributes
    ----------
    premium, slope, bend : float
        Of early exercise, and its derivatives by spot; meant above the boundary.
    boundary : float
        Spot at or below which it is exercised now.
    error : float
        Estimate of that of the price.
    last : float
        Spot below which it is kept again.
    exercised : bool
        At the spot that was asked for, now.
    """

    premium: float
    slope: float
    bend: float
    boundary: float
    error: float
    last: float
    exercised: bool


def solve(
    spot: float, expiry: float, rate: float, dividend: float, volatility: float, european: float, tolerance: float
) -> Solution:
    """Return the solution at the first level that changes the price by no more than the tolerance."""
    from engine.pricing._american_kernels import kernels

    compiled = kernels()
    coefficients: FloatArray = np.empty(0)
    worth, change, log_limit = math.inf, 1.0, 0.0
    best = Solution(max(1.0 - spot - european, 0.0), 0.0, 0.0, 0.0, 1.0, 0.0, False)
    for level in range(len(LEVELS)):
        points = grid(level)
        n = points.roots.size
        logs = np.empty(n)
        if level:
            depths = evaluation(level) @ coefficients
            logs[:] = log_limit - np.sqrt(np.maximum(depths, 0.0))
        moved, log_limit = compiled.boundary(
            expiry, rate, dividend, volatility, *points[:4], logs, np.empty((n + 3, n + 1)), level > 0
        )
        coefficients = points.transform @ (logs - log_limit) ** 2
        log_spot = math.log(spot) if spot > 0.0 else -math.inf
        found = (0.0, 0.0, 0.0)
        if log_spot > logs[-1]:
            found = compiled.premium(
                log_spot, expiry, rate, dividend, volatility, log_limit, logs[-1], coefficients, *points[5:]
            )
        before, worth = worth, european + found[0] if log_spot > logs[-1] else 1.0 - spot
        # a put on 1 is worth 1 at most; two levels may agree by chance, so the change before counts too
        change, earlier = min(abs(worth - before), 1.0), change
        error = max(change, _EARLIER * earlier) + (moved if moved > _UNSETTLED else 0.0)
        if math.isnan(error) or (level > 1 and error > 2.0 * best.error):
            break
        boundary = math.exp(logs[-1])
        best = Solution(*found, boundary, error + _ROUNDING, 0.0, spot <= boundary)
        # no progress: the boundary moves within less time than points can tell
        if error <= tolerance or (level > 2 and change > 0.5 * earlier):
            break
    return best
