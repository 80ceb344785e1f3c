"""Greeks of every position of a book, the linear ones included."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine._checks import FloatArray
from engine._device import Place
from engine.pricing.closed_form import Greeks, european
from engine.risk.book import Book
from engine.risk.market import Market, state

__all__ = ["Sensitivities", "sensitivities"]


class Sensitivities(NamedTuple):
    """Greeks per unit of the underlying, and the market they belong to; arrays of shape (n_positions,)."""

    spot: FloatArray
    rate: FloatArray
    dividend: FloatArray
    volatility: FloatArray
    time: FloatArray
    greeks: Greeks


def sensitivities(book: Book, market: Market, *, settled: bool = False, device: Place = "cpu") -> Sensitivities:
    """Return the Greeks in this market; `settled` lets expiries lie in the past, with no time left."""
    now = state(book, market, settled=settled)
    group = book.group
    spot, rate, dividend = now.spot[group], now.rate[group], now.dividend[group]
    sign = book.sign
    option = sign != 0.0
    # what is linear goes through the same call as a call option, and is put right afterwards
    found = european(
        spot, book.strike, now.time, rate, dividend, now.volatility, np.where(option, sign, 1.0), device=device
    )
    carry = rate - dividend
    grown = np.exp(carry * np.where(option, 0.0, now.time))
    nothing = np.zeros(len(book))
    linear = Greeks(
        price=spot * grown,
        delta=grown,
        gamma=nothing,
        vega=nothing,
        theta=np.where(now.time > 0.0, -carry * spot * grown, 0.0),
        rho=spot * grown * now.time,
        vanna=nothing,
        volga=nothing,
        charm=np.where(now.time > 0.0, -carry * grown, 0.0),
    )
    greeks = Greeks._make(np.where(option, *pair) for pair in zip(found, linear, strict=True))
    return Sensitivities(spot, rate, dividend, now.volatility, now.time, greeks)
