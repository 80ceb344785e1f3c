"""Compiled loops behind `engine.pricing`.

The block loops run the branch-free formulas, which the compiler turns into vector instructions, and hand what these
leave out (nan) to the careful ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engine._checks import FloatArray
from engine._compile import apart, cached, digest, exponential_within, inline, log_ratio, logarithm
from engine.pricing import _formulas, _inversion, _limits

__all__ = ["BLOCK", "Kernels", "careful", "fast", "kernels", "warm"]

_Function = Callable[..., Any]

BLOCK = 128  # options whose inputs and outputs stay in the first-level cache

fast = _formulas.make(inline, exponential_within, logarithm, log_ratio)
careful = _limits.make(apart, fast)
_terms, _tails, _figures = fast.terms, fast.tails, fast.figures
_start, _refine, _settle = fast.inversion[2:5]
_european_limit, _implied_limit = careful.european, careful.implied


class Kernels(NamedTuple):
    """The cached functions.

    Attributes
    ----------
    european_block, implied_block : callable
        Seven arrays of length n, or of length `BLOCK` for a constant; the seven steps (1, or 0 for a constant); the
        results, of shape (9, n) and (n,); first place and the place after the last. They return how many are nan.
    """

    european_block: _Function
    implied_block: _Function


@functools.cache
def kernels() -> Kernels:
    """Return the functions; each is compiled, or loaded from the cache, by its first call."""
    return _build(digest(__file__, _formulas.__file__, _inversion.__file__, _limits.__file__))


# of the module, not of `_build`: a function among the free variables would make each process compile anew
@apart
def _european_rest(inputs: Any, steps: Any, results: FloatArray, first: int, last: int) -> int:
    """Compute the places whose price is nan, and return how many remain so."""
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


def _build(source: str) -> Kernels:
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
            left = 0
            # three short loops, of which the processor has several turns in flight at a time, where it would hold less
            # than one of the whole; the results carry what one hands to the next
            for i in range(n):
                price[i], delta[i], gamma[i], vega[i], theta[i] = _terms(
                    spot[i], strike[i], expiry[i], rate[i], dividend[i], volatility[i]
                )
            for i in range(n):
                rho[i], vanna[i], volga[i] = _tails(price[i], gamma[i], vega[i])
            for i in range(n):
                found = _figures(
                    spot[i],
                    strike[i],
                    expiry[i],
                    rate[i],
                    dividend[i],
                    volatility[i],
                    sign[i],
                    price[i],
                    delta[i],
                    gamma[i],
                    vega[i],
                    theta[i],
                    rho[i],
                    vanna[i],
                    volga[i],
                )
                price[i], delta[i], gamma[i] = found[0], found[1], found[2]
                vega[i], theta[i], rho[i] = found[3], found[4], found[5]
                vanna[i], volga[i], charm[i] = found[6], found[7], found[8]
                left += found[0] != found[0]
            if left:
                invalid += _european_rest(inputs, steps, results, start, end)
        return invalid

    @cached
    def implied_block(inputs: Any, steps: Any, results: FloatArray, first: int, last: int) -> int:
        source  # noqa: B018 - part of the cache's key
        missing = 0
        x, target, upper, s, far = np.empty((5, BLOCK))
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
                x[i], target[i], upper[i], s[i] = _start(
                    price[i], spot[i], strike[i], expiry[i], rate[i], dividend[i], sign[i]
                )
            for i in range(n):
                s[i], far[i] = _refine(x[i], target[i], upper[i], s[i])
            for i in range(n):
                s[i], far[i] = _refine(x[i], target[i], upper[i], s[i])
            for i in range(n):
                found[i] = _settle(x[i], s[i], far[i], expiry[i])
            for i in range(n):
                if found[i] != found[i]:
                    found[i] = _implied_limit(price[i], spot[i], strike[i], expiry[i], rate[i], dividend[i], sign[i])
                    missing += found[i] != found[i]
        return missing

    return Kernels(european_block, implied_block)


def warm() -> None:
    """Compile or load every function, by the calls that the public functions make."""
    from engine.pricing import european, implied_volatility

    two = np.ones(2)
    european(100.0, 105.0, 0.5, 0.03, 0.01, 0.25, "call")
    implied_volatility(5.0, 100.0, 105.0, 0.5, 0.03, 0.01, "call")
    european(two, two, two, two, two, two, "call")
    implied_volatility(0.5 * two, two, two, two, two, two, "call")
