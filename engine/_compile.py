"""What every compiled loop of the engine is made with: compilers, and an exponential and logarithm that vectorise.

Numba keys a cached build on the file of the compiled function alone, so a change of a formula in another file would go
unseen. `digest` of every file that is compiled belongs into a free variable of each cached function, and with that
into its key::

    def build(source):
        @cached
        def block(...):
            source  # part of the cache's key
            ...

    kernels = functools.cache(lambda: build(digest(__file__, _formulas.__file__)))
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["FAST", "apart", "cached", "digest", "exponential", "inline", "logarithm"]

_Function = Callable[..., Any]

# no `reassoc`: rounding by a large constant has to survive; no `nnan`: nan marks what is left to the careful formulas
FAST = {"contract", "nsz", "arcp"}

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


def inline(function: _Function) -> _Function:
    """Compile for the inside of a loop; without `forceinline` the loop would stay scalar, ten times as slow."""
    return njit(fastmath=FAST, error_model="numpy", forceinline=True)(function)


def apart(function: _Function) -> _Function:
    """Compile a function that is called rarely."""
    return njit(error_model="numpy")(function)


@inline
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


@inline
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


def cached(function: _Function) -> _Function:
    """Compile a function that Python calls, and keep the machine code for the next process."""
    return njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")(function)


def digest(*files: str) -> str:
    """Return the digest of the files of which a function is compiled, this one included."""
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in (__file__, *files))).hexdigest()
