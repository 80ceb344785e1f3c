"""Compiled loops behind `engine.pricing`.

The block loops run the branch-free formulas, which the compiler turns into vector instructions, and hand what these
leave out (nan) to the careful ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from engine._checks import FloatArray
from engine._compile import apart, cached, digest, exponential, inline, logarithm
from engine.pricing import _formulas, _limits

__all__ = ["BLOCK", "Kernels", "kernels"]

_Function = Callable[..., Any]

BLOCK = 512  # options whose inputs and outputs stay in the first-level cache

_fast = _formulas.make(inline, exponential, logarithm)
_careful = _limits.make(apart, _fast)
_european, _implied = _fast.european, _fast.implied
_european_limit, _implied_limit = _careful.european, _careful.implied


class Kernels(NamedTuple):
    """The cached functions.

    Attributes
    ----------
    european_one, implied_one : callable
        Seven floats to nine floats, and to one.
    european_block, implied_block : callable
        Seven arrays of length n, or of length `BLOCK` for a constant; the seven steps (1, or 0 for a constant); the
        results, of shape (9, n) and (n,); first place and the place after the last.
    european_rest : callable
        The same arguments; computes the places whose price is nan, and returns how many remain so.
    """

    european_one: _Function
    european_block: _Function
    european_rest: _Function
    implied_one: _Function
    implied_block: _Function


@functools.cache
def kernels() -> Kernels:
    """Return the functions; each is compiled, or loaded from the cache, by its first call."""
    return _build(digest(__file__, _formulas.__file__, _limits.__file__))


def _build(source: str) -> Kernels:
    @cached
    def european_one(
        spot: float, strike: float, expiry: float, rate: float, dividend: float, volatility: float, sign: float
    ) -> Any:
        source  # noqa: B018 - part of the cache's key
        found = _european(spot, strike, expiry, rate, dividend, volatility, sign)
        if found[0] != found[0]:
            found = _european_limit(spot, strike, expiry, rate, dividend, volatility, sign)
        return found

    @cached
    def european_rest(inputs: Any, steps: Any, results: FloatArray, first: int, last: int) -> int:
        source  # noqa: B018 - part of the cache's key
        invalid = 0
        spot, strike, expiry, rate, dividend, volatility, sign = inputs
        j1, j2, j3, j4, j5, j6, j7 = steps
        for i in range(first, last):
            if results[0, i] != results[0, i]:
                place = i % BLOCK
                found = _european_limit(
                    spot[i if j1 else place],
                    strike[i if j2 else place],
                    expiry[i if j3 else place],
                    rate[i if j4 else place],
                    dividend[i if j5 else place],
                    volatility[i if j6 else place],
                    sign[i if j7 else place],
                )
                for row in range(9):
                    results[row, i] = found[row]
                invalid += found[0] != found[0]
        return invalid

    @cached
    def european_block(inputs: Any, steps: Any, results: FloatArray, first: int, last: int) -> int:
        source  # noqa: B018 - part of the cache's key
        invalid = 0
        for start in range(first, last, BLOCK):
            n = min(BLOCK, last - start)
            spot = inputs[0][start * steps[0] : start * steps[0] + n]
            strike = inputs[1][start * steps[1] : start * steps[1] + n]
            expiry = inputs[2][start * steps[2] : start * steps[2] + n]
            rate = inputs[3][start * steps[3] : start * steps[3] + n]
            dividend = inputs[4][start * steps[4] : start * steps[4] + n]
            volatility = inputs[5][start * steps[5] : start * steps[5] + n]
            sign = inputs[6][start * steps[6] : start * steps[6] + n]
            end = start + n
            price = results[0, start:end]
            delta = results[1, start:end]
            gamma = results[2, start:end]
            vega = results[3, start:end]
            theta = results[4, start:end]
            rho = results[5, start:end]
            vanna = results[6, start:end]
            volga = results[7, start:end]
            charm = results[8, start:end]
            for i in range(n):
                found = _european(spot[i], strike[i], expiry[i], rate[i], dividend[i], volatility[i], sign[i])
                price[i], delta[i], gamma[i] = found[0], found[1], found[2]
                vega[i], theta[i], rho[i] = found[3], found[4], found[5]
                vanna[i], volga[i], charm[i] = found[6], found[7], found[8]
            invalid += european_rest(inputs, steps, results, start, start + n)
        return invalid

    @cached
    def implied_one(
        price: float, spot: float, strike: float, expiry: float, rate: float, dividend: float, sign: float
    ) -> Any:
        source  # noqa: B018 - part of the cache's key
        found = _implied(price, spot, strike, expiry, rate, dividend, sign)
        if found != found:
            found = _implied_limit(price, spot, strike, expiry, rate, dividend, sign)
        return found

    @cached
    def implied_block(inputs: Any, steps: Any, results: FloatArray, first: int, last: int) -> None:
        source  # noqa: B018 - part of the cache's key
        for start in range(first, last, BLOCK):
            n = min(BLOCK, last - start)
            price = inputs[0][start * steps[0] : start * steps[0] + n]
            spot = inputs[1][start * steps[1] : start * steps[1] + n]
            strike = inputs[2][start * steps[2] : start * steps[2] + n]
            expiry = inputs[3][start * steps[3] : start * steps[3] + n]
            rate = inputs[4][start * steps[4] : start * steps[4] + n]
            dividend = inputs[5][start * steps[5] : start * steps[5] + n]
            sign = inputs[6][start * steps[6] : start * steps[6] + n]
            found = results[start : start + n]
            for i in range(n):
                found[i] = _implied(price[i], spot[i], strike[i], expiry[i], rate[i], dividend[i], sign[i])
            for i in range(n):
                if found[i] != found[i]:
                    found[i] = _implied_limit(price[i], spot[i], strike[i], expiry[i], rate[i], dividend[i], sign[i])

    return Kernels(european_one, european_block, european_rest, implied_one, implied_block)
