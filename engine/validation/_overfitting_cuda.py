"""The halves of `engine.validation.overfitting` on an NVIDIA card: a block of threads for each pair of halves.

The ratio is compiled from the same source as for the CPU.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numba.cuda
import numpy as np
from numba import float64, int64

from engine._checks import FloatArray
from engine.errors import DeviceMissing
from engine.validation._overfitting_kernels import make_quality

cuda: Any = numba.cuda  # untyped

__all__ = ["halves", "source"]

_ON_CARD = 1 << 16  # pairs at a time
_THREADS = 128


def halves(masks: Any, tables: Any) -> FloatArray:
    """Return what the CPU's loop of this name returns, of shape (2, 4, n_pairs)."""
    if not cuda.is_available():
        raise DeviceMissing
    sums = [cuda.to_device(np.ascontiguousarray(each)) for each in (tables.upper, tables.lower, tables.whole)]
    means = cuda.to_device(tables.means)
    lengths = [cuda.to_device(np.ascontiguousarray(each, dtype=np.float64)) for each in tables.lengths]
    found = np.empty((2, 4, masks.size))
    for first in range(0, masks.size, _ON_CARD):
        part = np.ascontiguousarray(masks[first : first + _ON_CARD])
        computed = cuda.device_array((2, 4, part.size))
        _compiled()[(part.size, 2), _THREADS](
            cuda.to_device(part), tables.low_bits, *sums, means, *lengths, float(tables.n_periods), computed
        )
        found[:, :, first : first + part.size] = computed.copy_to_host()
    return found


@functools.cache
def _compiled() -> Any:
    return cuda.jit(source())


def source() -> Callable[..., None]:
    """Return the kernel as a Python function, whose formulas are compiled for the card."""
    quality = make_quality(cuda.jit(device=True))

    @cuda.jit(device=True)  # type: ignore[untyped-decorator]
    def ratio(
        upper: Any, lower: Any, whole: Any, means: Any, high: int, low: int, j: int, inside: float, outside: float
    ) -> Any:
        """Ratio of one strategy in the half, or with `inside` below 0 in the other half."""
        total = upper[0, high, j] + lower[0, low, j]
        squares = upper[1, high, j] + lower[1, low, j]
        if inside < 0.0:
            return quality(whole[0, j] - total, whole[1, j] - squares, means[j], outside)
        return quality(total, squares, means[j], inside)

    def kernel(
        masks: Any,
        low_bits: int,
        upper: Any,
        lower: Any,
        whole: Any,
        means: Any,
        upper_lengths: Any,
        lower_lengths: Any,
        n_periods: float,
        found: Any,
    ) -> None:
        best = cuda.shared.array(_THREADS, float64)
        place = cuda.shared.array(_THREADS, int64)
        counts = cuda.shared.array((2, _THREADS), int64)
        pair, side, thread = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
        high, low = masks[pair] >> low_bits, masks[pair] & ((1 << low_bits) - 1)
        inside = upper_lengths[high] + lower_lengths[low]
        # of one side the half is the sample, of the other what is missing to the whole
        sample = inside if side == 0 else -1.0
        rest = -1.0 if side == 0 else inside
        outside = n_periods - inside
        best[thread], place[thread] = -math.inf, means.size
        for j in range(thread, means.size, _THREADS):
            value = ratio(upper, lower, whole, means, high, low, j, sample, outside)
            if value > best[thread] or place[thread] == means.size:
                best[thread], place[thread] = value, j
        cuda.syncthreads()
        step = _THREADS // 2
        while step > 0:
            if thread < step:
                value, j = best[thread + step], place[thread + step]
                if j < means.size and (value > best[thread] or (value == best[thread] and j < place[thread])):
                    best[thread], place[thread] = value, j
            cuda.syncthreads()
            step //= 2
        chosen = place[0]
        level = ratio(upper, lower, whole, means, high, low, chosen, rest, outside)
        less = equal = 0
        for j in range(thread, means.size, _THREADS):
            value = ratio(upper, lower, whole, means, high, low, j, rest, outside)
            if j == chosen or value == level:
                equal += 1
            elif value < level:
                less += 1
        counts[0, thread], counts[1, thread] = less, equal
        cuda.syncthreads()
        step = _THREADS // 2
        while step > 0:
            if thread < step:
                counts[0, thread] += counts[0, thread + step]
                counts[1, thread] += counts[1, thread + step]
            cuda.syncthreads()
            step //= 2
        if thread == 0:
            found[side, 0, pair] = chosen
            found[side, 1, pair] = counts[0, 0] + 0.5 * (counts[1, 0] + 1)
            found[side, 2, pair] = best[0]
            found[side, 3, pair] = level

    return kernel
