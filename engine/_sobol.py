"""Sobol points: their direction numbers, and the order in which a path takes its dimensions.

References
----------
.. [1] S. Joe and F. Y. Kuo, "Constructing Sobol sequences with better two-dimensional projections", SIAM Journal on
   Scientific Computing 30 (2008), doi:10.1137/070709359: the direction numbers `new-joe-kuo-6.21201`.
.. [2] P. Glasserman, *Monte Carlo Methods in Financial Engineering* (2003), section 3.1: Brownian bridge, eq. 3.4.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine._checks import FloatArray

__all__ = ["BITS", "MOST_DIMENSIONS", "Bridge", "bridge", "directions"]

BITS = 32
MOST_DIMENSIONS = 21_201


class Bridge(NamedTuple):
    """A Brownian path on an even grid, its coarse features first.

    Attributes
    ----------
    places : ndarray, shape (n_steps, 3)
        What each dimension fixes, in order: the step, the known one to the left and the known one to the right.
    weights : ndarray, shape (n_steps, 3)
        Of the left, of the right, and of the normal number; for steps of length 1.
    """

    places: NDArray[np.int64]
    weights: FloatArray


@functools.lru_cache(maxsize=8)
def directions(n_dimensions: int) -> NDArray[np.uint64]:
    """Return direction numbers of shape (n_dimensions, `BITS`), their bits reversed: the first digit is the lowest."""
    numbers = _numbers(n_dimensions)
    turned = np.zeros_like(numbers)
    for bit in range(BITS):
        turned |= ((numbers >> np.uint64(bit)) & np.uint64(1)) << np.uint64(BITS - 1 - bit)
    turned.setflags(write=False)
    return turned


def _numbers(n_dimensions: int) -> NDArray[np.uint64]:
    """Continue the table's first numbers of each dimension by the recurrence of its primitive polynomial [1]_."""
    with np.load(_table()) as table:
        polynomials, begun = (table[name][:n_dimensions].astype(np.uint64) for name in ("poly", "vinit"))
    degrees = np.frexp(polynomials.astype(np.float64))[1].astype(np.int64) - 1
    numbers = np.zeros((n_dimensions, BITS), np.uint64)
    numbers[:, : begun.shape[1]] = begun
    numbers[0] = 1
    for place in range(1, BITS):
        rows = np.flatnonzero((degrees <= place) & (degrees > 0))
        degree = degrees[rows]
        found = numbers[rows, place - degree]
        for back in range(1, min(int(degree.max(initial=0)), place) + 1):
            shift = np.maximum(degree - back, 0).astype(np.uint64)
            taken = ((polynomials[rows] >> shift) & np.uint64(1)) * (degree >= back)
            found ^= (taken * numbers[rows, place - back]) << np.uint64(back)
        numbers[rows, place] = found
    return numbers << np.arange(BITS - 1, -1, -1, dtype=np.uint64)


def _table() -> Path:
    """Find the published numbers, which come with scipy, whose own reader takes a second to be imported."""
    spec = importlib.util.find_spec("scipy")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0], "stats", "_sobol_direction_numbers.npz")


@functools.lru_cache(maxsize=64)
def bridge(n_steps: int) -> Bridge:
    """Return the order [2]_: the end, then the middle of the longest stretch that is left, the earliest first."""
    places = np.empty((n_steps, 3), dtype=np.int64)
    weights = np.empty((n_steps, 3))
    places[0], weights[0] = (n_steps, 0, 0), (0.0, 0.0, np.sqrt(n_steps))
    stretches: list[Any] = [(0, n_steps)]
    found = 1
    for left, right in stretches:  # grows while it is read
        if right - left < 2:
            continue
        middle = (left + right) // 2
        share = (middle - left) / (right - left)
        places[found] = middle, left, right
        weights[found] = 1.0 - share, share, np.sqrt((middle - left) * (1.0 - share))
        found += 1
        stretches += [(left, middle), (middle, right)]
    return Bridge(places, weights)
