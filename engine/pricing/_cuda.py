"""The formulas of `engine.pricing` on an NVIDIA card, for arrays in main memory and for arrays that lie on it.

The arguments travel as one block of seven rows, the results as another. Each kernel of branch-free formulas is
followed by one that computes what these left out, so that the figures are those of the processor.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numba.cuda
import numpy as np

from engine._checks import FloatArray
from engine.pricing import _formulas, _limits
from engine.pricing._batches import Batch

cuda: Any = numba.cuda  # untyped

__all__ = ["Kernels", "european", "implied", "kernels", "resident"]

_Function = Callable[..., Any]

_ON_CARD = 1 << 19  # options under way at a time, twice: 134 MB of main memory that cannot be swapped
_THREADS = 256


class Kernels(NamedTuple):
    """The compiled kernels.

    Attributes
    ----------
    european, implied : callable
        A block of shape (7, n) and the results, of shape (9, n) and (1, n).
    european_rest, implied_rest : callable
        The same, and a counter: compute the places that are nan, and count those that remain so.
    """

    european: _Function
    european_rest: _Function
    implied: _Function
    implied_rest: _Function


def european(options: Batch, results: FloatArray, on_card: int = _ON_CARD) -> int:
    """Fill the results, of shape (9, n); return how many are nan because an argument is invalid."""
    return _stream(kernels().european, kernels().european_rest, options, results, on_card)


def implied(options: Batch, results: FloatArray, on_card: int = _ON_CARD) -> int:
    """Fill the results, of shape (1, n); return how many are nan."""
    return _stream(kernels().implied, kernels().implied_rest, options, results, on_card)


def resident(which: str, arrays: Any, arguments: Sequence[Any], rows: int) -> tuple[Any, int]:
    """Compute where the arguments lie.

    Parameters
    ----------
    which : {"european", "implied"}
    arrays : module
        cupy, or what has its functions.
    arguments : sequence of seven arrays or floats
        Of shapes that broadcast; what lies in main memory is carried over.
    rows : int

    Returns
    -------
    results : array of shape ``(rows, *shape)``
        On the card.
    invalid : int
        Number of results that are nan.
    """
    columns = [arrays.asarray(values, dtype=np.float64) for values in arguments]
    shape = np.broadcast_shapes(*(column.shape for column in columns))
    results = arrays.empty((rows, math.prod(shape)))
    if results.size == 0:
        return results.reshape(rows, *shape), 0
    block = _rows_of_one(columns)
    if block is None:
        block = arrays.stack([arrays.broadcast_to(column, shape).reshape(-1) for column in columns])
    counter = arrays.zeros(1, dtype=np.int64)
    grid = -(-results.shape[1] // _THREADS)
    getattr(kernels(), which)[grid, _THREADS](block, results)
    getattr(kernels(), f"{which}_rest")[grid, _THREADS](block, results, counter)
    return results.reshape(rows, *shape), int(counter[0])


def _rows_of_one(columns: list[Any]) -> Any:
    """Return the block of which the columns are the rows, in order; None where they are not."""
    block = columns[0].base
    if block is None or block.shape != (len(columns), *columns[0].shape) or columns[0].ndim != 1:
        return None
    rows = list(block)
    same = all(
        column.base is block and column.strides == row.strides and _address(column) == _address(row)
        for column, row in zip(columns, rows, strict=True)
    )
    return block if same else None


def _address(array: Any) -> int:
    interface = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return int(interface["data"][0])


def _stream(kernel: _Function, rest: _Function, options: Batch, results: FloatArray, on_card: int) -> int:
    """Send block after block, two at a time: one travels while the other is computed."""
    n = options.size
    length = min(on_card, n)
    slots = [_Slot(len(options.columns), len(results), length) for _ in range(2)] if n else []
    invalid = 0
    for turn, first in enumerate(range(0, n, on_card)):
        slot = slots[turn % 2]
        invalid += slot.collect(results)
        slot.send(kernel, rest, options, first, min(first + on_card, n))
    return invalid + sum(slot.collect(results) for slot in slots)


class _Slot:
    """Memory for one block here and on the card, and the queue of what is to be done with it."""

    def __init__(self, columns: int, rows: int, length: int) -> None:
        self.queue = cuda.stream()
        self.given = cuda.pinned_array(columns * length, dtype=np.float64)
        self.found = cuda.pinned_array(rows * length, dtype=np.float64)
        self.count = cuda.pinned_array(1, dtype=np.int64)
        self.given_there = cuda.device_array(columns * length, dtype=np.float64)
        self.found_there = cuda.device_array(rows * length, dtype=np.float64)
        self.count_there = cuda.device_array(1, dtype=np.int64)
        self.place: tuple[int, int] | None = None

    def send(self, kernel: Any, rest: Any, options: Batch, first: int, last: int) -> None:
        """Queue the way there, the work, and the way back."""
        n = last - first
        block = self.given[: len(options.columns) * n].reshape(-1, n)
        for row, column, step in zip(block, options.columns, options.steps, strict=True):
            row[:] = column[first:last] if step else column[0]
        rows = len(self.found) // (len(self.given) // len(options.columns))
        there = self.given_there[: block.size]
        back = self.found_there[: rows * n]
        self.count[0] = 0
        there.copy_to_device(block.reshape(-1), stream=self.queue)
        self.count_there.copy_to_device(self.count, stream=self.queue)
        grid = -(-n // _THREADS)
        kernel[grid, _THREADS, self.queue](there.reshape(len(block), n), back.reshape(rows, n))
        rest[grid, _THREADS, self.queue](there.reshape(len(block), n), back.reshape(rows, n), self.count_there)
        back.copy_to_host(self.found[: rows * n], stream=self.queue)
        self.count_there.copy_to_host(self.count, stream=self.queue)
        self.place = first, last

    def collect(self, results: FloatArray) -> int:
        """Wait for the block that is under way, if one is, and put it into its place."""
        if self.place is None:
            return 0
        self.queue.synchronize()
        first, last = self.place
        results[:, first:last] = self.found[: len(results) * (last - first)].reshape(len(results), -1)
        self.place = None
        return int(self.count[0])


def sources() -> Kernels:
    """Return the kernels as Python functions, whose formulas are compiled for the card."""

    def device(function: _Function) -> _Function:
        return cuda.jit(device=True)(function)  # type: ignore[no-any-return]

    formulas = _formulas.make(device, math.exp, math.log)
    limits = _limits.make(device, formulas)
    fast, careful = formulas.european, limits.european
    fast_implied, careful_implied = formulas.inversion.implied, limits.implied

    def european(block: Any, results: Any) -> None:
        i = cuda.grid(1)
        if i < block.shape[1]:
            found = fast(block[0, i], block[1, i], block[2, i], block[3, i], block[4, i], block[5, i], block[6, i])
            results[0, i] = found[0]
            results[1, i] = found[1]
            results[2, i] = found[2]
            results[3, i] = found[3]
            results[4, i] = found[4]
            results[5, i] = found[5]
            results[6, i] = found[6]
            results[7, i] = found[7]
            results[8, i] = found[8]

    def european_rest(block: Any, results: Any, count: Any) -> None:
        i = cuda.grid(1)
        if i < block.shape[1] and results[0, i] != results[0, i]:
            found = careful(block[0, i], block[1, i], block[2, i], block[3, i], block[4, i], block[5, i], block[6, i])
            results[0, i] = found[0]
            results[1, i] = found[1]
            results[2, i] = found[2]
            results[3, i] = found[3]
            results[4, i] = found[4]
            results[5, i] = found[5]
            results[6, i] = found[6]
            results[7, i] = found[7]
            results[8, i] = found[8]
            if found[0] != found[0]:
                cuda.atomic.add(count, 0, 1)

    def implied(block: Any, results: Any) -> None:
        i = cuda.grid(1)
        if i < block.shape[1]:
            results[0, i] = fast_implied(
                block[0, i], block[1, i], block[2, i], block[3, i], block[4, i], block[5, i], block[6, i]
            )

    def implied_rest(block: Any, results: Any, count: Any) -> None:
        i = cuda.grid(1)
        if i < block.shape[1] and results[0, i] != results[0, i]:
            found = careful_implied(
                block[0, i], block[1, i], block[2, i], block[3, i], block[4, i], block[5, i], block[6, i]
            )
            results[0, i] = found
            if found != found:
                cuda.atomic.add(count, 0, 1)

    return Kernels(european, european_rest, implied, implied_rest)


@functools.cache
def kernels() -> Kernels:
    """Return the kernels; each is compiled by its first launch."""
    return Kernels(*(cuda.jit(source) for source in sources()))
