"""Columns of options: what the public functions take, as flat arrays for the compiled loops, and their threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine._checks import FloatArray, numeric, unmasked
from engine.errors import InvalidInput, NotFinite

__all__ = ["SIGNS", "Batch", "batch", "floats", "named", "raise_first", "run", "sign_of"]

_WORTH_A_THREAD = 2e-3  # seconds of work below which starting threads costs more than it saves
SIGNS = {"call": 1.0, "put": -1.0}
_SCALARS = frozenset({float, int, *(np.dtype(code).type for code in "bBhHiIlLqQefd")})
_NOT_NEGATIVE = {"spot", "expiry", "volatility"}


class Batch(NamedTuple):
    """Options as columns.

    Attributes
    ----------
    columns : tuple of ndarray
        Flat, contiguous; a constant is repeated to the length of a block. None for a single option.
    steps : tuple of int
        1 for a column of values, 0 for a constant.
    shape : tuple of int
        Shape of the result.
    given : dict of str to ndarray
        The arguments as they came, for messages.
    """

    columns: tuple[FloatArray, ...]
    steps: tuple[int, ...]
    shape: tuple[int, ...]
    given: dict[str, FloatArray]

    @property
    def size(self) -> int:
        """Number of options."""
        return math.prod(self.shape)


def sign_of(kind: ArrayLike) -> FloatArray | float:
    """Return +1 for a call and -1 for a put."""
    if hasattr(kind, "__cuda_array_interface__"):
        return kind  # type: ignore[return-value]
    if isinstance(kind, str):
        try:
            return SIGNS[kind]
        except KeyError:
            raise InvalidInput("kind", f"is {kind!r}; must be 'call', 'put' or an array of +1 and -1") from None
    try:
        given = unmasked(kind)
    except ValueError:  # ragged, which is said below
        return _numbers("kind", kind)
    if given.dtype.kind == "U" or (given.dtype.kind == "O" and any(isinstance(each, str) for each in given.flat)):
        return _signs(given)
    return _numbers("kind", given)


def _signs(words: NDArray[Any]) -> FloatArray:
    """Return +1 and -1 for an array of words; among these, numbers stand for themselves."""
    if words.dtype.kind == "U":
        signs = np.where(words == "call", 1.0, np.where(words == "put", -1.0, np.nan))
    else:
        numbers = (SIGNS.get(word, math.nan) if isinstance(word, str) else _one_number(word) for word in words.flat)
        signs = np.fromiter(numbers, np.float64, words.size).reshape(words.shape)
    wrong = np.abs(signs) != 1.0
    if wrong.any():
        place = _place(wrong)
        raise InvalidInput("kind", f"is {words[place or ()]!s}; must be 'call', 'put', +1 or -1", place)
    return signs


def _one_number(value: Any) -> float:
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError):
        return math.nan


def floats(kind: ArrayLike, *values: ArrayLike) -> tuple[float, ...] | None:
    """Return the values and the sign as floats where each is a plain number, or None: arrays take another way."""
    one = SIGNS.get(kind) if type(kind) is str else kind
    if type(one) not in _SCALARS or not _SCALARS.issuperset(map(type, values)):
        return None
    try:
        return (*map(float, values), float(one))  # type: ignore[arg-type]
    except OverflowError:  # an integer above every float
        return None


def named(arguments: Sequence[Any], bring: Callable[[Any], Any], first: str = "spot") -> dict[str, FloatArray]:
    """Return the arguments in main memory under their names, for messages; `bring` fetches an array from a card."""
    names = ("spot", "strike", "expiry", "rate", "dividend", "volatility", "kind")
    if first == "price":
        names = ("price", *names[:5], "kind")
    return {
        name: _numbers(name, bring(values) if hasattr(values, "__cuda_array_interface__") else values)
        for name, values in zip(names, arguments, strict=True)
    }


def batch(block: int, **arguments: ArrayLike) -> Batch:
    """Broadcast the arguments; constants become columns of length `block`."""
    given = {name: _numbers(name, values) for name, values in arguments.items()}
    shape: tuple[int, ...] = ()
    for name, values in given.items():
        if values.shape == shape:
            continue
        try:
            shape = np.broadcast_shapes(shape, values.shape)
        except ValueError:
            problem = f"has shape {values.shape}, which does not broadcast with {shape} of the arguments before it"
            raise InvalidInput(name, problem) from None
    columns = tuple(_column(values, shape, block) for values in given.values() if shape)
    steps = tuple(int(values.size != 1) for values in given.values())
    return Batch(columns, steps, shape, given)


def _column(values: FloatArray, shape: tuple[int, ...], block: int) -> FloatArray:
    """One column; of one type for the compiler whatever it came from, as each type would be compiled anew."""
    if values.size == 1:
        column = np.empty(block)
        column.fill(values.item())
    elif values.shape == shape and values.flags.c_contiguous and values.flags.aligned:
        column = values.reshape(-1)
    else:
        column = np.require(np.broadcast_to(values, shape), np.float64, ["C", "A"]).reshape(-1)
    # of a view, never of the caller's own array
    column = column.view()
    column.flags.writeable = False
    return column


def run(
    kernel: Callable[..., Any], options: Batch, results: FloatArray, block: int, *, seconds_per_option: float
) -> int:
    """Run a block kernel over all options, on every core where there are many; return the sum of what it returns."""
    n = options.size
    parts = int(n * seconds_per_option / _WORTH_A_THREAD)
    if parts < 2:
        return int(kernel(options.columns, options.steps, results, 0, n) or 0)
    from numba import config

    threads: int = vars(config)["NUMBA_NUM_THREADS"]
    workers = max(1, min(threads, parts))
    length = max(block, -(-n // (4 * workers * block)) * block)

    def part(first: int) -> int:
        return int(kernel(options.columns, options.steps, results, first, min(first + length, n)) or 0)

    # threads of this call alone: nothing is left behind that a fork or another thread could trip over
    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(part, range(0, n, length)))


def raise_first(given: dict[str, FloatArray]) -> None:
    """Raise for the first value that no formula here accepts, with its place in its own argument."""
    for name, values in given.items():
        _reject(name, values, ~np.isfinite(values), "every value must be finite", NotFinite)
        if name in _NOT_NEGATIVE:
            _reject(name, values, values < 0.0, "must be at least 0", InvalidInput)
        if name == "strike":
            _reject(name, values, values <= 0.0, "must be above 0", InvalidInput)
        if name == "kind":
            _reject(name, values, np.abs(values) != 1.0, "must be +1 (call) or -1 (put)", InvalidInput)
    for name, asset in (("rate", "strike"), ("dividend", "spot")):
        with np.errstate(over="ignore"):
            exponent = -given[name] * given["expiry"]
            worth = given[asset] * np.exp(np.minimum(exponent, 700.0))
        wrong = (exponent >= 700.0) | np.isinf(worth)
        problem = f"times expiry is so far below 0 that the discounted {asset} overflows"
        if wrong.any():
            raise InvalidInput(name, problem, _place(wrong))


def _reject(name: str, values: FloatArray, wrong: Any, rule: str, error: type[InvalidInput]) -> None:
    if np.any(wrong):
        place = _place(np.asarray(wrong))
        raise error(name, f"is {values[place or ()]}; {rule}", place)


def _place(wrong: Any) -> tuple[int, ...] | None:
    first = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    return tuple(int(place) for place in first) or None


def _numbers(name: str, values: ArrayLike) -> FloatArray:
    return numeric(name, values, kinds="iufO")
