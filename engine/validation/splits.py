"""Splits of a history into what a model learns from and what it is judged on, without looking ahead.

References
----------
.. [1] M. Lopez de Prado, *Advances in Financial Machine Learning* (2018), section 7.4: purging (7.4.1), embargo
   (7.4.2), snippet 7.3.
.. [2] R. Pardo, *The Evaluation and Optimization of Trading Strategies*, 2nd ed. (2008), ch. 11: walk-forward analysis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine._checks import FloatArray, flag, is_whole, number, unmasked
from engine._device import Place
from engine._placed import on_the_processor
from engine.errors import InvalidInput, NotFinite, TooFewObservations

__all__ = ["Fold", "WalkForward", "purged_folds", "walk_forward"]

Places = NDArray[np.intp]
_MOST_PLACES = 2**27  # that all windows of a walk hold, 1 GiB


class Fold(NamedTuple):
    """One split.

    Attributes
    ----------
    train, test : ndarray of int
        Places of the observations, ascending.
    """

    train: Places
    test: Places


@dataclass(frozen=True, slots=True)
class WalkForward:
    """Folds that walk through a history, oldest first; iterate to get them.

    Attributes
    ----------
    folds : tuple of Fold
    scores : ndarray, shape (n_folds,) or None
        What `evaluate` gave for each fold; None without it.
    """

    folds: tuple[Fold, ...]
    scores: FloatArray | None

    def __iter__(self) -> Iterator[Fold]:
        return iter(self.folds)

    def __len__(self) -> int:
        return len(self.folds)


def walk_forward(
    n_periods: int,
    n_train: int,
    n_test: int,
    *,
    step: int | None = None,
    gap: int = 0,
    expanding: bool = False,
    evaluate: Callable[[Places, Places], float] | None = None,
    device: Place = "auto",
) -> WalkForward:
    """Return windows to learn from, each followed by the window it is judged on [2]_.

    Parameters
    ----------
    n_periods, n_train, n_test : int
        Length of the history and of either window [periods].
    step : int, optional
        From one fold to the next [periods]; `n_test` where it is not given, so that no period is judged twice.
    gap : int
        Periods left out between the two windows: as long as a label or a feature reaches.
    expanding : bool
        Learn from the beginning of the history on; `n_train` is then the least.
    evaluate : callable, optional
        Gets the places to learn from and those to be judged on, and returns a score.
    device : {"auto", "cpu", "cuda"}
        Folds are made on the CPU; "cuda" is refused. What `evaluate` does is its own.

    Returns
    -------
    WalkForward
        At least one fold; periods at the end that fill no window are left over.

    Raises
    ------
    InvalidInput
        A length that is not a whole number above 0, a negative gap, windows that hold more than 2**27 places in all
        (1 GiB), a score that is no number.
    NotFinite
        A score of nan or infinity, with its fold.
    TooFewObservations
        The history is shorter than one fold.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Examples
    --------
    >>> from engine.validation import walk_forward
    >>> [(fold.train.tolist(), fold.test.tolist()) for fold in walk_forward(8, 3, 2, gap=1)]
    [([0, 1, 2], [4, 5]), ([2, 3, 4], [6, 7])]
    """
    on_the_processor("walk_forward", device)
    growing = flag("expanding", expanding)
    if evaluate is not None and not callable(evaluate):
        raise InvalidInput(
            "evaluate", f"is of type {type(evaluate).__name__}; must be a function of the places of a fold"
        )
    lengths = {"n_periods": n_periods, "n_train": n_train, "n_test": n_test, "step": n_test if step is None else step}
    for name, length in lengths.items():
        _whole(name, length, 1)
    _whole("gap", gap, 0)
    needed = n_train + gap + n_test
    if n_periods < needed:
        raise TooFewObservations(int(n_periods), int(needed), "one fold", instead="shorten n_train, n_test or gap")
    firsts = range(0, n_periods - needed + 1, lengths["step"])
    held = len(firsts) * (n_test + (n_train if not growing else n_train + firsts[-1] // 2))
    if held > _MOST_PLACES:
        problem = f"makes {len(firsts):,} folds that hold {held:.3g} places, more than {_MOST_PLACES:,}; raise step"
        raise InvalidInput("n_periods", problem)
    folds = []
    for first in firsts:
        end = first + n_train
        train = np.arange(0 if growing else first, end)
        folds.append(Fold(train, np.arange(end + gap, end + gap + n_test)))
    if evaluate is None:
        return WalkForward(tuple(folds), None)
    scores = np.empty(len(folds))
    for place, fold in enumerate(folds):
        score = evaluate(*fold)
        try:
            scores[place] = float(score)
        except (TypeError, ValueError) as problem:
            raise InvalidInput("evaluate", f"gave {score!r}, must give a number", (place,)) from problem
        if not math.isfinite(scores[place]):
            raise NotFinite("evaluate", f"gave {scores[place]}; every score must be finite", (place,))
    return WalkForward(tuple(folds), scores)


def purged_folds(
    starts: Any, ends: Any, n_folds: int = 5, *, embargo: float = 0.0, device: Place = "auto"
) -> tuple[Fold, ...]:
    """Return folds for cross-validation whose training labels share no time with the labels they are judged on [1]_.

    Parameters
    ----------
    starts, ends : array_like, shape (n,)
        When the label of each observation begins and ends: times or numbers, oldest first by start.
    n_folds : int
        From 2 to n; each observation is judged on in one of them, and a fold is a stretch of observations.
    embargo : float
        Share of all observations, from 0 to below 1, that is left out after each stretch beside what overlaps it;
        rounded up to whole observations.
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    tuple of Fold

    Raises
    ------
    InvalidInput
        Starts out of order, a label that ends before it starts, lengths that differ, a fold with nothing left to
        learn from.
    NotFinite
        A nan, an infinity or a missing time.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Notes
    -----
    Intervals are closed: a label that ends at the moment at which one of the test stretch starts is purged. Snippet
    7.3 of the reference keeps it.

    Examples
    --------
    >>> from engine.validation import purged_folds
    >>> starts = list(range(10))
    >>> ends = [start + 1.5 for start in starts]
    >>> [fold.train.tolist() for fold in purged_folds(starts, ends, 2, embargo=0.1)]
    [[7, 8, 9], [0, 1, 2, 3]]
    """
    starts, ends = on_the_processor("purged_folds", device, starts, ends)
    begun, over = _times("starts", starts), _times("ends", ends)
    if begun.size != over.size:
        raise InvalidInput("ends", f"has {over.size} times for {begun.size} starts")
    if begun.dtype.kind != over.dtype.kind:
        raise InvalidInput("ends", f"is of type {over.dtype}, starts of type {begun.dtype}")
    falling = begun[1:] < begun[:-1]
    if falling.any():
        raise InvalidInput("starts", "must be in order of time", (int(np.argmax(falling)) + 1,))
    if (over < begun).any():
        raise InvalidInput("ends", "is before the start of the same label", (int(np.argmax(over < begun)),))
    size = begun.size
    _whole("n_folds", n_folds, 2)
    if n_folds > size:
        raise InvalidInput("n_folds", f"is {n_folds}; must be at most the number of observations, {size}")
    if number("embargo", embargo, least=0.0) >= 1.0:
        raise InvalidInput("embargo", f"is {embargo}; must be at least 0 and below 1")
    barred = math.ceil(float(embargo) * size - 1e-9)
    places = np.arange(size)
    folds = []
    for fold, test in enumerate(np.array_split(places, n_folds)):
        first, last = begun[test[0]], over[test].max()
        after = int(np.searchsorted(begun, last, side="right"))
        train = np.concatenate(
            [places[: test[0]][over[: test[0]] < first], places[max(after, test[-1] + 1) + barred :]]
        )
        if train.size == 0:
            raise InvalidInput("n_folds", f"leaves fold {fold} nothing to learn from: labels or embargo are too long")
        folds.append(Fold(train, test))
    return tuple(folds)


def _whole(name: str, value: Any, least: int) -> None:
    if not is_whole(value) or value < least:
        raise InvalidInput(name, f"is {value!r}; must be a whole number of at least {least}")
    if value >= 2**53:
        raise InvalidInput(name, f"is {value:.3e}; must be below 2**53" if value < 1e308 else "is beyond every float")


def _times(argument: str, values: Any) -> NDArray[Any]:
    try:
        array = unmasked(values)
    except ValueError as problem:  # ragged
        raise InvalidInput(argument, f"must be times or numbers in 1 dimension ({problem})") from problem
    if array.dtype.kind in "iu":
        array = array.astype(np.float64) if np.abs(array).max(initial=0) < 2**53 else array.astype(np.int64)
    if array.dtype.kind not in "ifM" or array.ndim != 1:
        raise InvalidInput(argument, f"must be times or numbers in 1 dimension, is {array.dtype} in {array.ndim}")
    if array.size == 0:
        raise InvalidInput(argument, "is empty")
    wrong = np.isnat(array) if array.dtype.kind == "M" else ~np.isfinite(array)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise NotFinite(argument, f"is {array[first]}; every time must be known", (first,))
    return array
