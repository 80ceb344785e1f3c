"""Why profit and loss is what it is: Greeks, new trades, and what neither explains.

References
----------
.. [1] J. C. Hull, *Options, Futures, and Other Derivatives*, 10th ed., ch. 19.7 (the expansion) and 19.13.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine._checks import FloatArray
from engine._device import Place
from engine.errors import InvalidInput, NotFinite
from engine.risk._sensitivities import sensitivities
from engine.risk.book import Book
from engine.risk.market import Market

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PnlExplanation", "PnlTerms", "explain_pnl"]


class PnlTerms(NamedTuple):
    """Parts of profit and loss [currency]: floats, or one figure for each position or underlying.

    Attributes
    ----------
    delta, gamma : float or ndarray
        Of the move of the spot, and of its square.
    vega, volga : float or ndarray
        Of the move of the implied volatility, and of its square.
    vanna : float or ndarray
        Of both moves together.
    theta : float or ndarray
        Of the time that passed, up to expiry.
    rho : float or ndarray
        Of the move of the rate.
    new_trades : float or ndarray
        Of trades between the two moments: their value at the end less what was paid.
    unexplained : float or ndarray
        The rest of the full revaluation: moves of the dividend, higher orders, Greeks that do not exist.
    """

    delta: Any
    gamma: Any
    vega: Any
    theta: Any
    rho: Any
    vanna: Any
    volga: Any
    new_trades: Any
    unexplained: Any


@dataclass(frozen=True, slots=True, eq=False)
class PnlExplanation:
    """Profit and loss between two moments, and its parts; each level adds up to the next, and the parts to `pnl`.

    Attributes
    ----------
    pnl : float
        By full revaluation [currency].
    total : PnlTerms of float
    by_underlying : PnlTerms of ndarray, shape (n_underlyings,)
    by_position : PnlTerms of ndarray, shape (n_positions,)
    pnl_by_underlying, pnl_by_position : ndarray
    underlyings : tuple of str
    ids : ndarray of str
        Positions of the book before, then those that are new.
    """

    pnl: float
    total: PnlTerms
    by_underlying: PnlTerms
    by_position: PnlTerms
    pnl_by_underlying: FloatArray
    pnl_by_position: FloatArray
    underlyings: tuple[str, ...]
    ids: NDArray[np.object_]

    @property
    def unexplained_share(self) -> float:
        """Size of what is unexplained, over that of all parts; 0 where nothing moved."""
        sizes = sum(abs(part) for part in self.total)
        return float(abs(self.total.unexplained) / sizes) if sizes else 0.0

    def frame(self) -> pd.DataFrame:
        """Return a table of the parts and `pnl`, one row an underlying and a last one for the book.

        Returns
        -------
        DataFrame

        Examples
        --------
        >>> from engine.risk import Book, Market, explain_pnl
        >>> book = Book.from_columns(id=["a"], underlying=["X"], kind=["spot"], quantity=[2.0])
        >>> explain_pnl(book, Market({"X": 100.0}), Market({"X": 101.0})).frame()["delta"].tolist()
        [2.0, 2.0]
        """
        import pandas as pd

        columns = {
            name: [*part.tolist(), whole]
            for name, part, whole in zip(PnlTerms._fields, self.by_underlying, self.total, strict=True)
        }
        columns["pnl"] = [*self.pnl_by_underlying.tolist(), self.pnl]
        return pd.DataFrame(columns, index=[*self.underlyings, "total"])


def explain_pnl(
    book: Book,
    before: Market,
    after: Market,
    *,
    after_book: Book | None = None,
    paid: Mapping[str, float] | None = None,
    device: Place = "auto",
) -> PnlExplanation:
    """Return profit and loss between two moments, explained by the Greeks at the first [1]_.

    Parameters
    ----------
    book : Book
        Held at the first moment.
    before, after : Market
        The two moments; `after` is no earlier.
    after_book : Book, optional
        Held at the second; the same as `book` where it is not given. Positions are known by their ids.
    paid : mapping of str to float, optional
        Price times units of what was traded in each position: paid is positive, received negative [currency]. For a
        future or perpetual too, though no cash moved. What is not there was had for nothing.
    device : {"auto", "cpu", "cuda"}
        Where the Greeks are computed, as of `european`.

    Returns
    -------
    PnlExplanation

    Raises
    ------
    InvalidInput
        An underlying without a price, `after` earlier than `before`, an id that stands for different contracts in the
        two books, a payment for an id that was not traded.
    DeviceMissing
        ``device="cuda"`` without a card.

    Notes
    -----
    Profit is the value of `after_book` less that of `book` less what was paid: full revaluation at both ends. The parts
    are the terms of Taylor's expansion of what was held at first; `unexplained` is the rest and is never spread over
    the others. A Greek that is infinite (at the money with no time left) explains nothing, and leaves its part there.

    An option that expired in between is worth its payoff at the spot of `after`; it may have left `after_book`, and
    then counts as settled rather than sold.

    Examples
    --------
    >>> from engine.risk import Book, Market, explain_pnl
    >>> book = Book.from_columns(
    ...     id=["straddle c", "straddle p"], underlying=["X", "X"], kind=["call", "put"], quantity=[1.0, 1.0],
    ...     strike=[100.0, 100.0], expiry=[0.5, 0.5],
    ... )
    >>> before = Market({"X": 100.0}, volatility=0.30)
    >>> found = explain_pnl(book, before, Market({"X": 104.0}, volatility=0.33, as_of=1 / 365))
    >>> round(found.pnl, 3), round(found.total.gamma, 3), round(found.total.vega, 3), round(found.total.unexplained, 3)
    (2.268, 0.299, 1.683, -0.038)
    """
    first = sensitivities(book, before, device=device)
    held = sensitivities(book, after, settled=True, device=device)
    passed = _passed(before, after)
    terms = _expansion(book, first, held, passed)
    gain = book.weight * (held.greeks.price - first.greeks.price)
    last = book if after_book is None else after_book
    if not isinstance(last, Book):
        raise InvalidInput("after_book", f"is of type {type(last).__name__}; must be a Book")
    traded, new_group, new_ids, underlyings = _trades(book, held, last, after, {} if paid is None else paid, device)
    size = len(book) + new_ids.size
    by_position = np.zeros((len(PnlTerms._fields), size))
    by_position[:7, : len(book)] = terms
    by_position[7] = traded
    pnl = traded.copy()
    pnl[: len(book)] += gain
    by_position[8] = pnl - by_position[:8].sum(axis=0)
    group = np.concatenate([book.group, new_group])
    by_underlying = np.stack([np.bincount(group, weights=row, minlength=len(underlyings)) for row in by_position])
    pnl_by_underlying = np.asarray(np.bincount(group, weights=pnl, minlength=len(underlyings)), dtype=np.float64)
    return PnlExplanation(
        float(pnl_by_underlying.sum()),
        PnlTerms._make(float(part) for part in by_underlying.sum(axis=1)),
        PnlTerms._make(by_underlying),
        PnlTerms._make(by_position),
        pnl_by_underlying,
        pnl,
        underlyings,
        np.concatenate([book.ids, new_ids]),
    )


def _expansion(book: Book, first: Any, held: Any, passed: float) -> FloatArray:
    """Taylor's terms by position, in the order of `PnlTerms`; one that is not finite is 0."""
    greeks = first.greeks
    spot, volatility, rate = held.spot - first.spot, held.volatility - first.volatility, held.rate - first.rate
    with np.errstate(invalid="ignore"):
        terms = book.weight * np.stack(
            [
                greeks.delta * spot,
                0.5 * greeks.gamma * spot**2,
                greeks.vega * volatility,
                greeks.theta * np.minimum(passed, first.time),
                greeks.rho * rate,
                greeks.vanna * spot * volatility,
                0.5 * greeks.volga * volatility**2,
            ]
        )
    return np.where(np.isfinite(terms), terms, 0.0)


