"""Compiled loops behind `engine.pricing.early_exercise`: the exercise boundary by collocation, and what follows.

Everything is a put on a strike of 1; a call is a put with spot and strike, and rate and dividend, exchanged.

The boundary B is sought as H = ln(B / X)**2 at Chebyshev points of sqrt(tau), X its limit as tau goes to 0. Integrals
over the time u left at exercise run over an angle, ``u = tau cos(angle)**2``, in which the integrands are smooth at
both ends. The equations are system A of [1]_, smooth pasting. They are solved by Newton's method with the whole
Jacobian, which costs no more than the interpolation and also settles where a fixed-point iteration does not.

References
----------
.. [1] L. Andersen, M. Lake and D. Offengenden, "High-performance American option pricing", Journal of Computational
   Finance 20 (2016), doi:10.21314/JCF.2016.312: integral equations (section 3), systems A and B (section 4),
   transformations (section 5).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engine._checks import FloatArray
from engine._compile import apart, cached, digest, exponential, exponential_within, inline, log_ratio, logarithm
from engine.pricing import _formulas, _inversion

__all__ = ["AmericanKernels", "kernels", "warm"]

_Function = Callable[..., Any]

_SWEEPS = 25
_FIRST = 4
_POLICIES = 60
_FAR = 30.0  # log of how far off a side may be
_LEAST_DEPTH = 1e-9
_SETTLED = 1e-9  # the next step would move by the square of it
_LAST_PANEL = 0.02
_SMALLEST = 1e-280
_FLAT = 1e-24  # squares below are rounding alone
_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)
_erfcx = _formulas.make(inline, exponential_within, logarithm, log_ratio).erfcx


class AmericanKernels(NamedTuple):
    """The cached functions.

    Attributes
    ----------
    boundary : callable
        ``(expiry, rate, dividend, volatility, roots, sines, weights, interpolation, logs, work, started)`` fills the
        logs of the boundary at the collocation times, from a guess or, `started`, from what they hold; returns how far
        the last step moved them, and the log of X.
    premium : callable
        ``(log_spot, expiry, rate, dividend, volatility, log_limit, log_now, coefficients, panel, panel_weights)`` to
        the premium of early exercise and its first and second derivatives by spot.
    march : callable
        ``(floors, lengths, down, here, up, premium, exercised)`` marches the premium on a grid through steps of these
        lengths, above a floor for each; the generator has three diagonals. Fills the last two.
    """

    boundary: _Function
    premium: _Function
    march: _Function


@functools.cache
def kernels() -> AmericanKernels:
    """Return the functions; each is compiled, or loaded from the cache, by its first call."""
    return _build(digest(__file__, _formulas.__file__, _inversion.__file__))


@inline
def _normal(d: float) -> Any:
    """Return density and distribution at d."""
    bell = exponential(-0.5 * d * d)
    tail = 0.5 * bell * _erfcx(abs(d) * _ROOT_HALF)
    return _DENSITY * bell, tail if d < 0.0 else 1.0 - tail


@inline
def _exponent(drift: float, discounting: float, variance: float) -> float:
    """Return the negative root of the characteristic equation of a perpetual put."""
    b = 2.0 * drift / variance - 1.0
    m = 8.0 * discounting / variance
    root = math.sqrt(b * b + m)
    # of the two ways to write it, that without cancellation
    return -0.5 * (b + root) if b > 0.0 else -0.5 * m / max(root - b, _SMALLEST)


@apart
def _smooth_pasting(
    tau: float,
    rate: float,
    dividend: float,
    volatility: float,
    top_log: float,
    own: float,
    sines: FloatArray,
    weights: FloatArray,
    rows: FloatArray,
    squares: FloatArray,
    tops: FloatArray,
    bottoms: FloatArray,
    scratch: FloatArray,
) -> Any:
    """Return the two sides of system A at one time, and their derivatives by the log of the boundary there.

    `tops` and `bottoms` become the derivatives by the squares at all collocation times.
    """
    root = math.sqrt(tau)
    tilt = (rate - dividend) / volatility + 0.5 * volatility
    n = squares.size
    spread = volatility * root
    d1 = own / spread + tilt * root
    d2 = d1 - spread
    density1, below1 = _normal(d1)
    density2, _ = _normal(d2)
    owed, paid = exponential(-rate * tau) / spread, exponential(-dividend * tau)
    top, top_own = owed * density2, -owed * density2 * d2 / spread
    bottom, bottom_own = paid * (below1 + density1 / spread), paid * density1 * (1.0 - d1 / spread) / spread
    # row by row, so that the loops over the quadrature points are of vector instructions
    h, by_top, by_bottom, part_top, part_bottom = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    h[:] = 0.0
    for j in range(1, n):
        row, square = rows[j], squares[j]
        for k in range(sines.size):
            h[k] += row[k] * square
    for k in range(sines.size):
        depth = math.sqrt(max(h[k], _SMALLEST))
        s = root * sines[k]
        spread = volatility * s
        d1 = (own - top_log + depth) / spread + tilt * s
        d2 = d1 - spread
        density1, below1 = _normal(d1)
        density2, _ = _normal(d2)
        w = weights[k] * tau
        owed, paid = rate * w * exponential(-rate * s * s) / spread, dividend * w * exponential(-dividend * s * s)
        part_top[k] = owed * density2
        part_bottom[k] = paid * (below1 + density1 / spread)
        by_top[k] = -owed * density2 * d2 / spread
        by_bottom[k] = paid * density1 * (1.0 - d1 / spread) / spread
        h[k] = 0.5 / depth if h[k] > _FLAT else 0.0
    for k in range(sines.size):
        top += part_top[k]
        bottom += part_bottom[k]
        top_own += by_top[k]
        bottom_own += by_bottom[k]
        by_top[k] *= h[k]
        by_bottom[k] *= h[k]
    for j in range(1, n):
        row = rows[j]
        one = other = 0.0
        for k in range(sines.size):
            one += by_top[k] * row[k]
            other += by_bottom[k] * row[k]
        tops[j], bottoms[j] = one, other
    return top, top_own, bottom, bottom_own


@apart
def _eliminate(system: FloatArray, n: int) -> None:
    """Solve n equations by Gauss with partial pivoting; the answer takes the place of the right sides, column n."""
    for place in range(n):
        best = place
        for i in range(place + 1, n):
            if abs(system[i, place]) > abs(system[best, place]):
                best = i
        if best != place:
            for j in range(place, n + 1):
                system[place, j], system[best, j] = system[best, j], system[place, j]
        for i in range(place + 1, n):
            factor = system[i, place] / system[place, place]
            for j in range(place + 1, n + 1):
                system[i, j] -= factor * system[place, j]
    for place in range(n - 1, -1, -1):
        for j in range(place + 1, n):
            system[place, n] -= system[place, j] * system[j, n]
        system[place, n] /= system[place, place]


# of the module, as are the others: a function among the free variables would make each process compile anew
@apart
def _guess(expiry: float, rate: float, dividend: float, volatility: float, low: float, high: float) -> float:
    """Return a critical price to begin with."""
    # G. Barone-Adesi and R. Whaley, Journal of Finance 42 (1987): critical price, by Newton within its bounds
    s = volatility * math.sqrt(expiry)
    discount, growth = math.exp(-rate * expiry), math.exp(-dividend * expiry)
    discounting = rate / -math.expm1(-rate * expiry) if rate * expiry > 1e-12 else 1.0 / expiry
    exponent = _exponent(rate - dividend, discounting, volatility * volatility)
    b = high * 0.9 + 0.1 * low
    for _ in range(12):
        d1 = (math.log(b) + (rate - dividend) * expiry) / s + 0.5 * s
        density, below1 = _normal(-d1)
        _, below2 = _normal(s - d1)
        put = discount * below2 - b * growth * below1
        lost = 1.0 - growth * below1
        gap = 1.0 - b - put + lost * b / exponent
        slope = -1.0 + growth * below1 + (lost + growth * density / s) / exponent
        b = min(max(b - gap / slope, low + 0.01 * (b - low)), high - 0.01 * (high - b))
    return b


def _build(source: str) -> AmericanKernels:
    @cached
    def boundary(
        expiry: float,
        rate: float,
        dividend: float,
        volatility: float,
        roots: FloatArray,
        sines: FloatArray,
        weights: FloatArray,
        interpolation: FloatArray,
        logs: FloatArray,
        work: FloatArray,
        started: bool,
    ) -> Any:
        source  # noqa: B018 - part of the cache's key
        n = roots.size - 1
        limit = min(1.0, rate / dividend) if dividend > 0.0 else 1.0
        top_log = math.log(limit)
        exponent = _exponent(rate - dividend, rate, volatility * volatility)
        low_log = math.log(max(exponent / (exponent - 1.0), 1e-300))
        logs[0] = top_log
        for i in range(1, n + 1):
            if not started:
                tau = expiry * roots[i] * roots[i]
                logs[i] = math.log(_guess(tau, rate, dividend, volatility, math.exp(low_log), limit))
            logs[i] = min(max(logs[i], low_log), top_log - _LEAST_DEPTH)
        squares, tops, bottoms = work[n, : n + 1], work[n + 1, : n + 1], work[n + 2, : n + 1]
        scratch = np.empty((5, sines.size))
        moved = least = math.inf
        for _ in range(_SWEEPS):
            for j in range(n + 1):
                squares[j] = (logs[j] - top_log) ** 2
            for i in range(1, n + 1):
                tau = expiry * roots[i] * roots[i]
                top, top_own, bottom, bottom_own = _smooth_pasting(
                    tau,
                    rate,
                    dividend,
                    volatility,
                    top_log,
                    logs[i],
                    sines,
                    weights,
                    interpolation[i - 1],
                    squares,
                    tops,
                    bottoms,
                    scratch,
                )
                ratio = math.exp(logs[i]) * bottom / top
                if not (top > _SMALLEST and bottom > 0.0 and abs(math.log(ratio)) < _FAR):
                    # so far off that the equation says nothing: towards the one before, which is nearer to X
                    work[i - 1, : n + 1] = 0.0
                    work[i - 1, i - 1] = 1.0
                    work[i - 1, n] = 0.5 * (logs[i] - logs[i - 1])
                    continue
                for j in range(1, n + 1):
                    work[i - 1, j - 1] = 2.0 * (logs[j] - top_log) * (bottoms[j] / bottom - tops[j] / top)
                work[i - 1, i - 1] += 1.0 + bottom_own / bottom - top_own / top
                work[i - 1, n] = math.log(ratio)
            _eliminate(work, n)
            moved = 0.0
            for i in range(1, n + 1):
                after = logs[i] - work[i - 1, n]
                after = min(max(after, 0.9 * low_log + 0.1 * logs[i]), 0.9 * top_log + 0.1 * logs[i])
                moved = max(moved, abs(after - logs[i]))
                logs[i] = after
            if moved <= _SETTLED or (moved < 1e-6 and moved >= least):
                break
            least = min(least, moved)
        return moved, top_log

    @cached
    def premium(
        log_spot: float,
        expiry: float,
        rate: float,
        dividend: float,
        volatility: float,
        log_limit: float,
        log_now: float,
        coefficients: FloatArray,
        panel: FloatArray,
        panel_weights: FloatArray,
    ) -> Any:
        source  # noqa: B018 - part of the cache's key
        root = math.sqrt(expiry)
        spot = math.exp(log_spot)
        # near the boundary the integrand turns within an angle of the distance to it: panels double from there
        width = max((log_spot - log_now) / (6.0 * volatility * root), 1e-8)
        left, right = 0.0, min(width, 0.25 * math.pi)
        value = delta = gamma = 0.0
        while left < 0.5 * math.pi:
            for k in range(panel.size):
                angle = left + (right - left) * panel[k]
                sine, cosine = math.sin(angle), math.cos(angle)
                x = 2.0 * cosine - 1.0
                b1 = b2 = 0.0
                for j in range(coefficients.size - 1, 0, -1):
                    b1, b2 = coefficients[j] + 2.0 * x * b1 - b2, b1
                h = coefficients[0] + x * b1 - b2
                s = root * sine
                spread = volatility * s
                d1 = (log_spot - log_limit + math.sqrt(max(h, 0.0))) / spread
                d1 += ((rate - dividend) / volatility + 0.5 * volatility) * s
                d2 = d1 - spread
                density1, below1 = _normal(-d1)
                density2, below2 = _normal(-d2)
                w = (right - left) * panel_weights[k] * 2.0 * sine * cosine * expiry
                owed = w * rate * exponential(-rate * s * s)
                own = w * dividend * exponential(-dividend * s * s)
                value += owed * below2 - own * spot * below1
                delta += -owed * density2 / (spot * spread) - own * (below1 - density1 / spread)
                gamma += owed * density2 * (1.0 + d2 / spread) / (spot * spot * spread)
                gamma += own * density1 * (1.0 - d1 / spread) / (spot * spread)
            left = right
            right = min(2.0 * left, 0.25 * math.pi)
            if left >= 0.25 * math.pi:  # panels halve towards the end, where the boundary is steep
                gap = 0.5 * math.pi - left
                right = left + 0.5 * gap if gap > _LAST_PANEL else 0.5 * math.pi
        return value, delta, gamma

    @cached
    def march(
        floors: FloatArray,
        lengths: FloatArray,
        down: float,
        here: float,
        up: float,
        premium: FloatArray,
        exercised: Any,
    ) -> None:
        source  # noqa: B018 - part of the cache's key
        n = premium.size
        right, ratio, held, before = np.empty(n), np.empty(n), np.empty(n), np.zeros(n)
        for step in range(lengths.size):
            floor, k = floors[step + 1], lengths[step]
            # backward differences of two steps, of one at first
            growth = k / lengths[step - 1] if step >= _FIRST else 0.0
            part = (1.0 + growth) / (1.0 + 2.0 * growth)
            older = growth * growth / (1.0 + 2.0 * growth)
            for i in range(1, n - 1):
                right[i] = part * (1.0 + growth) * premium[i] - older * before[i]
            k *= part
            for _ in range(_POLICIES):
                # one sweep each way through the three diagonals, where a node that is exercised has its floor
                held[0] = max(floor[0], 0.0)
                ratio[0] = 0.0
                for i in range(1, n - 1):
                    if exercised[i]:
                        ratio[i], held[i] = 0.0, floor[i]
                    else:
                        pivot = 1.0 - k * here + k * down * ratio[i - 1]
                        ratio[i] = -k * up / pivot
                        held[i] = (right[i] + k * down * held[i - 1]) / pivot
                held[n - 1] = max(floor[n - 1], 0.0)
                for i in range(n - 2, 0, -1):
                    held[i] -= ratio[i] * held[i + 1]
                changed = False
                for i in range(1, n - 1):
                    if exercised[i]:
                        kept = right[i] + k * (down * held[i - 1] + here * held[i] + up * held[i + 1]) <= held[i]
                    else:
                        kept = held[i] < floor[i]
                    changed |= kept != exercised[i]
                    exercised[i] = kept
                if not changed:
                    break
            before[:] = premium
            premium[:] = held

    return AmericanKernels(boundary, premium, march)


def warm() -> None:
    """Compile or load every function, by a call that the public function makes."""
    from engine.pricing import american

    american(100.0, 100.0, 1.0, 0.05, 0.03, 0.25, "put", tolerance=1e-2)
    kernels().march(np.zeros((2, 3)), np.ones(1), 0.0, -1.0, 0.0, np.zeros(3), np.zeros(3, np.bool_))
