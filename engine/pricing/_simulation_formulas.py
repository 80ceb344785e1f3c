"""Scalar formulas of the simulations, without branches, written once and compiled for every device.

Random numbers are functions of seed, path and dimension alone, so no thread or worker can change them.

References
----------
.. [1] J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11
   (2011), section 3.3 (Philox-4x32-10), doi:10.1145/2063384.2063405.
.. [2] B. Burley, "Practical hash-based Owen scrambling", Journal of Computer Graphics Techniques 9 (2020), section 3:
   nested uniform scrambling as a hash of the reversed bits; with the constants of N. Vegdahl, "Building a better LK
   hash" (2021).
.. [3] M. J. Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied Statistics 37
   (1988), PPND16, doi:10.2307/2347330.
.. [4] L. Andersen, "Simple and efficient simulation of the Heston stochastic volatility model", Journal of
   Computational Finance 11 (2008), doi:10.21314/JCF.2008.189: moments (eq. 17, 18), quadratic and exponential
   branches (eq. 23 to 30), martingale correction (propositions 7 and 9).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["SimulationFormulas", "make"]

_Function = Callable[..., Any]

_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_P1, _P2, _P3 = np.uint64(0x788AEEED), np.uint64(0x41506A02), np.uint64(0x7483DC64)
(_E1, _E2, _E4, _E8) = (np.uint64(0x55555555), np.uint64(0x33333333), np.uint64(0x0F0F0F0F), np.uint64(0x00FF00FF))
(_N1, _N2, _N4, _N8, _N16) = (np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(8), np.uint64(16))
_ROOT_HALF = math.sqrt(0.5)
_SWITCH = 1.5  # psi_c of [4]_, between the two branches
_SMALLEST = 1e-280

# numerators and denominators of [3]_: the middle, and up to 1e-10 from an end
(_A0, _A1, _A2, _A3) = (3.3871328727963666080, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125)
(_A4, _A5, _A6, _A7) = (45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727)
(_B1, _B2, _B3, _B4) = (42.313330701600911252, 687.18700749205790830, 5394.1960214247511077, 21213.794301586595867)
(_B5, _B6, _B7) = (39307.895800092710610, 28729.085735721942674, 5226.4952788528545610)
(_C0, _C1, _C2, _C3) = (1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550, 3.64784832476320460504)
(_C4, _C5, _C6) = (1.27045825245236838258, 0.241780725177450611770, 0.0227238449892691845833)
(_C7, _D7) = (7.74545014278341407640e-4, 1.05075007164441684324e-9)
(_D1, _D2, _D3) = (2.05319162663775882187, 1.67638483018380384940, 0.689767334985100004550)
(_D4, _D5, _D6) = (0.148103976427480074590, 0.0151986665636164571966, 5.47593808499534494600e-4)


class SimulationFormulas(NamedTuple):
    """The compiled functions.

    Attributes
    ----------
    philox : callable
        Four counters and two keys to four words; each a uint64 below 2**32.
    scramble : callable
        ``(word, factor, summand, shift)``: a word in reversed bits to its scrambled one, in the usual order of bits.
    normal : callable
        A word to the normal quantile of the middle of its cell, of which there are 2**32.
    step : callable
        ``(variance, z, constants)`` to the variance a step later and the drift of the log-spot over the step.
    """

    philox: _Function
    scramble: _Function
    normal: _Function
    step: _Function


def make(jit: Callable[[_Function], _Function], exp: _Function, log: _Function, erfcx: _Function) -> SimulationFormulas:
    """Compile the formulas with `jit`, for a device whose functions are `exp`, `log` and `erfcx`."""

    @jit
    def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
        for _ in range(10):
            first = c0 * _M0
            second = c2 * _M1
            c0 = (second >> _WORD) ^ c1 ^ k0
            c2 = (first >> _WORD) ^ c3 ^ k1
            c1 = second & _LOW
            c3 = first & _LOW
            k0 = (k0 + _W0) & _LOW
            k1 = (k1 + _W1) & _LOW
        return c0, c1, c2, c3

    @jit
    def scramble(word: Any, factor: Any, summand: Any, shift: Any) -> Any:
        # the coarsest digit is the lowest bit: products and sums carry from it to finer digits and never back
        x = (word * _P1) & _LOW
        x = x ^ ((x * _P2) & _LOW)
        x = (x + summand) & _LOW
        x = (x * (factor | _N1)) & _LOW
        x = x ^ ((x * _P3) & _LOW) ^ shift
        x = ((x >> _N1) & _E1) | ((x & _E1) << _N1)
        x = ((x >> _N2) & _E2) | ((x & _E2) << _N2)
        x = ((x >> _N4) & _E4) | ((x & _E4) << _N4)
        x = ((x >> _N8) & _E8) | ((x & _E8) << _N8)
        return (x >> _N16) | ((x << _N16) & _LOW)

    @jit
    def normal(word: Any) -> float:
        q = (float(word) + 0.5) * 2.0**-32 - 0.5
        central = abs(q) <= 0.425
        r = 0.180625 - q * q
        t = math.sqrt(-log(0.5 - abs(q))) - 1.6
        top = _A3 + r * (_A4 + r * (_A5 + r * (_A6 + r * _A7)))
        middle = q * (_A0 + r * (_A1 + r * (_A2 + r * top)))
        bottom = _B3 + r * (_B4 + r * (_B5 + r * (_B6 + r * _B7)))
        per_middle = 1.0 + r * (_B1 + r * (_B2 + r * bottom))
        top = _C3 + t * (_C4 + t * (_C5 + t * (_C6 + t * _C7)))
        wing = _C0 + t * (_C1 + t * (_C2 + t * top))
        bottom = _D3 + t * (_D4 + t * (_D5 + t * (_D6 + t * _D7)))
        per_wing = 1.0 + t * (_D1 + t * (_D2 + t * bottom))
        wing = -wing if q < 0.0 else wing
        return (middle if central else wing) / (per_middle if central else per_wing)

    # not max, which compilers for cards lack
    @jit
    def larger(a: float, b: float) -> float:
        return a if a > b else b

    @jit
    def step(variance: float, z: float, constants: Any) -> Any:
        keep, mean0, from_variance, from_mean, slope, k1, k3, growth = constants
        # both branches are computed and one is taken, which vectorises; what is not taken may be anything
        m = larger(mean0 + variance * keep, _SMALLEST)
        psi = (variance * from_variance + from_mean) / (m * m)
        low = psi <= _SWITCH
        # quadratic: a (b + z)^2
        two = 2.0 / larger(psi, _SMALLEST)
        b2 = larger(two - 1.0 + math.sqrt(two * larger(two - 1.0, 0.0)), 0.0)
        a = m / (1.0 + b2)
        root = math.sqrt(b2) + z
        bent = 1.0 - 2.0 * slope * a
        # exponential: an atom at 0, then a tail
        p = (psi - 1.0) / (psi + 1.0)
        beta = (1.0 - p) / m
        tail = 0.5 * exp(-0.5 * z * z) * erfcx(abs(z) * _ROOT_HALF)
        above = tail if z > 0.0 else 1.0 - tail
        jump = larger(log(larger((1.0 - p) / above, 1.0)), 0.0) / beta
        after = a * root * root if low else jump
        # E[exp(slope * after)], which makes the discounted spot a martingale; where it is infinite, no correction
        gap = beta - slope
        finite = bent > 0.0 if low else gap > 0.0
        inside = bent if low else p + (1.0 - p) * beta / gap
        logarithm = log(inside if finite else 1.0)
        moment = slope * b2 * a / bent - 0.5 * logarithm if low else logarithm
        right = -moment - (k1 + 0.5 * k3) * variance
        return after, right if finite else growth

    return SimulationFormulas(philox, scramble, normal, step)
