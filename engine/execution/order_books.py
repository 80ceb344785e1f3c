"""Trades played again against the order book that stood when they were made.

References
----------
.. [1] J. Hasbrouck, *Empirical Market Microstructure* (2007), ch. 2 (walking the book) and 14 (cost against the mid).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine._checks import FloatArray, number
from engine._device import Place
from engine._placed import on_the_processor
from engine.errors import InvalidInput
from engine.execution._frames import as_of, by_code, codes_of, in_order, numbers, sides, symbols, times

__all__ = ["FillModel", "Replay", "Sweep", "replay"]

_BOOK = {"bid": 1.0, "ask": -1.0}
_NO_BOOK = "no book at or before the trade"
_EMPTY = "nothing offered on that side"
_ONE_SIDED = "filled, but the book has one side only, and no mid to cost it against"
_TOLERANCE = 1e-9


class FillModel(Protocol):
    """What a model of fills has."""

    @property
    def latency(self) -> float:
        """Time between a trade and its arrival at the book, at least 0 [s]."""

    def take(self, quantity: float, prices: FloatArray, available: FloatArray) -> FloatArray:
        """Return how much of each level is taken, best level first; at most what is available, and the quantity."""
        ...


@dataclass(frozen=True, slots=True)
class Sweep:
    """Fills at once from the best level outwards; what finds nothing stays unfilled.

    Attributes
    ----------
    participation : float
        Share of each level that can be had, above 0 and at most 1.
    latency : float
        [s]
    """

    participation: float = 1.0
    latency: float = 0.0

    def __post_init__(self) -> None:
        if number("participation", self.participation, above=0.0) > 1.0:
            raise InvalidInput("participation", f"is {self.participation}; must be at most 1")
        number("latency", self.latency, least=0.0)

    def take(self, quantity: float, prices: FloatArray, available: FloatArray) -> FloatArray:  # noqa: ARG002
        """Return how much of each level is taken, best level first.

        Parameters
        ----------
        quantity : float
            [shares]
        prices, available : ndarray, shape (n_levels,)
            [currency], [shares]

        Returns
        -------
        ndarray, shape (n_levels,)
            [shares]
        """
        can_be_had = self.participation * available
        before = np.cumsum(can_be_had) - can_be_had
        return np.asarray(np.clip(quantity - before, 0.0, can_be_had))


@dataclass(frozen=True, slots=True)
class Replay:
    """Simulated fills beside what happened; costs above 0 are losses to whoever traded.

    Attributes
    ----------
    fills : DataFrame
        A row for each trade, with its index: ``quantity`` filled and ``unfilled`` [shares], mean ``price`` [currency],
        ``levels`` touched, ``mid`` of the book used and ``book_age`` [s], ``cost`` against that mid and ``actual_cost``
        of the trade as it was, on its whole quantity [currency]; ``difference`` [currency], what the trade paid more
        than the simulation on the quantity that this filled; ``reason`` why nothing was filled or costed, else
        empty.
    quantity, unfilled : float
        [shares]
    cost, actual_cost, difference : float
        Totals of the trades that have the figure: that were filled at least in part, against a book of two sides where
        the mid is needed [currency].
    """

    fills: Any
    quantity: float
    unfilled: float
    cost: float
    actual_cost: float
    difference: float


class _Book(NamedTuple):
    """Both sides of one snapshot, best level first; what is available shrinks as trades take it."""

    prices: dict[float, FloatArray]
    available: dict[float, FloatArray]
    mid: float


def replay(trades: Any, book_snapshots: Any, model: FillModel | None = None, *, device: Place = "auto") -> Replay:
    """Play trades against the last order book known when they arrive [1]_.

    Parameters
    ----------
    trades : DataFrame
        ``time`` (datetime, or number [s]), ``side`` ("buy" or "sell", or +1 and -1), ``quantity`` above 0 [shares],
        ``price`` above 0, as it was [currency]; beside these ``limit``, the worst price allowed (nan for none), and
        ``symbol``. Any order of rows; they are played in order of time.
    book_snapshots : DataFrame
        A row for each level: ``time``, ``side`` ("bid" or "ask"), ``price`` above 0 [currency], ``quantity`` at least 0
        [shares], ``symbol`` where trades have one. Rows of one time are one snapshot, complete; in order of time.
    model : FillModel, optional
        `Sweep` of everything shown, without latency, where it is not given.
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    Replay

    Raises
    ------
    InvalidInput
        A column that is missing, a value outside its range, snapshots out of order or crossed (with column and row),
        a model that takes more than there is.
    NotFinite
        A nan, an infinity or a missing time.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Notes
    -----
    What one trade takes is gone for the next until there is a new snapshot, which shows the real book: it knows
    nothing of the simulated trades. A trade finds the book of its own time, and never a later one.

    Examples
    --------
    >>> import pandas as pd
    >>> from engine.execution import Sweep, replay
    >>> book = pd.DataFrame({"time": 0.0, "side": ["bid", "ask", "ask"], "price": [9.9, 10.1, 10.2],
    ...                      "quantity": [100.0, 50.0, 100.0]})
    >>> trades = pd.DataFrame({"time": [1.0], "side": ["buy"], "quantity": [100.0], "price": [10.2]})
    >>> played = replay(trades, book, Sweep())
    >>> played.fills["price"].tolist(), round(played.cost, 6), round(played.difference, 6)
    ([10.15], 15.0, 5.0)
    """
    trades, book_snapshots = on_the_processor("replay", device, trades, book_snapshots)
    rule: FillModel = Sweep() if model is None else model
    latency = getattr(rule, "latency", None)
    if not callable(getattr(rule, "take", None)) or not isinstance(latency, (int, float)) or not latency >= 0.0:
        raise InvalidInput("model", "must have `take` and a `latency` of at least 0")
    moments, sign = times("trades", trades), sides("trades", trades)
    quantity = numbers("trades", trades, "quantity", above=0.0)
    price = numbers("trades", trades, "price", above=0.0)
    limit = _limits(trades, sign)
    known, books, row_of = _snapshots(book_snapshots)
    if ("symbol" in trades.columns) != ("symbol" in book_snapshots.columns):
        raise InvalidInput("book_snapshots", "and trades must both have a column 'symbol', or neither")
    arrival = moments + (np.timedelta64(round(latency * 1e9), "ns") if moments.dtype.kind == "M" else latency)
    rows = as_of(arrival, symbols("trades", trades), known, row_of[1], "book_snapshots['time']")
    made: dict[int, _Book] = {}
    result = np.full((5, len(trades)), np.nan)
    result[0] = result[2] = 0.0
    reason = np.full(len(trades), "", dtype=object)
    for place in np.argsort(arrival, kind="stable"):
        row = int(rows[place])
        if row < 0:
            reason[place] = _NO_BOOK
            continue
        number = int(row_of[0][row])
        if number not in made:
            made[number] = books.build(number)
        book = made[number]
        result[3, place] = book.mid
        away = arrival[place] - known[row]
        result[4, place] = away / np.timedelta64(1, "s") if moments.dtype.kind == "M" else away
        taken, paid = _fill(rule, book, float(sign[place]), float(quantity[place]), float(limit[place]))
        if taken.sum() <= 0.0:
            reason[place] = _EMPTY
            continue
        result[:3, place] = taken.sum(), paid / taken.sum(), (taken > 0.0).sum()
    return _totals(trades, result, reason, sign, quantity, price)


def _fill(rule: FillModel, book: _Book, sign: float, quantity: float, limit: float) -> tuple[FloatArray, float]:
    """Let the model take from the other side of the book; what it takes is gone."""
    prices, available = book.prices[-sign], book.available[-sign]
    reachable = prices.size if math.isnan(limit) else int((sign * (limit - prices) >= 0.0).sum())
    prices, available = prices[:reachable], available[:reachable]
    taken = np.asarray(rule.take(quantity, prices.copy(), available.copy()), dtype=np.float64)
    slack = _TOLERANCE * max(quantity, 1.0)
    fits = taken.shape == available.shape and bool(np.isfinite(taken).all())
    if not fits or (taken < 0.0).any() or (taken > available + slack).any() or taken.sum() > quantity + slack:
        raise InvalidInput("model", f"takes {taken.tolist()} of {available.tolist()} for an order of {quantity}")
    available -= np.minimum(taken, available)
    return taken, float(taken @ prices)


def _limits(trades: Any, sign: FloatArray) -> FloatArray:
    if "limit" not in trades.columns:
        return np.full(sign.size, np.nan)
    given = trades["limit"]
    free = given.isna().to_numpy()
    # an order without a limit has one that any number may stand for
    limits = numbers("trades", trades.assign(limit=given.where(~free, 1.0)), "limit", above=0.0)
    return np.where(free, np.nan, limits)


class _Snapshots(NamedTuple):
    side: FloatArray
    price: FloatArray
    quantity: FloatArray
    order: NDArray[np.intp]
    bounds: NDArray[np.intp]

    def build(self, number: int) -> _Book:
        """Make the book of one snapshot."""
        rows = self.order[self.bounds[number] : self.bounds[number + 1]]
        prices, available, best = {}, {}, {}
        for side in (1.0, -1.0):
            own = rows[(self.side[rows] == side) & (self.quantity[rows] > 0.0)]
            own = own[np.argsort(-side * self.price[own], kind="stable")]
            prices[side], available[side] = self.price[own], self.quantity[own]
            best[side] = float(prices[side][0]) if own.size else math.nan
        if best[1.0] > best[-1.0]:
            problem = f"is crossed: bid {best[1.0]} above ask {best[-1.0]}"
            raise InvalidInput("book_snapshots", problem, (int(rows[0]),))
        return _Book(prices, available, 0.5 * best[1.0] + 0.5 * best[-1.0])


def _snapshots(frame: Any) -> tuple[NDArray[Any], _Snapshots, tuple[NDArray[np.intp], NDArray[Any]]]:
    """Rows put together by symbol and time; the number of the snapshot and the symbol of each row."""
    known, names = times("book_snapshots", frame), symbols("book_snapshots", frame)
    code, _ = codes_of("book_snapshots['symbol']", names)
    for rows in by_code(code).values():
        in_order("book_snapshots['time']", known, rows)
    order = np.lexsort((known, code))
    begins = np.flatnonzero(
        (np.diff(code[order], prepend=-1) != 0) | np.r_[True, known[order][1:] != known[order][:-1]]
    )
    number_of = np.empty(order.size, np.intp)
    number_of[order] = np.repeat(np.arange(begins.size), np.diff(begins, append=order.size))
    snapshots = _Snapshots(
        sides("book_snapshots", frame, _BOOK),
        numbers("book_snapshots", frame, "price", above=0.0),
        numbers("book_snapshots", frame, "quantity", least=0.0),
        order,
        np.append(begins, order.size),
    )
    return known, snapshots, (number_of, names)


def _totals(
    trades: Any, result: FloatArray, reason: NDArray[Any], sign: FloatArray, quantity: FloatArray, price: FloatArray
) -> Replay:
    from pandas import DataFrame

    filled, mean, levels, mid, age = result
    reason[(filled > 0.0) & np.isnan(mid)] = _ONE_SIDED
    cost, actual, difference = (
        sign * (mean - mid) * filled,
        sign * (price - mid) * quantity,
        sign * (price - mean) * filled,
    )
    table = DataFrame(
        {
            "quantity": filled,
            "unfilled": quantity - filled,
            "price": mean,
            "levels": levels.astype(np.int64),
            "mid": mid,
            "book_age": age,
            "cost": cost,
            "actual_cost": actual,
            "difference": difference,
            "reason": reason,
        },
        index=trades.index,
    )
    return Replay(
        table,
        math.fsum(filled),
        math.fsum(quantity - filled),
        *(math.fsum(values[(filled > 0.0) & np.isfinite(values)]) for values in (cost, actual, difference)),
    )
