"""Compiles what runs on a card, by a small call of every function that goes there."""

from __future__ import annotations

import numpy as np

from engine.pricing import GBM, Asian, European, Heston, european, heston_greeks, implied_volatility, monte_carlo
from engine.risk import Book, Market, Scenarios, revalue
from engine.validation import probability_of_backtest_overfitting

__all__ = ["warm"]

_OPTIONS = ([100.0, 101.0], 100.0, 0.5, 0.03, 0.01)
_MODEL = (0.04, 1.5, 0.06, 0.5, -0.7)


def warm() -> None:
    """Call each function once on the card, with as little work as there can be."""
    european(*_OPTIONS, 0.2, "call", device="cuda")
    implied_volatility(6.0, *_OPTIONS, "call", device="cuda")
    heston_greeks(*_OPTIONS, "call", *_MODEL, device="cuda")
    for payoff, model in (
        (Asian(100.0, 0.5, "call", n_fixings=2), GBM(100.0, 0.03, 0.01, 0.2)),
        (European(100.0, 0.5, "call"), Heston(100.0, 0.03, 0.01, *_MODEL)),
    ):
        for sampling in ("sobol", "pseudo"):
            monte_carlo(payoff, model, 64, 1, n_steps=2, sampling=sampling, device="cuda")
    book = Book.from_columns(id=["warm"], underlying=["X"], kind=["call"], quantity=[1.0], strike=[100.0], expiry=[0.5])
    revalue(book, Market({"X": 100.0}, volatility=0.2), Scenarios(["X"], [[0.01]]), device="cuda")
    returns = np.outer([0.01, -0.01, 0.02, 0.0], [1.0, 2.0])
    probability_of_backtest_overfitting(returns + np.eye(4, 2) * 0.01, 2, device="cuda")
