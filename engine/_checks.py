"""Checks of arguments, shared by the public functions; each names the first offender."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import InvalidInput, NotFinite

FloatArray = NDArray[np.float64]


def numeric(argument: str, values: Any, *, kinds: str = "biufO") -> FloatArray:
    """Return `values`, of these kinds of numpy's types, as a float64 array; what is masked is nan."""
    try:
        given = unmasked(values)
        if given.dtype.kind not in kinds:
            raise TypeError(f"dtype is {given.dtype}")
        if given.dtype.kind == "O":
            _refuse_words(argument, given)
        return np.asarray(given, dtype=np.float64)
    except InvalidInput:
        raise
    except (OverflowError, TypeError, ValueError) as problem:
        raise InvalidInput(argument, f"must hold numbers only ({problem})") from problem


def unmasked(values: Any) -> NDArray[Any]:
    """Return `values` as an array, nan where numbers are masked: what lies beneath a mask is not for computing."""
    if hasattr(values, "filled") and values.dtype.kind in "iuf":
        return np.asarray(values.astype(np.float64).filled(np.nan))
    return np.asarray(values)


def _refuse_words(argument: str, values: NDArray[Any]) -> None:
    """Raise for the first text among objects, which numpy would read as a number."""
    for place, value in enumerate(values.flat):
        if isinstance(value, str | bytes):
            index = tuple(int(i) for i in np.unravel_index(place, values.shape))
            raise InvalidInput(argument, f"is {value!r}; must hold numbers only", index or None)


def finite_array(argument: str, values: ArrayLike, dimensions: int) -> FloatArray:
    """Return `values` as a float64 array of the stated number of dimensions, all of them finite."""
    array = numeric(argument, values)
    if array.ndim != dimensions:
        raise InvalidInput(argument, f"must have {dimensions} dimension(s), has {array.ndim}")
    if array.size == 0:
        raise InvalidInput(argument, "is empty")
    finite = np.isfinite(array)
    if not finite.all():
        first = np.unravel_index(int(np.argmin(finite)), array.shape)
        index = tuple(int(place) for place in first)
        raise NotFinite(argument, f"is {array[index]}; every value must be finite", index or None)
    return array


def fixed(values: FloatArray) -> FloatArray:
    """Return a contiguous, aligned view that cannot be written to.

    Compiled loops take their inputs so: read-only, strided or unaligned, each would be compiled anew.
    """
    view = np.require(values, np.float64, ["C", "A"]).view()
    view.flags.writeable = False
    return view


def positive_array(argument: str, values: ArrayLike, dimensions: int) -> FloatArray:
    """Return `values` as an array of finite numbers above zero."""
    array = finite_array(argument, values, dimensions)
    below = array <= 0.0
    if below.any():
        first = np.unravel_index(int(np.argmax(below)), array.shape)
        index = tuple(int(place) for place in first)
        raise InvalidInput(argument, f"is {array[index]}; must be above 0", index or None)
    return array


def number(argument: str, value: Any, *, least: float | None = None, above: float | None = None) -> float:
    """Return `value` as a finite float, at least `least` and above `above` where these are given."""
    found = _number(argument, value)
    if not math.isfinite(found):
        raise NotFinite(argument, f"is {found}; must be finite")
    if least is not None and found < least:
        raise InvalidInput(argument, f"is {found}; must be at least {least:g}")
    if above is not None and found <= above:
        raise InvalidInput(argument, f"is {found}; must be above {above:g}")
    return found


def _number(argument: str, value: Any) -> float:
    try:
        if isinstance(value, str | bytes | bool | np.bool_) or getattr(value, "ndim", False):
            raise TypeError
        return float(value)
    except (OverflowError, TypeError, ValueError):
        raise InvalidInput(argument, f"is {value!r}; must be a number") from None


def positive(argument: str, value: float) -> float:
    """Return `value` as a finite float above zero."""
    found = _number(argument, value)
    if not math.isfinite(found) or found <= 0.0:
        raise InvalidInput(argument, f"is {value}; must be a finite number above 0")
    return found


def is_whole(value: Any) -> bool:
    """Tell whether this is a whole number; numpy's lengths of time are integers by type, and none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def flag(argument: str, value: Any) -> bool:
    """Return `value`, which is True or False: a word, "False" too, would be taken for true."""
    if not isinstance(value, bool | np.bool_):
        raise InvalidInput(argument, f"is {value!r}; must be True or False")
    return bool(value)


def open_unit(argument: str, value: float) -> float:
    """Return `value` as a float strictly between 0 and 1."""
    found = _number(argument, value)
    if not 0.0 < found < 1.0:
        raise InvalidInput(argument, f"is {value}; must lie strictly between 0 and 1")
    return found


def evenly(step: float, size: int) -> FloatArray:
    """Return `size` times from 0 on."""
    if not math.isfinite(step * (size - 1)):
        raise InvalidInput("interval", f"is {step}; the last of {size} times is beyond every float")
    return step * np.arange(size, dtype=np.float64)


def increasing(argument: str, times: ArrayLike, size: int) -> FloatArray:
    """Return `times` as increasing numbers, `size` of them."""
    clock = finite_array(argument, times, 1)
    if clock.size != size:
        raise InvalidInput(argument, f"has {clock.size} values for {size} of the series")
    back = np.flatnonzero(np.diff(clock) <= 0.0)
    if back.size:
        place = int(back[0]) + 1
        raise InvalidInput(argument, f"is {clock[place]} after {clock[place - 1]}; must increase", (place,))
    return clock


def covariance_matrix(values: ArrayLike | None, n_symbols: int) -> FloatArray:
    """Return a checked covariance matrix."""
    matrix = finite_array("covariance", values if values is not None else [], 2)
    if matrix.shape != (n_symbols, n_symbols):
        raise InvalidInput("covariance", f"has shape {matrix.shape}, must be {(n_symbols, n_symbols)}")
    tolerance = 1e-10 * float(np.abs(matrix).max())
    uneven = np.abs(matrix - matrix.T) > tolerance
    if uneven.any():
        row, column = (int(place) for place in np.unravel_index(int(np.argmax(uneven)), matrix.shape))
        raise InvalidInput("covariance", "is not symmetric", (row, column))
    lowest = float(np.linalg.eigvalsh(matrix)[0])
    if lowest < -tolerance * n_symbols:
        raise InvalidInput("covariance", f"is not positive semidefinite (lowest eigenvalue {lowest:.3g})")
    return matrix