def _passed(before: Market, after: Market) -> float:
    """Years from one moment to the other."""
    start, end = before.clock, after.clock
    if before.dated != after.dated:
        raise InvalidInput("after", "has an as_of of another sort than before: give both as numbers, or both as dates")
    if end < start:
        raise InvalidInput("after", f"is {start - end:.6g} years before the market it is compared with")
    return end - start


def _trades(
    book: Book, held: Any, last: Book, after: Market, paid: Mapping[str, float], device: Place
) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.object_], tuple[str, ...]]:
    """Profit of trades by position, and the groups and ids of new positions; with the underlyings of all."""
    places = {name: place for place, name in enumerate(book.ids)}
    same = np.array([places.get(name, -1) for name in last.ids], dtype=np.int64)
    kept, new = np.flatnonzero(same >= 0), np.flatnonzero(same < 0)
    _check_terms(book, last, same, kept)
    # what expired and is gone was settled, not sold
    settled = held.time <= 0.0
    weight = np.where(settled & np.isfinite(book.expiry), book.weight, 0.0)
    weight[same[kept]] = last.weight[kept]
    traded = (weight - book.weight) * held.greeks.price
    fresh = np.zeros(0)
    if new.size:
        prices = sensitivities(last, after, settled=True, device=device).greeks.price
        fresh = last.weight[new] * prices[new]
    traded = np.concatenate([traded, fresh])
    order = {name: place for place, name in enumerate([*book.ids, *last.ids[new]])}
    if not hasattr(paid, "items"):
        raise InvalidInput("paid", f"is of type {type(paid).__name__}; must map ids to amounts")
    changed = np.concatenate([weight != book.weight, np.ones(new.size, dtype=bool)])
    for name, amount in paid.items():
        place = order.get(name)
        if place is None or not changed[place]:
            raise InvalidInput("paid", f"has {name!r}, of which nothing was traded")
        if not math.isfinite(amount):
            raise NotFinite("paid", f"is {amount} for {name!r}; must be finite")
        traded[place] -= amount
    underlyings = tuple(dict.fromkeys([*book.underlyings, *last.underlyings]))
    spots = {name: place for place, name in enumerate(underlyings)}
    groups = np.array([spots[last.underlyings[place]] for place in last.group[new]], dtype=np.int64)
    return traded, groups, last.ids[new], underlyings


def _check_terms(book: Book, last: Book, same: NDArray[np.int64], kept: NDArray[np.int64]) -> None:
    """Raise where an id stands for another contract in the second book."""
    if book.dated != last.dated and np.isfinite(last.expiry[kept]).any():
        raise InvalidInput("after_book", "has expiries of another sort than book: numbers and dates do not compare")
    ours, theirs = same[kept], kept
    names, last_names = np.array(book.underlyings)[book.group], np.array(last.underlyings)[last.group]
    differs = names[ours] != last_names[theirs]
    for column in ("kinds", "strike", "expiry"):
        differs |= getattr(book, column)[ours] != getattr(last, column)[theirs]
    if differs.any():
        place = int(theirs[int(np.argmax(differs))])
        raise InvalidInput(
            "after_book", f"has other terms for {last.ids[place]!r} than book; a new contract needs a new id"
        )
