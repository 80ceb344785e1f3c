"""Compiled loops behind `engine.pricing`.

The block loops run the branch-free formulas, which the compiler turns into vector instructions, and hand what these
leave out (nan) to the careful ones.

Numba keys a cached build on the file of the compiled function alone, so a change of a formula in another file would go
unseen. `_SOURCE`, a digest of every file that is compiled here, is a free variable of each cached function, and with
that part of its key.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

from engine import _formulas, _limits
from engine._checks import FloatArray

__all__ = ["BLOCK", "Kernels", "exponential", "kernels", "logarithm"]

BLOCK = 512  # options whose inputs and outputs stay in the first-level cache

_Function = Callable[..., Any]

# no `reassoc`: rounding by a large constant has to survive; no `nnan`: nan marks what is left to the careful formulas
_FAST = {"contract", "nsz", "arcp"}

_PER_LN2 = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_ROUND = 6755399441055744.0  # 1.5 * 2**52: adding it leaves the nearest integer in the low bits
_ROUND_BITS = int(np.float64(_ROUND).view(np.int64))
_ROOT_HALF_BITS = int(np.float64(math.sqrt(0.5)).view(np.int64))
(_E2, _E3, _E4, _E5, _E6, _E7) = tuple(1.0 / math.factorial(order) for order in range(2, 8))
(_E8, _E9, _E10, _E11, _E12, _E13) = tuple(1.0 / math.factorial(order) for order in range(8, 14))
# 2 atanh(s) = log((1 + s) / (1 - s)) in s**2, from fdlibm's e_log.c
(_L1, _L2, _L3, _L4) = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    0.22222198432149784,
)
(_L5, _L6, _L7) = (1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01)


def _as_integer(_typing: Any, _value: Any) -> Any:
    """Type and code of the bits of a float64, as an int64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


def _as_float(_typing: Any, _value: Any) -> Any:
    """Type and code of the float64 that has the bits of an int64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


_bits: Any = intrinsic(_as_integer)
_from_bits: Any = intrinsic(_as_float)


def _inline(function: _Function) -> _Function:
    """Compile for the inside of a loop; without `forceinline` the loop would stay scalar, ten times as slow."""
    return njit(fastmath=_FAST, error_model="numpy", forceinline=True)(function)


def _apart(function: _Function) -> _Function:
    """Compile a function that is called rarely."""
    return njit(error_model="numpy")(function)


@_inline
def exponential(x: float) -> float:
    """Return e**x to 1 unit in the last place, for |x| <= 708; beyond it, that of the nearest bound."""
    x = min(max(x, -708.0), 709.0)
    shifted = x * _PER_LN2 + _ROUND
    n = _bits(shifted) - _ROUND_BITS
    whole = shifted - _ROUND
    r = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
    p = _E7 + r * (_E8 + r * (_E9 + r * (_E10 + r * (_E11 + r * (_E12 + r * _E13)))))
    p = _E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * (_E6 + r * p))))
    power: float = _from_bits((n + 1023) << 52)
    return (1.0 + (r + r * r * p)) * power


@_inline
def logarithm(x: float) -> float:
    """Return ln x to 1 unit in the last place, for normal positive x; anything else gives no meaning."""
    bits = _bits(x)
    k = (bits - _ROOT_HALF_BITS) >> 52
    f: float = _from_bits(bits - (k << 52)) - 1.0
    s = f / (2.0 + f)
    z = s * s
    rest = z * (_L1 + z * (_L2 + z * (_L3 + z * (_L4 + z * (_L5 + z * (_L6 + z * _L7))))))
    half = 0.5 * f * f
    whole = float(k)
    return whole * _LN2_HIGH - ((half - (s * (half + rest) + whole * _LN2_LOW)) - f)


_fast = _formulas.make(_inline, exponential, logarithm)
_careful = _limits.make(_apart, _fast)
_european, _implied = _fast.european, _fast.implied
_european_limit, _implied_limit = _careful.european, _careful.implied


def _digest() -> str:
    files = (Path(__file__), Path(_formulas.__file__), Path(_limits.__file__))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


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
    return _build(_digest())


def _build(source: str) -> Kernels:
    def cached(function: _Function) -> _Function:
        return njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")(function)

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
