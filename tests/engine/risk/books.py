"""Books and markets for the tests of this folder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from engine.risk import Book, Market, Scenarios

NAMES = ("BTC", "ETH", "SOL")


def table(n: int = 60, seed: int = 1) -> pd.DataFrame:
    """Positions of every kind, the underlyings mixed."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["call", "put", "call", "put", "spot", "future", "perpetual"], n)
    option, timed = np.isin(kind, ["call", "put"]), np.isin(kind, ["call", "put", "future"])
    return pd.DataFrame(
        {
            "id": [f"position {place}" for place in range(n)],
            "underlying": rng.choice(NAMES, n),
            "kind": kind,
            "quantity": rng.normal(0.0, 10.0, n),
            "strike": np.where(option, rng.uniform(70.0, 130.0, n), np.nan),
            "expiry": np.where(timed, rng.uniform(0.02, 2.0, n), np.nan),
            "multiplier": rng.choice([1.0, 0.1, 100.0], n),
        }
    )


def book(n: int = 60, seed: int = 1) -> Book:
    return Book.from_frame(table(n, seed))


def market(**facts: Any) -> Market:
    given = {
        "spot": {"BTC": 100.0, "ETH": 95.0, "SOL": 108.0},
        "volatility": {"BTC": 0.5, "ETH": 0.6, "SOL": 0.8},
        "rate": 0.04,
        "dividend": {"BTC": 0.0, "ETH": 0.03, "SOL": 0.05},
    }
    return Market(**{**given, **facts})


def scenarios(n: int = 40, seed: int = 2, **facts: Any) -> Scenarios:
    """Moves of spot and volatility, of rate and time where `facts` has them."""
    rng = np.random.default_rng(seed)
    spot = np.expm1(0.05 * rng.standard_normal((n, 3)))
    return Scenarios(NAMES, spot, 0.03 * rng.standard_normal((n, 3)), **facts)
