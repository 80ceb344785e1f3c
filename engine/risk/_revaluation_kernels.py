"""Compiled loops behind `engine.risk.revaluation`.

Positions come in blocks of one underlying. The inner loop runs over scenarios, whose moves lie contiguous, with a
position's own numbers held in registers: there is nothing to gather, and the compiler makes vectors of it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engine._checks import FloatArray, fixed
from engine._compile import apart, cached, digest, exponential_within, inline, log_ratio, logarithm
from engine.pricing import _formulas, _inversion, _limits
from engine.risk import _revaluation_formulas

__all__ = ["kernel", "warm"]

_CHUNK = 512  # scenarios whose moves and sums stay in the first-level cache

_pricing = _formulas.make(inline, exponential_within, logarithm, log_ratio)
_careful = _limits.make(apart, _pricing).european
_value, _moved = _revaluation_formulas.make(inline, exponential_within, _pricing.tails)


# not within `_build`: a compiled function among the free variables would give each process a cache key of its own
@inline
def _fill(
    found: FloatArray,
    spot: float,
    rate: float,
    dividend: float,
    position: FloatArray,
    factor: FloatArray,
    log_factor: FloatArray,
    d_volatility: FloatArray,
    d_rate: FloatArray,
    passed: FloatArray,
    even: bool,
) -> None:
    """Fill the values of one position per unit, scenario by scenario."""
    strike, time, volatility, sign = position[0], position[1], position[2], position[3]
    n = found.size
    if sign == 0.0:
        for j in range(n):
            left = max(time - passed[j], 0.0)
            found[j] = spot * factor[j] * math.exp((rate + d_rate[j] - dividend) * left)
        return
    logged = position[6]
    if even:
        # every scenario has the same rates and time left: discounting is done once
        left = max(time - passed[0], 0.0)
        growth, fall = (rate + d_rate[0]) * left, dividend * left
        own, owed = spot * math.exp(-fall), strike * math.exp(-growth)
        root = math.sqrt(left)
        forward = logged + growth - fall
        for j in range(n):
            level = volatility + d_volatility[j]
            total = (level if level > 0.0 else 0.0) * root
            found[j] = _value(own * factor[j], owed, forward + log_factor[j], total, sign)
    else:
        for j in range(n):
            found[j] = _moved(
                spot, rate, dividend, strike, logged, time, volatility, sign,
                factor[j], log_factor[j], d_volatility[j], d_rate[j], passed[j],
            )  # fmt: skip
    left_out = 0
    for j in range(n):
        left_out += found[j] != found[j]
    if left_out:
        for j in range(n):
            if found[j] != found[j]:
                left = max(time - passed[j], 0.0)
                level = max(volatility + d_volatility[j], 0.0)
                found[j] = _careful(
                    spot * factor[j], strike, left, rate + d_rate[j], dividend, level, sign
                )[0]  # fmt: skip


@functools.cache
def kernel() -> Callable[..., None]:
    """Return the function, compiled or loaded from the cache by its first call.

    Its arguments are blocks (n_blocks, 3): underlying, first position and the place after the last; market
    (3, n_underlyings): spot, rate and dividend; positions (7, n): strike, time, volatility, sign, weight, value before
    and logarithm of spot over strike; moves (3, n_underlyings, n_scenarios): factor of the spot, its logarithm, change
    of volatility; shifts (2, n_scenarios): change of rate, years that pass; whether the shifts are those of every
    scenario; the sums (n_blocks, n_scenarios) to fill; and what to fill by position, of shape (n or 0, n_scenarios),
    with the position of its first row.
    """
    # the digest of every file that is compiled
    inputs = _revaluation_formulas.__file__, _formulas.__file__, _inversion.__file__, _limits.__file__
    return _build(digest(__file__, *inputs))


def _build(source: str) -> Callable[..., None]:
    @cached
    def revalue(
        blocks: Any,
        market: FloatArray,
        positions: FloatArray,
        moves: FloatArray,
        shifts: FloatArray,
        even: bool,
        sums: FloatArray,
        by_position: FloatArray,
        row: int,
    ) -> None:
        source  # noqa: B018 - part of the cache's key
        n_scenarios = moves.shape[2]
        buffer = np.empty(_CHUNK)
        for b in range(blocks.shape[0]):
            u, first, last = blocks[b, 0], blocks[b, 1], blocks[b, 2]
            for start in range(0, n_scenarios, _CHUNK):
                end = min(start + _CHUNK, n_scenarios)
                found = buffer[: end - start]
                total = sums[b, start:end]
                total[:] = 0.0
                for i in range(first, last):
                    _fill(
                        found, market[0, u], market[1, u], market[2, u], positions[:, i],
                        moves[0, u, start:end], moves[1, u, start:end], moves[2, u, start:end],
                        shifts[0, start:end], shifts[1, start:end], even,
                    )  # fmt: skip
                    weight, before = positions[4, i], positions[5, i]
                    for j in range(end - start):
                        total[j] += weight * (found[j] - before)
                    if by_position.shape[0]:
                        gained = by_position[i - row, start:end]
                        for j in range(end - start):
                            gained[j] = weight * (found[j] - before)

    return revalue


def warm() -> None:
    """Compile or load every function of `engine.risk`, by the calls that the public functions make."""
    from engine.risk import Book, Market, Scenarios, revalue
    from engine.risk._kernels import largest_losses

    book = Book.from_columns(id=["it"], underlying=["X"], kind=["put"], quantity=[1.0], strike=[100.0], expiry=[0.5])
    revalue(book, Market({"X": 100.0}, volatility=0.2), Scenarios(["X"], [[0.1]]), device="cpu")
    largest_losses(fixed(np.zeros((2, 2))), fixed(np.ones(2)), 1)
