"""Compiled loops behind `engine.validation.overfitting`.

A half of the blocks is a mask of two parts: sums over every subset of the first blocks and of the last are made once,
so that the sums over a half are one addition. The other half is what is missing to the whole.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engine._compile import cached, digest, inline

__all__ = ["FLAT", "Kernels", "kernels", "make_quality", "warm"]

_Function = Callable[..., Any]

FLAT = 64.0 * float(np.finfo(np.float64).eps)  # variance of a half, relative to that of the whole, that counts as none
_INFINITE = math.inf
_CHUNK = 128  # strategies whose sums stay in the first-level cache


class Kernels(NamedTuple):
    """The cached functions.

    Attributes
    ----------
    totals : callable
        ``(returns, sums, lowest, highest)``: column sums and ranges.
    block_sums : callable
        ``(returns, bounds, means, sums, squares)``: sums and sums of squares of what is around the means, by block.
    subsets : callable
        ``(blocks, table)``: row `mask` of the table is the sum of the blocks that are bits of the mask.
    halves : callable
        Picks the best of each half and ranks it in the other; see `engine.validation.overfitting`.
    """

    totals: _Function
    block_sums: _Function
    subsets: _Function
    halves: _Function


def make_quality(jit: _Function) -> _Function:
    """Compile the ratio that is ranked: the square of the Sharpe ratio, with its sign, over one less than the periods.

    Its order is that of the Sharpe ratio, and it costs no square root. Takes sum and sum of squares of the returns of
    a half around the mean of the whole, that mean, and the number of periods; in units of the standard deviation of
    the whole. What does not vary is infinitely good or bad, or 0 without a mean.
    """

    def quality(total: float, squares: float, mean: float, n: float) -> float:
        average = total / n
        spread = squares - total * average
        shift = mean + average
        signed = shift * abs(shift) if abs(shift) > FLAT * abs(mean) else 0.0
        flat = spread <= FLAT * n
        ratio = signed / (1.0 if flat else spread)
        limit = _INFINITE if signed > 0.0 else (-_INFINITE if signed < 0.0 else 0.0)
        return limit if flat else ratio

    return jit(quality)  # type: ignore[no-any-return]


# not free variables of the cached functions, whose key these would change in every process
_quality = make_quality(inline)


@inline
def _add(some: Any, more: Any, result: Any) -> None:
    for j in range(some.size):
        result[j] = some[j] + more[j]


@inline
def _rest(whole: Any, part: Any) -> None:
    for j in range(whole.size):
        part[j] = whole[j] - part[j]


@inline
def _rate(total: Any, squares: Any, means: Any, n: float, ratios: Any, tops: Any) -> None:
    for j in range(means.size):
        ratios[j] = _quality(total[j], squares[j], means[j], n)
    # place by place, as a maximum over places is not made of vectors
    for j in range(means.size):
        tops[j] = ratios[j] if ratios[j] > tops[j] else tops[j]


@functools.cache
def kernels() -> Kernels:
    """Return the functions; each is compiled, or loaded from the cache, by its first call."""
    return _build(digest(__file__))


def _build(source: str) -> Kernels:
    @cached
    def totals(returns: Any, sums: Any, lowest: Any, highest: Any) -> None:
        source  # noqa: B018 - part of the cache's key
        for row in range(returns.shape[0]):
            values = returns[row]
            for j in range(values.size):
                sums[j] += values[j]
                lowest[j] = min(lowest[j], values[j])
                highest[j] = max(highest[j], values[j])

    @cached
    def block_sums(returns: Any, bounds: Any, means: Any, sums: Any, squares: Any) -> None:
        source  # noqa: B018 - part of the cache's key
        for block in range(bounds.size - 1):
            total, square = sums[block], squares[block]
            for row in range(bounds[block], bounds[block + 1]):
                values = returns[row]
                for j in range(values.size):
                    away = values[j] - means[j]
                    total[j] += away
                    square[j] += away * away

    @cached
    def subsets(blocks: Any, table: Any) -> None:
        source  # noqa: B018 - part of the cache's key
        table[0] = 0.0
        for block in range(blocks.shape[0]):
            bit = 1 << block
            for mask in range(bit):
                for j in range(blocks.shape[1]):
                    table[bit + mask, j] = table[mask, j] + blocks[block, j]

    @cached
    def halves(
        masks: Any, low_bits: int, upper: Any, lower: Any, whole: Any, means: Any, lengths: Any, n: int, found: Any
    ) -> None:
        source  # noqa: B018 - part of the cache's key
        n_strategies = means.size
        one, other = np.empty(n_strategies), np.empty(n_strategies)
        total, squares, tops = np.empty(_CHUNK), np.empty(_CHUNK), np.empty((2, min(_CHUNK, n_strategies)))
        for pair in range(masks.size):
            high, low = masks[pair] >> low_bits, masks[pair] & ((1 << low_bits) - 1)
            inside = float(lengths[0][high] + lengths[1][low])
            outside = float(n) - inside
            tops[:] = -_INFINITE
            for first in range(0, n_strategies, _CHUNK):
                last = min(first + _CHUNK, n_strategies)
                # loops of few arrays each: the compiler gives up on vectors where it has many to tell apart
                _add(upper[0, high, first:last], lower[0, low, first:last], total)
                _add(upper[1, high, first:last], lower[1, low, first:last], squares)
                _rate(total, squares, means[first:last], inside, one[first:last], tops[0])
                _rest(whole[0, first:last], total)
                _rest(whole[1, first:last], squares)
                _rate(total, squares, means[first:last], outside, other[first:last], tops[1])
            for side in range(2):
                chosen = 0
                mine, theirs = (one, other) if side == 0 else (other, one)
                top = tops[side].max()
                while mine[chosen] != top:
                    chosen += 1
                level = theirs[chosen]
                less = equal = 0
                for j in range(n_strategies):
                    less += theirs[j] < level
                    equal += theirs[j] == level
                found[side, 0, pair] = chosen
                found[side, 1, pair] = less + 0.5 * (equal + 1)
                found[side, 2, pair] = top
                found[side, 3, pair] = level

    return Kernels(totals, block_sums, subsets, halves)


def warm() -> None:
    """Compile or load every function, by a call that the public function makes."""
    from engine.validation import probability_of_backtest_overfitting

    probability_of_backtest_overfitting(np.arange(8.0).reshape(4, 2), n_splits=2)
