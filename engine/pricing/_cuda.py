"""The formulas of `engine.pricing._formulas` on an NVIDIA card.

What the formulas leave out comes back as nan, for the CPU to compute.
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
from engine.pricing import _formulas
from engine.pricing._batches import Batch

cuda: Any = numba.cuda  # untyped

__all__ = ["european"]

_ON_CARD = 1 << 22  # options on the card at a time: 512 MiB of inputs and results
_THREADS = 256


def european(options: Batch, results: FloatArray, on_card: int = _ON_CARD) -> None:
    """Fill the results, of shape (9, n), in blocks of `on_card` options; nan where the formulas do not hold."""
    if not cuda.is_available():
        raise DeviceMissing
    kernel = _compiled()
    for first in range(0, options.size, on_card):
        last = min(first + on_card, options.size)
        block = np.empty((len(options.columns), last - first))
        for row, (column, step) in enumerate(zip(options.columns, options.steps, strict=True)):
            block[row] = column[first:last] if step else column[0]
        computed = cuda.device_array((len(results), last - first))
        kernel[-(-(last - first) // _THREADS), _THREADS](cuda.to_device(block), computed)
        results[:, first:last] = computed.copy_to_host()


@functools.cache
def _compiled() -> Any:
    def device(function: Callable[..., Any]) -> Callable[..., Any]:
        return cuda.jit(device=True)(function)  # type: ignore[no-any-return]

    formula = _formulas.make(device, math.exp, math.log).european

    @cuda.jit  # type: ignore[untyped-decorator]
    def kernel(block: Any, results: Any) -> None:
        i = cuda.grid(1)
        if i < block.shape[1]:
            found = formula(block[0, i], block[1, i], block[2, i], block[3, i], block[4, i], block[5, i], block[6, i])
            results[0, i] = found[0]
            results[1, i] = found[1]
            results[2, i] = found[2]
            results[3, i] = found[3]
            results[4, i] = found[4]
            results[5, i] = found[5]
            results[6, i] = found[6]
            results[7, i] = found[7]
            results[8, i] = found[8]

    return kernel
