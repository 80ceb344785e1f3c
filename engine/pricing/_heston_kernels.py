"""Compiled loops behind the Heston model: options of one expiry and one model share every point of the contour."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engine._checks import FloatArray
from engine._compile import _bits, apart, cached, digest, exponential, inline
from engine.pricing import _heston_contour, _heston_formulas
from engine.pricing._heston_contour import CORE, END, FULL, HALVINGS, NOTHING, PRICE, SETTLED, TAIL

__all__ = ["cosine_sine", "integrate", "warm"]

_formulas = _heston_formulas.make(apart)
_contours = _heston_contour.make(apart, _formulas)
_variance, _black, _width, _side = _formulas.variance, _formulas.black, _contours.width, _contours.side
_contour, _price_term, _all_terms = _contours.contour, _contours.price_term, _contours.all_terms

_PER_QUARTER = 2.0 / math.pi
_QUARTER_HIGH, _QUARTER_MIDDLE, _QUARTER_LOW = (
    1.57079632673412561417,
    6.07710050630396597660e-11,
    2.0222662487959506e-21,
)
_ROUND = 6755399441055744.0  # 1.5 * 2**52: adding it leaves the nearest integer in the low bits
# (sin r - r) / r^3 and (cos r - 1 + r^2 / 2) / r^4 in r^2, from fdlibm's k_sin.c and k_cos.c
(_S1, _S2, _S3, _S4, _S5, _S6) = (
    -1.66666666666666324348e-01,
    8.33333333332248946124e-03,
    -1.98412698298579493134e-04,
    2.75573137070700676789e-06,
    -2.50507602534068634195e-08,
    1.58969099521155010221e-10,
)
(_C1, _C2, _C3, _C4, _C5, _C6) = (
    4.16666666666666019037e-02,
    -1.38888888888741095749e-03,
    2.48015872894767294178e-05,
    -2.75573143513906633035e-07,
    2.08757232129817482790e-09,
    -1.13596475577881948265e-11,
)


@inline
def cosine_sine(angle: float) -> tuple[float, float]:
    """Return both without a branch, to 1 unit of rounding of 1 for |angle| < 1e6, and bounded beyond."""
    shifted = angle * _PER_QUARTER + _ROUND
    turns = shifted - _ROUND
    r = ((angle - turns * _QUARTER_HIGH) - turns * _QUARTER_MIDDLE) - turns * _QUARTER_LOW
    r = min(max(r, -1.0), 1.0)
    z = r * r
    sine = r + r * z * (_S1 + z * (_S2 + z * (_S3 + z * (_S4 + z * (_S5 + z * _S6)))))
    cosine = 1.0 - 0.5 * z + z * z * (_C1 + z * (_C2 + z * (_C3 + z * (_C4 + z * (_C5 + z * _C6)))))
    quarter = _bits(shifted)
    first = sine if quarter & 1 else cosine
    second = cosine if quarter & 1 else sine
    return (-first if (quarter + 1) & 2 else first), (-second if quarter & 2 else second)


@apart
def sweep(
    begin: float,
    step: float,
    b: float,
    omega: float,
    near: float,
    w: float,
    least: float,
    model: Any,
    rows: int,
    n: int,
    x: FloatArray,
    sums: FloatArray,
    turned: FloatArray,
) -> None:
    """Add the integrand at `begin`, `begin + step` and so on, until it has vanished."""
    expiry, v0, kappa, theta, sigma, rho = model
    y, size = begin, 1.0
    terms = np.empty(9, np.complex128)
    real_turn, imaginary_turn = turned[0], turned[1]
    while size > NOTHING and y < 300.0:
        if rows == PRICE:
            u, terms[0], size = _price_term(y, b, omega, near, w, expiry, v0, kappa, theta, sigma, rho)
        else:
            found = _all_terms(y, b, omega, near, w, least, expiry, v0, kappa, theta, sigma, rho)
            u, size = found[0], found[10]
            terms[0], terms[1], terms[2], terms[3], terms[4] = found[1], found[2], found[3], found[4], found[5]
            terms[5], terms[6], terms[7], terms[8] = found[6], found[7], found[8], found[9]
        for i in range(n):
            t = x[i] - near
            cosine, sine = cosine_sine(t * u.real)
            shrink = exponential(-t * u.imag)
            real_turn[i], imaginary_turn[i] = shrink * cosine, shrink * sine
        for row in range(rows):
            real, imaginary = terms[row].real, terms[row].imag
            total = sums[row]
            for i in range(n):
                total[i] += real * real_turn[i] - imaginary * imaginary_turn[i]
        y += step


@functools.cache
def integrate() -> Callable[..., Any]:
    """Return the loop over slices: options that share expiry and model.

    It takes the models, of shape (6, n_slices): expiry, v0, kappa, theta, sigma, rho; where each slice starts, and
    the end; the logarithms of forward over strike, by slice; the number of rows; the results, of shape (rows, n), and
    the difference of the last two rules, of shape (n_slices,); the first slice, and the one after the last.

    Row 0 is the time value over the root of discounted spot times discounted strike. Scaled alike follow its
    derivatives to the five parameters, to expiry at the same discounted spot and strike, and what spot, and its
    square, times the first and second derivative to spot are.
    """
    return _build(digest(__file__, _heston_formulas.__file__, _heston_contour.__file__))


def _build(source: str) -> Callable[..., Any]:
    @cached
    def slices(
        models: FloatArray,
        starts: Any,
        x: FloatArray,
        rows: int,
        values: FloatArray,
        gaps: FloatArray,
        another: bool,
        first: int,
        last: int,
    ) -> None:
        source  # noqa: B018 - part of the cache's key
        longest = 0
        for k in range(first, last):
            longest = max(longest, starts[k + 1] - starts[k])
        places = np.empty(longest, np.int64)
        chosen = np.empty(longest)
        sums, between = np.empty((rows, longest)), np.empty((rows, longest))
        turned = np.empty((2, longest))
        for k in range(first, last):
            model = (models[0, k], models[1, k], models[2, k], models[3, k], models[4, k], models[5, k])
            w = _variance(model[0], model[1], model[2], model[3])
            core = _width(CORE, w, model[0], model[1], model[2], model[3], model[4], model[5])
            tail = _width(TAIL, w, model[0], model[1], model[2], model[3], model[4], model[5])
            end = _width(END, w, model[0], model[1], model[2], model[3], model[4], model[5])
            least = 1.0 / core[0] if rows == FULL else 0.0  # gamma is compared with the width of its integral
            gaps[k] = 0.0
            for side in range(-1, 2):
                n, near, against = 0, math.inf, 0.0
                for i in range(starts[k], starts[k + 1]):
                    if _side(x[i], core, tail, end) == side:
                        places[n], chosen[n] = i, x[i]
                        near, against = min(near, side * x[i]), max(against, -side * x[i])
                        n += 1
                if n == 0:
                    continue
                near *= side
                b, omega, step = _contour(side, against, w, model[0], model[1], model[2], model[3], model[4], model[5])
                if another:
                    b, omega, step = 0.7 * b, 0.8 * omega, 0.5 * step
                sums[:] = 0.0
                begin, gap = 0.0, math.inf
                for level in range(HALVINGS + 1):
                    between[:] = 0.0
                    sweep(begin, step, b, omega, near, w, least, model, rows, n, chosen, between, turned)
                    gap = 0.0
                    for i in range(n):
                        gap = max(gap, step / math.pi * abs(sums[0, i] - between[0, i]))
                        for row in range(rows):
                            sums[row, i] += between[row, i]
                    if level:
                        step *= 0.5
                        if gap < SETTLED:
                            break
                    begin = 0.5 * step
                gaps[k] = max(gaps[k], gap) if gap == gap else math.nan
                for j in range(n):
                    i = places[j]
                    for row in range(rows):
                        values[row, i] = step / math.pi * sums[row, j]
                    time_value, delta, gamma = _black(x[i], w)
                    values[0, i] += time_value
                    if rows == FULL:
                        values[7, i] += delta
                        values[8, i] += gamma

    return slices


def warm() -> None:
    """Compile or load the loop, by a call that the public function makes."""
    from engine.pricing import heston_price

    heston_price(100.0, 100.0, 1.0, 0.02, 0.01, "call", 0.04, 1.0, 0.04, 0.5, -0.5)
