"""What fills cost against the quotes that stood when they were made, and when they were decided.

References
----------
.. [1] A. F. Perold, "The implementation shortfall: paper versus reality", Journal of Portfolio Management 14 (1988),
   doi:10.3905/jpm.1988.409150.
.. [2] R. D. Huang and H. R. Stoll, "Dealer versus auction markets", Journal of Financial Economics 41 (1996), eq. 2
   (effective half-spread), doi:10.1016/0304-405X(95)00867-E.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine._checks import FloatArray, number
from engine._device import Place
from engine._placed import on_the_processor
from engine.errors import InvalidInput
from engine.execution._frames import as_of, numbers, reject, sides, symbols, times

__all__ = ["Slippage", "mids_of", "slippage"]

_BPS = 1e4
_NO_QUOTE = "no quote at or before the fill"
_NO_DECISION = "no quote at or before the decision"
_STALE = "the quote is older than max_age"


@dataclass(frozen=True, slots=True)
class Slippage:
    """Cost of fills; above 0 is a loss to whoever traded.

    Attributes
    ----------
    fills : DataFrame
        A row for each fill, with its index: ``mid`` [currency], ``quote_age`` [s], ``effective_spread`` [bps], twice
        the distance from the mid; ``slippage`` [bps] and ``slippage_cost`` [currency] against the mid at the fill;
        ``delay_cost`` [currency], what the mid moved between decision and fill; ``shortfall`` [bps] and
        ``shortfall_cost`` [currency] against the mid at the decision, fees included; ``reason`` why these are nan,
        empty where they are not.
    n_priced : int
        Number of fills with a quote; the totals are over these.
    notional : float
        Quantity times price [currency].
    slippage, slippage_cost : float
        Weighted by the mid's notional [bps], and in all [currency].
    effective_spread : float
        Weighted likewise [bps].
    delay_cost, fees : float
        [currency]
    shortfall, shortfall_cost : float
        Implementation shortfall of what was filled: slippage, delay and fees [bps], [currency].
    """

    fills: Any
    n_priced: int
    notional: float
    slippage: float
    slippage_cost: float
    effective_spread: float
    delay_cost: float
    fees: float
    shortfall: float
    shortfall_cost: float


def slippage(fills: Any, quotes: Any, *, max_age: float | None = None, device: Place = "auto") -> Slippage:
    """Return what each fill cost against the mid, and all of them together [1]_, [2]_.

    Parameters
    ----------
    fills : DataFrame
        ``time`` (datetime, or number [s]), ``side`` ("buy" or "sell", or +1 and -1), ``quantity`` above 0 [shares],
        ``price`` above 0 [currency]. Beside these ``decided`` (time of the decision; the fill's own without it),
        ``fee`` [currency] and ``symbol``. Any order of rows.
    quotes : DataFrame
        ``time``, ``bid``, ``ask`` above 0 [currency], and ``symbol`` where the fills have one; in order of time.
    max_age : float, optional
        Age from which a quote is not used [s].
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    Slippage
        A fill without a usable quote has nan and a reason, and is not in the totals; with none at all these are nan.

    Raises
    ------
    InvalidInput
        A column that is missing, a value outside its range, quotes out of order or crossed (bid above ask), a decision
        after its fill; with column and row, counted from 0.
    NotFinite
        A nan, an infinity or a missing time.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Notes
    -----
    The quote is the last at or before the time, so nothing looks ahead. What was decided and not filled is not known
    here: its opportunity cost is to be added to the shortfall.

    Examples
    --------
    >>> import pandas as pd
    >>> from engine.execution import slippage
    >>> fills = pd.DataFrame({"time": [1.5], "side": ["buy"], "quantity": [100.0], "price": [10.02], "decided": [0.0]})
    >>> quotes = pd.DataFrame({"time": [0.0, 1.0, 2.0], "bid": [9.98, 9.99, 9.0], "ask": [10.0, 10.01, 9.1]})
    >>> cost = slippage(fills, quotes)
    >>> round(cost.slippage_cost, 6), round(cost.slippage, 6), round(cost.shortfall_cost, 6)
    (2.0, 20.0, 3.0)
    """
    fills, quotes = on_the_processor("slippage", device, fills, quotes)
    oldest = math.inf if max_age is None else number("max_age", max_age, least=0.0)
    moments, sign = times("fills", fills), sides("fills", fills)
    quantity = numbers("fills", fills, "quantity", above=0.0)
    price = numbers("fills", fills, "price", above=0.0)
    fee = numbers("fills", fills, "fee") if "fee" in fills.columns else np.zeros(len(fills))
    decided = times("fills", fills, "decided") if "decided" in fills.columns else moments
    if decided.dtype.kind != moments.dtype.kind:
        raise InvalidInput("fills['decided']", f"holds {decided.dtype}, 'time' {moments.dtype}; both must be alike")
    reject("fills['decided']", decided, decided > moments, "must not be after the fill")
    known, mids = times("quotes", quotes), mids_of(quotes)
    names, known_names = symbols("fills", fills), symbols("quotes", quotes)
    if ("symbol" in fills.columns) != ("symbol" in quotes.columns):
        raise InvalidInput("quotes", "and fills must both have a column 'symbol', or neither")
    at_fill = as_of(moments, names, known, known_names, "quotes['time']")
    at_decision = as_of(decided, names, known, known_names, "quotes['time']")
    mid, age = _found(mids, at_fill), _seconds(moments, known, at_fill)
    reason = np.full(len(fills), "", dtype=object)
    reason[at_decision < 0] = _NO_DECISION
    reason[at_fill < 0] = _NO_QUOTE
    old = np.maximum(age, _seconds(decided, known, at_decision)) > oldest
    reason[old & (reason == "")] = _STALE
    priced = reason == ""
    mid_then = np.where(priced, _found(mids, at_decision), np.nan)
    mid_now = np.where(priced, mid, np.nan)
    away = sign * (price - mid_now)
    delay = sign * (mid_now - mid_then) * quantity
    shortfall = away * quantity + delay + fee
    from pandas import DataFrame

    table = DataFrame(
        {
            "mid": mid,
            "quote_age": age,
            "effective_spread": 2.0 * _BPS * away / mid_now,
            "slippage": _BPS * away / mid_now,
            "slippage_cost": away * quantity,
            "delay_cost": delay,
            "shortfall": _BPS * shortfall / (mid_then * quantity),
            "shortfall_cost": shortfall,
            "reason": reason,
        },
        index=fills.index,
    )
    return _totals(table, priced, quantity, price, fee, mid_now, mid_then)


def _totals(
    table: Any,
    priced: NDArray[np.bool_],
    quantity: FloatArray,
    price: FloatArray,
    fee: FloatArray,
    mid_now: FloatArray,
    mid_then: FloatArray,
) -> Slippage:
    """Add up the fills that have a quote."""
    count = int(priced.sum())
    if count == 0:
        return Slippage(table, 0, *(math.nan,) * 8)

    def total(values: Any) -> float:
        return math.fsum(np.asarray(values)[priced])

    cost, shortfall = total(table["slippage_cost"]), total(table["shortfall_cost"])
    per_mid = _BPS * cost / total(mid_now * quantity)
    return Slippage(
        fills=table,
        n_priced=count,
        notional=total(price * quantity),
        slippage=per_mid,
        slippage_cost=cost,
        effective_spread=2.0 * per_mid,
        delay_cost=total(table["delay_cost"]),
        fees=total(fee),
        shortfall=_BPS * shortfall / total(mid_then * quantity),
        shortfall_cost=shortfall,
    )


def mids_of(quotes: Any) -> FloatArray:
    """Return the mid of each quote, none of which may be crossed."""
    bid, ask = numbers("quotes", quotes, "bid", above=0.0), numbers("quotes", quotes, "ask", above=0.0)
    crossed = bid > ask
    if crossed.any():
        row = int(np.argmax(crossed))
        raise InvalidInput("quotes", f"is crossed: bid {bid[row]} above ask {ask[row]}", (row,))
    return np.asarray(0.5 * bid + 0.5 * ask)


def _found(values: FloatArray, rows: NDArray[np.intp]) -> FloatArray:
    return np.where(rows >= 0, values[rows], np.nan)


def _seconds(moments: NDArray[Any], known: NDArray[Any], rows: NDArray[np.intp]) -> FloatArray:
    away: NDArray[Any] = moments - known[rows]
    seconds = away / np.timedelta64(1, "s") if away.dtype.kind == "m" else away
    return np.where(rows >= 0, seconds, np.nan)
