"""An American put on 1 that is exercised between two boundaries: dividend < rate < 0, both below 0.

Cash is better had later than now, so exercise pays only where what it costs to hold the stock outweighs that [1]_.
The premium over the European option is marched backwards on a grid in the logarithm of the spot around that asked for,
in steps that shorten towards expiry, by backward differences of order two, which damp what a boundary leaves as it
moves from node to node. Each step is a linear complementarity problem, solved by policy iteration [2]_. The premium
starts at 0 without a kink, so the order is kept, and the figures are extrapolated.

References
----------
.. [1] A. Battauz, M. De Donno and A. Sbuelz, "Real options and American derivatives: the double continuation region",
   Management Science 61 (2015), doi:10.1287/mnsc.2013.1891.
.. [2] C. Reisinger and J. H. Witte, "On the use of policy iteration as an easy way of pricing American options", SIAM
   Journal on Financial Mathematics 3 (2012), doi:10.1137/110823328.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from engine._checks import FloatArray
from engine.pricing._american import Solution
from engine.pricing.closed_form import european

__all__ = ["solve"]

_LEVELS = ((200, 100), (400, 200), (800, 400), (1600, 800))  # cells on either side, and steps in time
_FOR_BOUNDARIES = 1
_WIDE = 7.0  # standard deviations on either side
_CELLS = 8.0  # that the region of exercise spans at least, or its premium is not seen
_ROUNDING = 4e-16


class _Put(NamedTuple):
    """A put on 1, its European twin's arguments but for the spot."""

    expiry: float
    rate: float
    dividend: float
    volatility: float


def solve(
    spot: float, expiry: float, rate: float, dividend: float, volatility: float, most: float, tolerance: float
) -> Solution:
    """Return the solution at the first level whose extrapolation moved by no more than the tolerance.

    `most` is a bound of the premium, and the error where the grid cannot see the region of exercise.
    """
    put = _Put(expiry, rate, dividend, volatility)
    at_expiry = math.log(rate / dividend)
    width = _WIDE * volatility * math.sqrt(expiry)
    width += abs(rate - dividend - 0.5 * volatility * volatility) * expiry
    centre = math.log(spot) if spot > 0.0 else -math.inf
    # each boundary where it begins, far from the ends of its grid
    boundary, last = _last_exercised(put, 0.0, width, -1), _last_exercised(put, at_expiry, width, 0)
    if not at_expiry - width < centre < width:
        return Solution(0.0, 0.0, 0.0, boundary, _ROUNDING, last, False)
    found = before = np.zeros(3)
    error = most
    exercised = False
    for level in range(len(_LEVELS)):
        x, premium, between = _marched(put, centre, width, level)
        middle, h = _LEVELS[level][0], float(x[1] - x[0])
        by_log = 0.5 * (premium[middle + 1] - premium[middle - 1]) / h
        bend = (premium[middle + 1] - 2.0 * premium[middle] + premium[middle - 1]) / (h * h)
        now = np.array([premium[middle], by_log / spot, (bend - by_log) / (spot * spot)])
        exercised = bool(between[middle])
        earlier, found = found, now + (now - before) / 3.0 if level else now
        if level > 1:
            error = max(abs(float(found[0] - earlier[0])), 0.2 * abs(float(now[0] - before[0]))) + _ROUNDING
        before = now
        if -at_expiry < _CELLS * h:
            error = most
        if error <= tolerance:
            break
    value, slope, curve = (float(figure) for figure in found)
    return Solution(value, slope, curve, boundary, error, last, exercised)


def _marched(put: _Put, centre: float, width: float, level: int) -> tuple[FloatArray, FloatArray, Any]:
    """Logs of the spot, the premium today, and where it is exercised."""
    from engine.pricing._american_kernels import kernels

    cells, steps = _LEVELS[level]
    x = centre + width * np.arange(-cells, cells + 1) / cells
    h = width / cells
    times = put.expiry * (np.arange(steps + 1) / steps) ** 2
    payoff, spots = -np.expm1(x), np.exp(x)
    floors = np.zeros((steps + 1, x.size))
    for step in range(1, steps + 1):
        floors[step] = payoff - european(spots, 1.0, times[step], *put[1:], -1.0).price
    drift, variance = put.rate - put.dividend - 0.5 * put.volatility**2, put.volatility**2
    down, up = 0.5 * (variance / h - drift) / h, 0.5 * (variance / h + drift) / h
    premium = np.zeros(x.size)
    exercised = np.zeros(x.size, np.bool_)
    kernels().march(floors, np.diff(times), down, -variance / (h * h) - put.rate, up, premium, exercised)
    return x, premium, exercised


def _last_exercised(put: _Put, centre: float, width: float, end: int) -> float:
    """Spot at one end of the region of exercise, to a cell of the grid; 0 where there is none."""
    x, _, exercised = _marched(put, centre, width, _FOR_BOUNDARIES)
    places = np.flatnonzero(exercised)
    return math.exp(x[places[end]]) if places.size else 0.0
