"""Order statistics and the largest gap of large samples, exact, by putting values into buckets and looking into few."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine._checks import FloatArray, fixed
from engine.validation import _drift_kernels as kernels

__all__ = ["NotAllFinite", "largest_gap", "order_statistics"]

_HALF = 16_383  # buckets on either side of the centre: their counts stay in the second-level cache
_SHORT = 8_192  # values that are sorted at once
_DEEPEST = 12  # how often a bucket is put into buckets again before it is sorted whatever its size
_SAMPLE = 512
_LEAST = 1e-290  # scale whose reciprocal is still finite

IntArray = NDArray[np.int64]


class NotAllFinite(Exception):
    """A sample holds a nan or an infinity."""


class _Buckets(NamedTuple):
    places: NDArray[np.uint16]
    counts: IntArray
    example: FloatArray


class _Map(NamedTuple):
    scale: tuple[float, float, float]
    by_bits: bool
    n_buckets: int


def largest_gap(first: FloatArray, second: FloatArray) -> int:
    """Return the largest ``|i * m - j * n|``, with i of n and j of m values at or below any point."""
    return _gap(first, second, first.size, second.size, 0, 0, 0)


def _gap(first: FloatArray, second: FloatArray, n: int, m: int, start: int, best: int, depth: int) -> int:
    """Return the larger of `best` and the largest gap of a part of the samples, before which the gap is `start`."""
    if first.size + second.size <= _SHORT or depth > _DEEPEST:
        if not (np.isfinite(first).all() and np.isfinite(second).all()):
            raise NotAllFinite
        return int(kernels.largest_gap_within(first.copy(), second.copy(), n, m, start, best))
    way = _map(first, second)
    a, b = _bucketed(first, way), _bucketed(second, way)
    wanted = np.empty(way.n_buckets, np.bool_)
    best = int(kernels.largest_gap(a.counts, b.counts, n, m, start, best, wanted))
    if 16 * (a.counts[wanted].sum() + b.counts[wanted].sum()) > first.size + second.size:
        # much is left to look into: all but what holds a single value, where the gap is that at its end
        apart = (a.counts > 0) & (b.counts > 0) & (a.example != b.example)
        wanted &= _several(first, a) | _several(second, b) | apart
    if not wanted.any():
        return best
    gaps = start + np.cumsum(a.counts * m - b.counts * n)
    mine, my_ends = _grouped(first, a, wanted)
    others, other_ends = _grouped(second, b, wanted)
    long = wanted & (a.counts + b.counts > _SHORT)
    best = int(
        kernels.largest_gap_of_buckets(
            a.counts, b.counts, wanted & ~long, mine, others, (my_ends, other_ends), gaps, n, m, best
        )
    )
    for k in np.flatnonzero(long):
        ours, theirs = int(a.counts[k]), int(b.counts[k])
        before = int(gaps[k]) - ours * m + theirs * n
        if max(before + ours * m, theirs * n - before) > best:
            part, other = mine[my_ends[k] - ours : my_ends[k]], others[other_ends[k] - theirs : other_ends[k]]
            best = _gap(part, other, n, m, before, best, depth + 1)
    return best


def order_statistics(values: FloatArray, ranks: IntArray) -> FloatArray:
    """Return the values of the stated ranks, counted from 0."""
    if values.size <= _SHORT:
        if not np.isfinite(values).all():
            raise NotAllFinite
        return np.asarray(np.sort(values)[ranks])
    way = _map(values, values)
    buckets = _bucketed(values, way)
    reached = np.cumsum(buckets.counts)
    holder = np.searchsorted(reached, ranks, side="right")
    wanted = np.zeros(way.n_buckets, np.bool_)
    wanted[holder] = True
    found, ends = _grouped(values, buckets, wanted)
    result = np.empty(ranks.size)
    for k in np.flatnonzero(wanted):
        here = holder == k
        inside = ranks[here] - (reached[k] - buckets.counts[k])
        result[here] = np.partition(found[ends[k] - buckets.counts[k] : ends[k]], inside)[inside]
    return result


def _map(first: FloatArray, second: FloatArray) -> _Map:
    """Choose, by a few values, the map that spreads the samples over the buckets."""
    few = np.concatenate([values[:: max(1, values.size // _SAMPLE)] for values in (first, second)])
    if not np.isfinite(few).all():
        raise NotAllFinite
    few.sort()
    plain = _scale(few)
    bits = few.view(np.int64)
    magnitudes = np.where(bits >= 0, bits, -(bits & np.iinfo(np.int64).max)).astype(np.float64)
    logarithmic = _scale(magnitudes)
    by_bits = 2.0 * _crowding(magnitudes, logarithmic) < _crowding(few, plain)
    half = min(_HALF, (first.size + second.size) // 32)
    return _Map(logarithmic if by_bits else plain, by_bits, 2 * half + 2)


def _scale(few: FloatArray) -> tuple[float, float, float]:
    """Centre and reciprocal scales below and above it, from the quartiles of sorted values."""
    quarter = few.size // 4
    low, centre, high = float(few[quarter]), float(few[2 * quarter]), float(few[3 * quarter])
    # halves, so that no difference overflows; a scale that is none, or that has no reciprocal, becomes the other
    below, above = 0.5 * centre - 0.5 * low, 0.5 * high - 0.5 * centre
    widest = max(below, above, _LEAST if max(below, above) >= _LEAST else 0.5 * float(few[-1]) - 0.5 * float(few[0]))
    widest = widest if widest >= _LEAST else 1.0
    return centre, 0.5 / (below if below >= _LEAST else widest), 0.5 / (above if above >= _LEAST else widest)


def _crowding(few: FloatArray, scale: tuple[float, float, float]) -> int:
    """How many pairs of a few values fall together."""
    centre, per_below, per_above = scale
    with np.errstate(over="ignore"):
        part = 256.0 / (1.0 + np.abs(few - centre) * np.where(few < centre, per_below, per_above))
    counts = np.bincount(np.where(few > centre, 513.0 - part, part).astype(np.int64))
    return int((counts * counts).sum())


def _several(values: FloatArray, buckets: _Buckets) -> NDArray[np.bool_]:
    """Which buckets hold more than one value."""
    several = np.zeros(buckets.counts.size, np.bool_)
    kernels.mixed(fixed(values), buckets.places, buckets.example, several)
    return several


def _bucketed(values: FloatArray, way: _Map) -> _Buckets:
    values = fixed(values)
    places = np.empty(values.size, np.uint16)
    counts = np.empty(way.n_buckets, np.int64)
    # only where a bucket has values is its example one
    example = np.zeros(way.n_buckets)
    bits = values.view(np.int64)[: values.size if way.by_bits else 0]
    if not kernels.bucketed(values, bits, way.scale, places, counts, example):
        raise NotAllFinite
    return _Buckets(places, counts, example)


def _grouped(values: FloatArray, buckets: _Buckets, wanted: NDArray[np.bool_]) -> tuple[FloatArray, IntArray]:
    """Return the values of the wanted buckets, bucket by bucket, and where each bucket ends."""
    lengths = np.where(wanted, buckets.counts, 0)
    ends = np.cumsum(lengths) - lengths
    found = np.empty(int(lengths.sum()))
    kernels.grouped(fixed(values), buckets.places, wanted, ends, found)
    return found, ends
