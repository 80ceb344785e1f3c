"""Compiled loops behind `engine.validation.drift`; self-contained, so that a cached build is never stale.

Compiled without `fastmath`: equal values have to fall into equal buckets, and a larger one never into a lower bucket,
in the vector body of a loop as in its remainder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine._checks import FloatArray, fixed

__all__ = [
    "below",
    "bucketed",
    "grouped",
    "largest_gap",
    "largest_gap_of_buckets",
    "largest_gap_within",
    "mixed",
    "share_of_walks",
    "warm",
]

IntArray = NDArray[np.int64]

_CHUNK = 2048  # values that stay in the first-level cache while they are compared with every edge


@njit(cache=True, nogil=True, error_model="numpy")
def below(values: FloatArray, edges: FloatArray, counts: IntArray) -> bool:
    """Count the values below each edge into `counts`; whether every value is finite."""
    n = values.size
    finite = 0
    counts[:] = 0
    for first in range(0, n, _CHUNK):
        part = values[first : first + _CHUNK]
        for edge in range(edges.size):
            bound = edges[edge]
            less = 0
            for i in range(part.size):
                less += part[i] < bound
            counts[edge] += less
        for i in range(part.size):
            finite += part[i] - part[i] == 0.0
    return finite == n


@njit(cache=True, nogil=True, error_model="numpy")
def bucketed(
    values: FloatArray, bits: Any, scale: tuple[float, float, float], places: Any, counts: IntArray, example: FloatArray
) -> bool:
    """Put each value into a bucket, by a map of the line onto a segment; whether every value is finite.

    With t the distance from the centre in units of the scale on that side, the place is half / (1 + t) below the
    centre and 2 * half + 1 - half / (1 + t) above; the centre has a place of its own. Every operation rounds
    monotonically, so the places are in the order of the values; far tails crowd together instead of stretching the
    buckets.

    Parameters
    ----------
    values : ndarray, shape (n,)
    bits : ndarray of int64, shape (n,) or (0,)
        The same memory as integers. Where it is given, these are what is mapped, with the sign of the value: nearly
        the logarithm of the magnitude, for samples that spread over many of its orders.
    scale : (float, float, float)
        Centre, and the reciprocal scales below and above.
    places : ndarray of uint16, shape (n,)
        The result.
    counts : ndarray of int64, shape (2 * half + 2,)
        Number of values in each bucket; half is at most 32,767.
    example : ndarray, shape (2 * half + 2,)
        One value of each bucket, where it has any.
    """
    half = float(counts.size // 2 - 1)
    top = 2.0 * half + 1.0
    centre, per_below, per_above = scale
    n = values.size
    finite = 0
    if bits.size:
        for i in range(n):
            whole = bits[i]
            finite += values[i] - values[i] == 0.0
            value = float(whole if whole >= 0 else -(whole & 0x7FFFFFFFFFFFFFFF))
            part = half / (1.0 + abs(value - centre) * (per_below if value < centre else per_above))
            places[i] = np.uint16(np.int32(top - part if value > centre else part))
    else:
        for i in range(n):
            value = values[i]
            finite += value - value == 0.0
            part = half / (1.0 + abs(value - centre) * (per_below if value < centre else per_above))
            places[i] = np.uint16(np.int32(top - part if value > centre else part))
    if finite != n:
        return False
    counts[:] = 0
    for i in range(n):
        counts[places[i]] += 1
        example[places[i]] = values[i]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def mixed(values: FloatArray, places: Any, example: FloatArray, several: Any) -> None:
    """Mark the buckets that hold another value than their example."""
    for i in range(values.size):
        # a store to a bucket that the one before wrote would wait for it; so none where nothing is to be marked
        if values[i] != example[places[i]]:
            several[places[i]] = True


@njit(cache=True, nogil=True, error_model="numpy")
def grouped(values: FloatArray, places: Any, wanted: Any, ends: IntArray, found: FloatArray) -> None:
    """Copy the values of the wanted buckets, bucket by bucket; `ends` come as their starts and leave as their ends."""
    for i in range(values.size):
        k = places[i]
        if wanted[k]:
            found[ends[k]] = values[i]
            ends[k] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def largest_gap(ours: IntArray, theirs: IntArray, n: int, m: int, start: int, best: int, wanted: Any) -> int:
    """Return the largest gap at the end of a bucket, and mark each bucket that could hold a larger one.

    The gap is ``i * m - j * n`` for i of n values of the one sample and j of m of the other: a whole number, so that
    nothing is rounded.

    Parameters
    ----------
    ours, theirs : ndarray of int64, shape (n_buckets,)
    n, m : int
        Sizes of the whole samples.
    start : int
        Gap before the first bucket.
    best : int
        Largest gap known so far, without its sign.
    wanted : ndarray of bool, shape (n_buckets,)
        The marks.
    """
    gap = start
    for k in range(ours.size):
        gap += ours[k] * m - theirs[k] * n
        best = max(best, abs(gap))
    gap = start
    for k in range(ours.size):
        wanted[k] = max(gap + ours[k] * m, theirs[k] * n - gap) > best
        gap += ours[k] * m - theirs[k] * n
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _sort(values: FloatArray) -> None:
    """Sort a short array in place (Shell's way, with Ciura's gaps)."""
    n = values.size
    for gap in (8861, 3938, 1750, 701, 301, 132, 57, 23, 10, 4, 1):
        for i in range(gap, n):
            value = values[i]
            j = i
            while j >= gap and values[j - gap] > value:
                values[j] = values[j - gap]
                j -= gap
            values[j] = value


@njit(cache=True, nogil=True, error_model="numpy")
def largest_gap_within(first: FloatArray, second: FloatArray, n: int, m: int, start: int, best: int) -> int:
    """Return the largest gap between two short samples, which are sorted on the way."""
    _sort(first)
    _sort(second)
    gap = start
    i = j = 0
    while i < first.size and j < second.size:
        x = min(first[i], second[j])
        while i < first.size and first[i] == x:
            gap += m
            i += 1
        while j < second.size and second[j] == x:
            gap -= n
            j += 1
        best = max(best, abs(gap))
    # what is left of one sample moves the gap one way, to its end, which the caller has seen
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def largest_gap_of_buckets(
    ours: IntArray,
    theirs: IntArray,
    short: Any,
    first: FloatArray,
    second: FloatArray,
    ends: tuple[IntArray, IntArray],
    gaps: IntArray,
    n: int,
    m: int,
    best: int,
) -> int:
    """Return the largest gap within the short buckets; `ends` and `gaps` are those at the end of each bucket."""
    for k in range(ours.size):
        if short[k]:
            mine = first[ends[0][k] - ours[k] : ends[0][k]]
            other = second[ends[1][k] - theirs[k] : ends[1][k]]
            before = gaps[k] - ours[k] * m + theirs[k] * n
            best = largest_gap_within(mine, other, n, m, before, best)
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def share_of_walks(gap: int, n: int, m: int) -> float:
    """Return the share of the walks from (0, 0) to (n, m) that meet a point with ``|i * m - j * n| >= gap``.

    A walk that ends in (i, j) came from (i - 1, j) with probability i / (i + j). All terms are positive, so that small
    shares keep their digits. Only the points within the gap are visited: 2 * gap + n of them.
    """
    shares = np.ones(m + 1)
    lowest = 0
    for i in range(n + 1):
        low = max((i * m - gap) // n + 1, 0)
        high = min(-((-i * m - gap) // n) - 1, m)
        for j in range(lowest, min(low, m + 1)):
            shares[j] = 1.0
        lowest = low
        came = 1.0
        for j in range(low, high + 1):
            if i + j == 0:
                came = 0.0
            elif i == 0:
                pass
            elif j == 0:
                came = shares[j]
            else:
                came = (i * shares[j] + j * came) / (i + j)
            shares[j] = came
    share: float = shares[m]
    return share


def warm() -> None:
    """Compile or load every function, each as `engine.validation._samples` and its neighbours call it."""
    values, whole = fixed(np.ones(2)), np.ones(2, np.int64)
    places, marks, room = np.zeros(2, np.uint16), np.zeros(2, np.bool_), np.empty(2)
    below(values, values, whole.copy())
    bucketed(values, values.view(np.int64), (1.0, 1.0, 1.0), places, whole.copy(), room)
    mixed(values, places, room, marks)
    grouped(values, places, marks, whole.copy(), room)
    largest_gap(whole, whole, 2, 2, 0, 0, marks)
    largest_gap_within(room, room, 2, 2, 0, 0)
    largest_gap_of_buckets(whole, whole, marks, room, room, (whole, whole), whole, 2, 2, 0)
    share_of_walks(1, 2, 2)
