"""The formulas of `engine.risk._revaluation_formulas` on an NVIDIA card.

A thread holds one scenario and one block of positions. Where a formula leaves out a position the sum is nan, for the
CPU to compute.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numba.cuda

from engine._checks import FloatArray
from engine._device import require_card
from engine.pricing import _formulas
from engine.risk import _revaluation_formulas

cuda: Any = numba.cuda  # untyped

__all__ = ["revalue", "source"]

_ON_CARD = 1 << 25  # figures of the result on the card at a time: 256 MiB
_THREADS = 128
_MOST_BLOCKS = 32_768  # of a grid's second dimension


def revalue(
    blocks: Any,
    market: FloatArray,
    positions: FloatArray,
    moves: FloatArray,
    shifts: FloatArray,
    sums: FloatArray,
    by_position: FloatArray,
    on_card: int = _ON_CARD,
) -> None:
    """Fill the sums by block, and by position where it has rows; nan where the formulas do not hold.

    The arguments are those of `engine.risk._revaluation_kernels`; blocks go to the card as many at a time as their
    results find room.
    """
    require_card()
    kernel = _compiled()
    resident = tuple(cuda.to_device(array) for array in (market, moves, shifts))
    n_scenarios = moves.shape[2]
    start = 0
    while start < len(blocks):
        end = start + 1
        first = int(blocks[start, 1])
        most = min(len(blocks), start + _MOST_BLOCKS)
        while end < most and _figures(blocks, start, end + 1, n_scenarios, by_position) <= on_card:
            end += 1
        last = int(blocks[end - 1, 2])
        here = blocks[start:end].copy()
        here[:, 1:] -= first
        total = cuda.device_array((end - start, n_scenarios))
        gained = cuda.device_array((last - first, n_scenarios) if by_position.shape[0] else (0, n_scenarios))
        grid = (-(-n_scenarios // _THREADS), end - start)
        kernel[grid, _THREADS](
            cuda.to_device(here), resident[0], cuda.to_device(positions[:, first:last].copy()),
            resident[1], resident[2], total, gained,
        )  # fmt: skip
        sums[start:end] = total.copy_to_host()
        if by_position.shape[0]:
            by_position[first:last] = gained.copy_to_host()
        start = end


def _figures(blocks: Any, start: int, end: int, n_scenarios: int, by_position: FloatArray) -> int:
    """Results of some blocks."""
    positions = int(blocks[end - 1, 2] - blocks[start, 1]) if by_position.shape[0] else 0
    return (end - start + positions) * n_scenarios


@functools.cache
def _compiled() -> Any:
    return cuda.jit(source())


def source() -> Callable[..., None]:
    """Return the kernel as a Python function, whose formulas are compiled for the card."""

    def device(function: Callable[..., Any]) -> Callable[..., Any]:
        return cuda.jit(device=True)(function)  # type: ignore[no-any-return]

    tails = _formulas.make(device, math.exp, math.log).tails
    moved = _revaluation_formulas.make(device, math.exp, tails).moved

    def kernel(blocks: Any, market: Any, positions: Any, moves: Any, shifts: Any, sums: Any, by_position: Any) -> None:
        j = cuda.grid(1)
        b = cuda.blockIdx.y
        if j < sums.shape[1]:
            u = blocks[b, 0]
            spot, rate, dividend = market[0, u], market[1, u], market[2, u]
            factor, log_factor, d_volatility = moves[0, u, j], moves[1, u, j], moves[2, u, j]
            d_rate, passed = shifts[0, j], shifts[1, j]
            total = 0.0
            for i in range(blocks[b, 1], blocks[b, 2]):
                strike, time, sign = positions[0, i], positions[1, i], positions[3, i]
                if sign == 0.0:
                    found = (
                        spot * factor * math.exp((rate + d_rate - dividend) * (time - passed if time > passed else 0.0))
                    )
                else:
                    found = moved(
                        spot, rate, dividend, strike, positions[6, i], time, positions[2, i], sign,
                        factor, log_factor, d_volatility, d_rate, passed,
                    )  # fmt: skip
                gained = positions[4, i] * (found - positions[5, i])
                total += gained
                if by_position.shape[0]:
                    by_position[i, j] = gained
            sums[b, j] = total

    return kernel
