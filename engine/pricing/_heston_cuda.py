"""The integrals of `engine.pricing._heston_contour` on an NVIDIA card, one thread an option.

Results and rows are those of `engine.pricing._heston_kernels.integrate`; an option shares nothing with its neighbours.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numba.cuda
import numpy as np

from engine._checks import FloatArray
from engine.errors import DeviceMissing
from engine.pricing import _heston_contour, _heston_formulas
from engine.pricing._heston_contour import CORE, END, FULL, HALVINGS, NOTHING, PRICE, SETTLED, TAIL

cuda: Any = numba.cuda  # untyped

__all__ = ["integrate", "source"]

_ON_CARD = 1 << 20  # options on the card at a time
_THREADS = 128


def integrate(
    models: FloatArray,
    starts: Any,
    x: FloatArray,
    rows: int,
    values: FloatArray,
    gaps: FloatArray,
    on_card: int = _ON_CARD,
) -> None:
    """Fill the results, of shape (rows, n), and the largest difference of two rules in each slice."""
    if not cuda.is_available():
        raise DeviceMissing
    kernel = _compiled()
    lengths = np.diff(starts)
    columns = np.vstack([x[None], np.repeat(models, lengths, axis=1)])
    settled = np.empty(x.size)
    for first in range(0, x.size, on_card):
        last = min(first + on_card, x.size)
        found = cuda.device_array((rows + 1, last - first))
        block = cuda.to_device(np.ascontiguousarray(columns[:, first:last]))
        kernel[-(-(last - first) // _THREADS), _THREADS](block, rows, found)
        host = found.copy_to_host()
        values[:, first:last], settled[first:last] = host[:rows], host[rows]
    gaps[:] = np.maximum.reduceat(settled, starts[:-1])


@functools.cache
def _compiled() -> Any:
    return cuda.jit(source())


def source() -> Callable[..., None]:
    """Return the kernel as Python: the columns of the options, the number of rows, the results and their gaps."""

    def device(function: Callable[..., Any]) -> Callable[..., Any]:
        return cuda.jit(device=True)(function)  # type: ignore[no-any-return]

    formulas = _heston_formulas.make(device)
    contours = _heston_contour.make(device, formulas)
    variance, black, width, side_of = formulas.variance, formulas.black, contours.width, contours.side
    contour, price_term, all_terms = contours.contour, contours.price_term, contours.all_terms

    def kernel(block: Any, rows: int, results: Any) -> None:
        i = cuda.grid(1)
        if i >= block.shape[1]:
            return
        x, t, v0, kappa = block[0, i], block[1, i], block[2, i], block[3, i]
        theta, sigma, rho = block[4, i], block[5, i], block[6, i]
        w = variance(t, v0, kappa, theta)
        core = width(CORE, w, t, v0, kappa, theta, sigma, rho)
        tail = width(TAIL, w, t, v0, kappa, theta, sigma, rho)
        end = width(END, w, t, v0, kappa, theta, sigma, rho)
        side = side_of(x, core, tail, end)
        near = x if side else 0.0
        b, omega, step = contour(side, -side * x, w, t, v0, kappa, theta, sigma, rho)
        least = 1.0 / core[0] if rows == FULL else 0.0
        sums = cuda.local.array(FULL, np.float64)
        for row in range(FULL):
            sums[row] = 0.0
        begin, gap, before = 0.0, 0.0, 0.0
        for level in range(HALVINGS + 1):
            before, y, size = sums[0], begin, 1.0
            while size > NOTHING and y < 300.0:
                if rows == PRICE:
                    u, term, size = price_term(y, b, omega, near, w, t, v0, kappa, theta, sigma, rho)
                    angle, shrink = (x - near) * u.real, math.exp(-(x - near) * u.imag)
                    sums[0] += shrink * (term.real * math.cos(angle) - term.imag * math.sin(angle))
                else:
                    found = all_terms(y, b, omega, near, w, least, t, v0, kappa, theta, sigma, rho)
                    size = found[10]
                    angle = (x - near) * found[0].real
                    shrink = math.exp(-(x - near) * found[0].imag)
                    turn = complex(shrink * math.cos(angle), shrink * math.sin(angle))
                    sums[0] += (found[1] * turn).real
                    sums[1] += (found[2] * turn).real
                    sums[2] += (found[3] * turn).real
                    sums[3] += (found[4] * turn).real
                    sums[4] += (found[5] * turn).real
                    sums[5] += (found[6] * turn).real
                    sums[6] += (found[7] * turn).real
                    sums[7] += (found[8] * turn).real
                    sums[8] += (found[9] * turn).real
                y += step
            gap = step / math.pi * abs(2.0 * before - sums[0])
            if level > 0:
                step *= 0.5
                if gap < SETTLED:
                    break
            begin = 0.5 * step
        for row in range(rows):
            results[row, i] = step / math.pi * sums[row]
        time_value, delta, gamma = black(x, w)
        results[0, i] += time_value
        if rows == FULL:
            results[7, i] += delta
            results[8, i] += gamma
        results[rows, i] = gap

    return kernel
