"""Two samples as one feature or as many: arrays, columns of arrays, or frames that are matched by column."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

from engine._checks import FloatArray, numeric, unmasked
from engine.errors import InvalidInput, NotFinite

__all__ = ["Features", "by_feature", "pairs", "raise_for_values", "sample", "threads"]

_WORTH_THREADS = 200_000  # values from which features are shared out over threads
_Result = TypeVar("_Result")


class Features(NamedTuple):
    """Two samples, feature by feature.

    Attributes
    ----------
    given : dict of str to Any
        By argument: a flat array, an array of columns, or a frame.
    names : list
        Columns of the frames, or their numbers.
    frame, single : bool
        Whether frames came, or one feature alone.
    """

    given: dict[str, Any]
    names: list[Any]
    frame: bool
    single: bool

    @property
    def size(self) -> int:
        """Number of values altogether."""
        return sum(int(values.size) for values in self.given.values())

    def argument(self, name: str, place: int) -> str:
        """Name of one feature of an argument, for messages."""
        if self.single:
            return name
        return f"{name}[{self.names[place]!r}]" if self.frame else f"{name}[:, {place}]"

    def sample(self, name: str, place: int) -> FloatArray:
        """One feature of an argument, as a contiguous array."""
        given = self.given[name]
        if self.frame:
            given = given[self.names[place]]
        elif not self.single:
            given = given[:, place]
        return sample(self.argument(name, place), given)

    def shaped(self, name: str, values: list[float]) -> Any:
        """Give one value a feature in the shape in which the features came."""
        if self.frame:
            from pandas import Series

            return Series(values, index=self.names, name=name, dtype=float)
        return float(values[0]) if self.single else np.array(values)

    def table(self, columns: dict[str, FloatArray]) -> Any:
        """Return a frame with a row for each feature."""
        from pandas import DataFrame

        return DataFrame(columns, index=self.names)


def pairs(expected: Any, actual: Any) -> Features:
    """Match the features of two samples."""
    both = {"expected": expected, "actual": actual}
    frames = [hasattr(values, "columns") and hasattr(values, "iloc") for values in both.values()]
    if all(frames):
        return _matched(both)
    if any(frames):
        raise InvalidInput("actual", "and expected must both be frames, or neither")
    arrays = {}
    for name, values in both.items():
        try:
            arrays[name] = unmasked(values)
        except ValueError as problem:
            raise InvalidInput(name, f"must be an array ({problem})") from problem
    dimensions = {array.ndim for array in arrays.values()}
    if dimensions == {1}:
        return Features(arrays, [0], frame=False, single=True)
    if dimensions != {2}:
        shapes = " and ".join(str(array.shape) for array in arrays.values())
        raise InvalidInput("actual", f"and expected must both have 1 dimension, or both 2; their shapes are {shapes}")
    counts = [array.shape[1] for array in arrays.values()]
    if counts[0] != counts[1]:
        raise InvalidInput("actual", f"has {counts[1]} columns for {counts[0]} of expected")
    if counts[0] == 0:
        raise InvalidInput("expected", "is empty")
    return Features(arrays, list(range(counts[0])), frame=False, single=False)


def _matched(frames: dict[str, Any]) -> Features:
    for name, frame in frames.items():
        if not frame.columns.is_unique:
            twice = frame.columns[frame.columns.duplicated()][0]
            raise InvalidInput(name, f"has the column {twice!r} more than once")
    expected, actual = (list(frame.columns) for frame in frames.values())
    missing = [name for name in expected if name not in set(actual)]
    more = [name for name in actual if name not in set(expected)]
    if missing or more:
        told = [f"{word} {names}" for word, names in (("lacks", missing), ("has beside them", more)) if names]
        raise InvalidInput("actual", f"must have the columns of expected; it {' and '.join(told)}")
    if not expected:
        raise InvalidInput("expected", "has no columns")
    return Features(frames, expected, frame=True, single=False)


def sample(argument: str, values: Any) -> FloatArray:
    """Return a contiguous float64 array of one dimension that is not empty."""
    numbers = np.ascontiguousarray(numeric(argument, values))
    if numbers.size == 0:
        raise InvalidInput(argument, "is empty")
    return numbers


def raise_for_values(argument: str, values: FloatArray) -> None:
    """Raise for the first value that is not finite."""
    finite = np.isfinite(values)
    if not finite.all():
        first = int(np.argmin(finite))
        raise NotFinite(argument, f"is {values[first]}; every value must be finite", (first,))


def by_feature(work: Callable[[int], _Result], features: Features) -> list[_Result]:
    """Do the work for every feature, on every core where there is much of it."""
    places = range(len(features.names))
    if len(places) == 1 or features.size < _WORTH_THREADS:
        return [work(place) for place in places]
    with ThreadPoolExecutor(min(threads(), len(places))) as pool:
        return list(pool.map(work, places))


def threads() -> int:
    """Return how many threads there may be."""
    from numba import config

    return int(vars(config)["NUMBA_NUM_THREADS"])
