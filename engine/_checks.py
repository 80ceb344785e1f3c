"""Checks of arguments, shared by the public functions; each names the first offender."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import InvalidInput, NotFinite

FloatArray = NDArray[np.float64]


def finite_array(argument: str, values: ArrayLike, dimensions: int) -> FloatArray:
    """Return `values` as a float64 array of the stated number of dimensions, all of them finite."""
    try:
        given = np.asarray(values)
        if given.dtype.kind == "c":
            raise TypeError("these are complex")
        array = np.asarray(given, dtype=np.float64)
    except (OverflowError, TypeError, ValueError) as problem:
        raise InvalidInput(argument, f"must hold numbers only ({problem})") from problem
    if array.ndim != dimensions:
        raise InvalidInput(argument, f"must have {dimensions} dimension(s), has {array.ndim}")
    if array.size == 0:
        raise InvalidInput(argument, "is empty")
    finite = np.isfinite(array)
    if not finite.all():
        first = np.unravel_index(int(np.argmin(finite)), array.shape)
        index = tuple(int(place) for place in first)
        raise NotFinite(argument, f"is {array[index]}; every value must be finite", index)
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
        raise InvalidInput(argument, f"is {array[index]}; must be above 0", index)
    return array


def _number(argument: str, value: float) -> float:
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError):
        raise InvalidInput(argument, f"is {value!r}; must be a number") from None


def positive(argument: str, value: float) -> float:
    """Return `value` as a finite float above zero."""
    number = _number(argument, value)
    if not math.isfinite(number) or number <= 0.0:
        raise InvalidInput(argument, f"is {value}; must be a finite number above 0")
    return number


def open_unit(argument: str, value: float) -> float:
    """Return `value` as a float strictly between 0 and 1."""
    number = _number(argument, value)
    if not 0.0 < number < 1.0:
        raise InvalidInput(argument, f"is {value}; must lie strictly between 0 and 1")
    return number


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
