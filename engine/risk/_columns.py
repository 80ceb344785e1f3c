"""Columns as people hand them over, turned into arrays; errors name the column and the row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine._checks import FloatArray, unmasked
from engine.errors import InvalidInput

__all__ = ["expiries", "numbers", "texts", "years_of"]

_MILLISECONDS_A_YEAR = 365.0 * 86_400_000.0


def years_of(dates: Any) -> FloatArray:
    """Years of 365 days since 1970 of dates in UTC; nan for a date that is missing."""
    import pandas as pd

    stamps = pd.to_datetime(pd.Series(np.atleast_1d(np.asarray(dates, dtype=object))), utc=True)
    milliseconds = stamps.dt.tz_localize(None).to_numpy().astype("datetime64[ms]")
    years = milliseconds.astype(np.int64) / _MILLISECONDS_A_YEAR
    return np.where(np.isnat(milliseconds), np.nan, years)


def texts(name: str, values: Any) -> NDArray[np.object_]:
    """A column of texts; numbers are taken as their digits."""
    if isinstance(values, str) or np.ndim(values) != 1:
        raise InvalidInput(name, "must be a column, one entry for each position")
    column = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, (str, int, np.integer)):
            raise InvalidInput(name, f"is {value!r}; must be a text", (row,))
        column[row] = str(value)
    return column


def numbers(name: str, values: Any, size: int) -> FloatArray:
    """A column of numbers; a single number stands in every row, None is nan."""
    try:
        array = unmasked(values)
    except ValueError as problem:
        raise InvalidInput(name, f"must be one column of numbers ({problem})") from problem
    if array.dtype.kind not in "iufO":
        raise InvalidInput(name, f"must hold numbers only (dtype is {array.dtype})")
    if array.ndim > 1 or (array.ndim == 1 and array.size != size):
        raise InvalidInput(name, f"has shape {array.shape}, id has {size} rows")
    if array.dtype.kind == "O":
        for row, value in enumerate(array.reshape(-1)):
            if value is not None and (isinstance(value, (bool, str, bytes)) or not _is_number(value)):
                raise InvalidInput(name, f"is {value!r}; must be a number", (row,))
    return np.array(np.broadcast_to(array.astype(np.float64), (size,)))


def _are_dates(values: NDArray[Any]) -> bool:
    """Whether objects are dates; raises for the first number among them."""
    dates = np.array([hasattr(value, "isoformat") for value in values])
    if dates.any():
        for row, value in enumerate(values):
            if not dates[row] and value is not None and value == value:
                raise InvalidInput("expiry", f"is {value!r} among dates; give dates only, or numbers only", (row,))
    return bool(dates.any())


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (OverflowError, TypeError, ValueError):
        return False
    return True


def expiries(values: Any, size: int) -> tuple[FloatArray, bool]:
    """Expiries in years, and whether they came as dates."""
    if values is None:
        return np.full(size, np.nan), False
    kind = np.asarray(values).dtype.kind
    dates = kind == "M" or "datetime64" in str(getattr(values, "dtype", ""))
    if kind == "O" and not dates:
        dates = _are_dates(np.asarray(values).reshape(-1))
    if not dates:
        return numbers("expiry", values, size), False
    try:
        years = years_of(values)
    except (TypeError, ValueError) as problem:
        raise InvalidInput("expiry", f"must hold dates only, or numbers only ({problem})") from problem
    if years.size not in (1, size):
        raise InvalidInput("expiry", f"has {years.size} rows, id has {size}")
    return np.array(np.broadcast_to(years, (size,))), True
