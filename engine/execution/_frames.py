"""Columns of frames of fills, quotes and books, checked; each message names column and row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine._checks import FloatArray
from engine.errors import InvalidInput, NotFinite

__all__ = [
    "SIDES",
    "as_of",
    "by_code",
    "codes_of",
    "column",
    "in_order",
    "numbers",
    "reject",
    "sides",
    "symbols",
    "times",
]

SIDES = {"buy": 1.0, "sell": -1.0}

_MOST = 1e50  # of any figure, and of its reciprocal: products and squares of several are floats still


def column(argument: str, frame: Any, name: str) -> Any:
    """Return one column of a frame that has rows."""
    if not (hasattr(frame, "columns") and hasattr(frame, "iloc")):
        raise InvalidInput(argument, f"is of type {type(frame).__name__}; must be a DataFrame")
    if name not in frame.columns:
        raise InvalidInput(argument, f"has no column {name!r}; its columns are {[str(each) for each in frame.columns]}")
    if len(frame) == 0:
        raise InvalidInput(argument, "is empty")
    found = frame[name]
    if found.ndim != 1:
        raise InvalidInput(argument, f"has the column {name!r} more than once")
    return found


def numbers(argument: str, frame: Any, name: str, *, above: float | None = None, least: float | None = None) -> Any:
    """Return a column of finite numbers, above a bound or at least at one."""
    given, place = column(argument, frame, name), f"{argument}[{name!r}]"
    try:
        values = given.to_numpy()
        if values.dtype.kind not in "iufO":
            raise TypeError(f"dtype is {values.dtype}")
        values = values.astype(np.float64)
    except (OverflowError, TypeError, ValueError) as problem:
        raise InvalidInput(place, f"must hold numbers only ({problem})") from problem
    reject(place, values, ~np.isfinite(values), "must be finite", NotFinite)
    reject(place, values, np.abs(values) > _MOST, f"must be within {_MOST:g} of 0")
    if above is not None:
        reject(place, values, values <= above, f"must be above {above:g}")
        reject(place, values, values < above + 1.0 / _MOST, f"must be at least {above + 1.0 / _MOST:g}")
    if least is not None:
        reject(place, values, values < least, f"must be at least {least:g}")
    return values


def sides(argument: str, frame: Any, allowed: dict[str, float] = SIDES) -> FloatArray:
    """Return +1 and -1 for the words of the column `side`, or for these numbers themselves."""
    given, place = column(argument, frame, "side").to_numpy(), f"{argument}['side']"
    codes, kinds = codes_of(place, given)
    of_kind = np.full(len(kinds) + 1, np.nan)  # the last for what is missing
    for code, kind in enumerate(kinds):
        if isinstance(kind, str):
            of_kind[code] = allowed.get(kind, np.nan)
        elif isinstance(kind, (int, float, np.integer, np.floating)) and abs(kind) == 1:
            of_kind[code] = float(kind)
    signs = of_kind[codes]
    words = ", ".join(repr(word) for word in allowed)
    reject(place, given, np.isnan(signs), f"must be {words}, +1 or -1")
    return signs


def times(argument: str, frame: Any, name: str = "time") -> NDArray[Any]:
    """Return a column of times: datetimes as UTC in nanoseconds, or numbers [s]."""
    given, place = column(argument, frame, name), f"{argument}[{name!r}]"
    if getattr(given.dtype, "tz", None) is not None:
        given = given.dt.tz_convert("UTC").dt.tz_localize(None)
    values = given.to_numpy()
    if values.dtype.kind == "M":
        reject(place, values, np.isnat(values), "every time must be known", NotFinite)
        return np.asarray(values.astype("datetime64[ns]"))
    if values.dtype.kind not in "iuf":
        raise InvalidInput(place, f"must hold datetimes or numbers, holds {values.dtype}")
    values = values.astype(np.float64)
    reject(place, values, ~np.isfinite(values), "every time must be known", NotFinite)
    return np.asarray(values)


def symbols(argument: str, frame: Any) -> NDArray[Any]:
    """Return the column `symbol`, or one empty name throughout where there is none."""
    if "symbol" not in frame.columns:
        return np.full(len(frame), "", dtype=object)
    given = column(argument, frame, "symbol")
    values = np.asarray(given.to_numpy(), dtype=object)
    reject(f"{argument}['symbol']", values, np.asarray(given.isna()), "every symbol must be known")
    return values


def in_order(argument: str, moments: NDArray[Any], rows: NDArray[np.intp]) -> None:
    """Raise where the times of these rows fall."""
    falling = moments[rows][1:] < moments[rows][:-1]
    if falling.any():
        row = int(rows[int(np.argmax(falling)) + 1])
        raise InvalidInput(argument, f"is {moments[row]}, before the row above it; must be in order of time", (row,))


def as_of(
    moments: NDArray[Any], names: NDArray[Any], known: NDArray[Any], known_names: NDArray[Any], argument: str
) -> NDArray[np.intp]:
    """Return the last row known at each moment, at the moment included, of the same symbol; -1 where there is none."""
    if moments.dtype.kind != known.dtype.kind:
        raise InvalidInput(argument, f"holds {known.dtype}, the other times {moments.dtype}; both must be alike")
    found = np.full(moments.size, -1, dtype=np.intp)
    codes, _ = codes_of(argument, np.concatenate([known_names, names]))
    known_rows, asked_rows = by_code(codes[: known.size]), by_code(codes[known.size :])
    for code, rows in known_rows.items():
        in_order(argument, known, rows)
        here = asked_rows.get(code)
        if here is not None:
            last = np.searchsorted(known[rows], moments[here], side="right") - 1
            found[here] = np.where(last >= 0, rows[last], -1)
    return found


def by_code(codes: NDArray[np.intp]) -> dict[int, NDArray[np.intp]]:
    """Return the rows of each code, ascending."""
    order = np.argsort(codes, kind="stable")
    begins = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return {int(codes[rows[0]]): rows for rows in np.split(order, begins[1:]) if rows.size}


def codes_of(place: str, values: NDArray[Any]) -> tuple[NDArray[np.intp], Any]:
    """Return a number for each value, -1 for a missing one, and the value of each number."""
    from pandas import factorize

    try:
        codes, kinds = factorize(values)
    except TypeError as problem:
        raise InvalidInput(place, f"must hold plain values ({problem})") from problem
    return np.asarray(codes, dtype=np.intp), kinds


def reject(
    place: str, values: NDArray[Any], wrong: NDArray[np.bool_], rule: str, error: type[InvalidInput] = InvalidInput
) -> None:
    """Raise for the first value that breaks a rule."""
    if wrong.any():
        first = int(np.argmax(wrong))
        raise error(place, f"is {values[first]!s}; {rule}", (first,))
