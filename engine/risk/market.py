"""The state of the market in which a book is valued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from engine._checks import FloatArray, finite_array, positive_array
from engine.errors import InvalidInput, NotFinite
from engine.risk._columns import years_of
from engine.risk.book import Book

__all__ = ["Market", "State", "VolatilitySurface", "state"]

_Figures = float | Mapping[str, float]
_ROUNDING = 1e-9  # years by which an expiry may lie behind the clock: 0.03 seconds


@dataclass(frozen=True, slots=True, eq=False)
class VolatilitySurface:
    """Implied volatilities over strike and expiry.

    Between the points volatility is linear in the strike, and total variance (volatility squared times time) linear in
    time; outside, the nearest point holds. A point of the surface stays at its strike when the spot moves.

    Parameters
    ----------
    expiries : array_like, shape (n_expiries,)
        Time left, above 0 and increasing [years].
    strikes : array_like, shape (n_strikes,)
        Above 0 and increasing [currency].
    volatilities : array_like, shape (n_expiries, n_strikes)
        Per square root of a year, at least 0.

    Raises
    ------
    InvalidInput
        What does not increase, has another shape or is out of its range, with its place.
    NotFinite
        A nan or an infinity, likewise.

    Examples
    --------
    >>> from engine.risk import VolatilitySurface
    >>> surface = VolatilitySurface([0.25, 1.0], [90.0, 100.0, 110.0], [[0.30, 0.25, 0.24], [0.26, 0.25, 0.25]])
    >>> surface.at([0.25], [95.0]).round(12).tolist()
    [0.275]
    """

    expiries: FloatArray
    strikes: FloatArray
    volatilities: FloatArray

    def __post_init__(self) -> None:
        for name in ("expiries", "strikes"):
            values = positive_array(name, getattr(self, name), 1)
            back = np.flatnonzero(np.diff(values) <= 0.0)
            if back.size:
                place = int(back[0]) + 1
                raise InvalidInput(name, f"is {values[place]} after {values[place - 1]}; must increase", (place,))
            object.__setattr__(self, name, values)
        grid = finite_array("volatilities", self.volatilities, 2)
        if grid.shape != (self.expiries.size, self.strikes.size):
            wanted = (self.expiries.size, self.strikes.size)
            raise InvalidInput("volatilities", f"has shape {grid.shape}, must be {wanted}")
        if (grid < 0.0).any():
            row, column = (int(place) for place in np.unravel_index(int(np.argmax(grid < 0.0)), grid.shape))
            raise InvalidInput("volatilities", f"is {grid[row, column]}; must be at least 0", (row, column))
        object.__setattr__(self, "volatilities", grid)

    def at(self, expiry: ArrayLike, strike: ArrayLike) -> FloatArray:
        """Return the volatilities at these points.

        Parameters
        ----------
        expiry : array_like, shape (n,)
            Time left [years].
        strike : array_like, shape (n,)
            [currency]

        Returns
        -------
        ndarray, shape (n,)

        Raises
        ------
        InvalidInput
            Another number of strikes than of expiries, where neither is one.
        NotFinite
            A nan or an infinity.

        Examples
        --------
        >>> from engine.risk import VolatilitySurface
        >>> VolatilitySurface([0.5], [100.0], [[0.2]]).at([0.1, 2.0], [80.0, 120.0]).tolist()
        [0.2, 0.2]
        """
        times = np.clip(finite_array("expiry", expiry, 1), self.expiries[0], self.expiries[-1])
        levels = finite_array("strike", strike, 1)
        if times.size != levels.size and 1 not in (times.size, levels.size):
            raise InvalidInput("strike", f"has {levels.size} points for {times.size} expiries")
        times, levels = np.broadcast_arrays(times, levels)
        smiles = np.stack([np.interp(levels, self.strikes, row) for row in self.volatilities])
        if self.expiries.size == 1:
            return np.asarray(smiles[0])
        low = np.clip(np.searchsorted(self.expiries, times, side="right") - 1, 0, self.expiries.size - 2)
        before, after = self.expiries[low], self.expiries[low + 1]
        share = (times - before) / (after - before)
        rows = np.arange(levels.size)
        variance = (1.0 - share) * smiles[low, rows] ** 2 * before + share * smiles[low + 1, rows] ** 2 * after
        return np.asarray(np.sqrt(variance / times))


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """Prices, volatilities and rates of one moment.

    Parameters
    ----------
    spot : mapping of str to float
        By underlying, above 0 [currency].
    volatility : float, mapping of str to float or VolatilitySurface, optional
        Implied, per square root of a year; wanted for underlyings with options.
    rate, dividend : float or mapping of str to float
        Continuously compounded, per year; a mapping names every underlying. For a coin the dividend is its yield, for
        a currency the foreign rate.
    as_of : float or date
        On the clock of the book's expiries: a number [years] where these are numbers, a date (UTC where it bears no
        zone) where they are dates.
    implied : mapping of str to float, optional
        Volatilities of single positions, by id; they come before `volatility`.

    Raises
    ------
    InvalidInput
        A number out of its range or an underlying without one, by name.
    NotFinite
        A nan or an infinity, likewise.

    Examples
    --------
    >>> from engine.risk import Market
    >>> Market({"BTC": 65_000.0, "ETH": 3_000.0}, volatility={"BTC": 0.5, "ETH": 0.6}, rate=0.04).spot["ETH"]
    3000.0
    """

    spot: Mapping[str, float]
    volatility: float | Mapping[str, float | VolatilitySurface] | None = None
    rate: _Figures = 0.0
    dividend: _Figures = 0.0
    as_of: float | date | datetime = 0.0
    implied: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not hasattr(self.spot, "items"):
            raise InvalidInput("spot", "must map each underlying to its price")
        spot = {str(name): _finite("spot", value, name) for name, value in self.spot.items()}
        for name, value in spot.items():
            if value <= 0.0:
                raise InvalidInput("spot", f"is {value} for {name!r}; must be above 0")
        object.__setattr__(self, "spot", spot)
        for name in ("rate", "dividend"):
            object.__setattr__(self, name, _by_name(name, getattr(self, name)))
        if self.volatility is not None:
            object.__setattr__(self, "volatility", _by_name("volatility", self.volatility, least=0.0))
        if self.implied is not None:
            object.__setattr__(self, "implied", _by_name("implied", self.implied, least=0.0))
        if isinstance(self.as_of, date) and self.as_of != self.as_of:  # pandas' NaT
            raise NotFinite("as_of", f"is {self.as_of}; must be a known date")
        if not isinstance(self.as_of, date):
            object.__setattr__(self, "as_of", _finite("as_of", self.as_of))

    @property
    def dated(self) -> bool:
        """Whether the clock shows dates."""
        return isinstance(self.as_of, date)

    @property
    def clock(self) -> float:
        """`as_of` in years: of 365 days since 1970 for a date."""
        return float(years_of([self.as_of])[0]) if isinstance(self.as_of, date) else float(self.as_of)


class State(NamedTuple):
    """What a market says of the underlyings and the positions of a book.

    Attributes
    ----------
    spot, rate, dividend : ndarray, shape (n_underlyings,)
    volatility, time : ndarray, shape (n_positions,)
        0 where there is none.
    """

    spot: FloatArray
    rate: FloatArray
    dividend: FloatArray
    volatility: FloatArray
    time: FloatArray


def state(book: Book, market: Market, *, settled: bool = False) -> State:
    """Return the market as the book sees it; `settled` lets expiries lie in the past, with no time left."""
    for name, value, kind in (("book", book, Book), ("market", market, Market)):
        if not isinstance(value, kind):
            raise InvalidInput(name, f"is of type {type(value).__name__}; must be a {kind.__name__}")
    time = _time_left(book, market, settled)
    spot, rate, dividend = (
        np.array([_of(name, getattr(market, name), underlying) for underlying in book.underlyings])
        for name in ("spot", "rate", "dividend")
    )
    return State(spot, rate, dividend, _volatilities(book, market, time), time)


def _time_left(book: Book, market: Market, settled: bool) -> FloatArray:
    timed = np.isfinite(book.expiry)
    if timed.any() and market.dated != book.dated:
        ours, theirs = ("a date", "numbers") if market.dated else ("a number", "dates")
        raise InvalidInput("as_of", f"is {ours}, but the expiries of the book are {theirs}")
    left = np.where(timed, book.expiry - market.clock, 0.0)
    gone = left < -_ROUNDING
    if gone.any() and not settled:
        place = int(np.argmax(gone))
        problem = f"of position {book.ids[place]!r} lies {-left[place]:.6g} years before the market's as_of"
        raise InvalidInput("expiry", f"{problem}; take expired positions out of the book", (place,))
    return np.maximum(left, 0.0)


def _volatilities(book: Book, market: Market, time: FloatArray) -> FloatArray:
    option = book.sign != 0.0
    volatility = np.zeros(len(book))
    if market.implied:
        own = market.implied
        found = np.array([own.get(name, np.nan) for name in book.ids], dtype=np.float64)
    else:
        found = np.full(len(book), np.nan)
    for place, underlying in enumerate(book.underlyings):
        span = slice(int(book.starts[place]), int(book.starts[place + 1]))
        open_ = option[span] & np.isnan(found[span])
        if not open_.any():
            continue
        if market.volatility is None:
            first = book.ids[span][int(np.argmax(open_))]
            raise InvalidInput("volatility", f"is not given; the option {first!r} on {underlying!r} needs it")
        level = _of("volatility", market.volatility, underlying)
        if isinstance(level, VolatilitySurface):
            level = level.at(time[span], book.strike[span])
        volatility[span] = level
    return np.where(option, np.where(np.isnan(found), volatility, found), 0.0)


def _of(name: str, figures: Any, underlying: str) -> Any:
    if not isinstance(figures, Mapping):
        return figures
    try:
        return figures[underlying]
    except KeyError:
        known = ", ".join(map(repr, list(figures)[:5]))
        raise InvalidInput(name, f"has nothing for {underlying!r}, which the book holds (it has {known})") from None


def _by_name(name: str, figures: Any, least: float = -np.inf) -> Any:
    """Floats by name, or one float for all."""
    if hasattr(figures, "items"):
        return {str(key): _level(name, value, key, least) for key, value in figures.items()}
    return _level(name, figures, None, least)


def _level(name: str, value: Any, key: Any, least: float) -> float | VolatilitySurface:
    if isinstance(value, VolatilitySurface) and name == "volatility":
        return value
    number = _finite(name, value, key)
    if number < least:
        of = "" if key is None else f" for {key!r}"
        raise InvalidInput(name, f"is {number}{of}; must be at least {least:g}")
    return number


def _finite(name: str, value: Any, key: Any = None) -> float:
    of = "" if key is None else f" for {key!r}"
    try:
        if isinstance(value, str | bytes | bool | np.bool_) or getattr(value, "ndim", False):
            raise TypeError
        number = float(value)
    except (OverflowError, TypeError, ValueError):
        raise InvalidInput(name, f"is {value!r}{of}; must be a number") from None
    if not np.isfinite(number):
        raise NotFinite(name, f"is {number}{of}; must be finite")
    return number
