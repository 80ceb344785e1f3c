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
import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

__all__ = [
    "FAST",
    "apart",
    "cached",
    "digest",
    "exponential",
    "exponential_within",
    "from_bits",
    "inline",
    "log_ratio",
    "logarithm",
]

_Function = Callable[..., Any]


def _start_numba() -> None:
    """Let numba find BLAS, as it does when it starts, in the one module of scipy; all of `scipy.linalg` takes 0.1 s."""
    name = "scipy.linalg.cython_blas"
    scipy = importlib.util.find_spec("scipy")
    if name in sys.modules or scipy is None or not scipy.submodule_search_locations:
        return
    found = PathFinder.find_spec(name, [str(Path(place, "linalg")) for place in scipy.submodule_search_locations])
    if found is None or found.loader is None:
        return
    sys.modules[name] = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(sys.modules[name])
        importlib.import_module("numba.np.arraymath")
    finally:
        del sys.modules[name]  # whoever imports it comes by the package around it


_start_numba()

# no `reassoc`: rounding by a large constant has to survive; no `nnan`: nan marks what is left to the careful formulas
FAST = {"contract", "nsz", "arcp"}

_PER_LN2 = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_ROUND = 6755399441055744.0  # 1.5 * 2**52: adding it leaves the nearest integer in the low bits
_ONE_BITS = int(np.float64(1.0).view(np.int64))
_HALF_BIT = 1 << 51
# (e**r - 1 - r) / r**2, interpolated at the 10 Chebyshev nodes of |r| <= ln(2) / 2: e**r to 1.6e-17
(_E2, _E3, _E4, _E5, _E6) = (
    0.5000000000000001,
    0.16666666666666669,
    0.041666666666624094,
    0.00833333333333006,
    0.0013888888917230724,
)
(_E7, _E8, _E9, _E10, _E11) = (
    0.00019841269863066696,
    2.4801521269532122e-05,
    2.7557268439678e-06,
    2.7620101012098e-07,
    2.5100395159429243e-08,
)
# (log((1 + s) / (1 - s)) - 2 s) / s**3 in s**2, at the 8 Chebyshev nodes of |s| <= 0.2004: the logarithm to 7e-19
(_L1, _L2, _L3, _L4) = (0.6666666666666666, 0.4000000000000807, 0.2857142856721895, 0.22222223057828508)
(_L5, _L6, _L7, _L8) = (0.1818173688349576, 0.15388897439992488, 0.1320912615230194, 0.1361349494123804)


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
from_bits: Any = intrinsic(_as_float)


def inline(function: _Function) -> _Function:
    """Compile for the inside of a loop; without `forceinline` the loop would stay scalar, ten times as slow."""
    return njit(fastmath=FAST, error_model="numpy", forceinline=True)(function)


def apart(function: _Function) -> _Function:
    """Compile a function that is called rarely."""
    return njit(error_model="numpy")(function)


@inline
def exponential_within(x: float) -> float:
    """Return e**x to 1 unit in the last place, for |x| <= 708; beyond it the result has no meaning."""
    shifted = x * _PER_LN2 + _ROUND
    whole = shifted - _ROUND
    r = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
    u = r * r
    # even and odd powers apart: half as long a chain of operations that wait for each other
    even = _E2 + u * (_E4 + u * (_E6 + u * (_E8 + u * _E10)))
    odd = _E3 + u * (_E5 + u * (_E7 + u * (_E9 + u * _E11)))
    power: float = from_bits((_bits(shifted) << 52) + _ONE_BITS)
    return (1.0 + (r + u * (even + r * odd))) * power


@inline
def exponential(x: float) -> float:
    """Return e**x to 1 unit in the last place, for |x| <= 708; beyond it, that of the nearest bound."""
    found: float = exponential_within(min(max(x, -708.0), 709.0))
    return found


@inline
def log_ratio(a: float, b: float) -> float:
    """Return ln(a / b) to 2 units in the last place, also where a is close to b, for normal positive a and b."""
    bits = _bits(a)
    k = (bits - _bits(b) + _HALF_BIT) >> 52
    near: float = from_bits(bits - (k << 52))  # within a factor of 1.51 of b, so that the difference is exact
    s = (near - b) / (near + b)
    z = s * s
    v = z * z
    even = _L1 + v * (_L3 + v * (_L5 + v * _L7))
    odd = _L2 + v * (_L4 + v * (_L6 + v * _L8))
    whole = float(k)
    return whole * _LN2_HIGH + (2.0 * s + (s * z * (even + z * odd) + whole * _LN2_LOW))


@inline
def logarithm(x: float) -> float:
    """Return ln x to 2 units in the last place, for normal positive x; anything else gives no meaning."""
    found: float = log_ratio(x, 1.0)
    return found


def cached(function: _Function) -> _Function:
    """Compile a function that Python calls, and keep the machine code for the next process."""
    return njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")(function)


def digest(*files: str) -> str:
    """Return the digest of the files of which a function is compiled, this one included."""
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in (__file__, *files))).hexdigest()
