"""What no caller should send, and some do: named in an error of the engine, never in one of Python or numpy."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

import engine
from engine import EngineError

NO_NUMBERS = (None, "1.5x", b"1", [], [[1.0], [1.0, 2.0]], 1j, {}, object(), np.datetime64("2026-01-01"), pd.NA, len)
FILLS = pd.DataFrame(
    {"order": "A", "time": [1.5, 1.9], "side": "buy", "quantity": 100.0, "price": 10.02, "decided": 0.0}
)
QUOTES = pd.DataFrame({"time": [0.0, 1.0, 2.0], "bid": [9.98, 9.99, 9.0], "ask": [10.0, 10.01, 9.1]})
BOOK = engine.Book.from_columns(id=["a"], underlying=["X"], kind=["spot"], quantity=[1.0])
MARKET = engine.Market({"X": 100.0})
PLAN = {
    "shares": 1e6, "horizon": 5.0, "n_periods": 5, "volatility": 0.95, "permanent": 2.5e-7, "temporary": 2.5e-6,
    "fixed_cost": 0.0625, "risk_aversion": 1e-6,
}  # fmt: skip
CALLS: dict[str, tuple[Any, dict[str, Any], tuple[str, ...]]] = {
    "kelly_fraction": (engine.kelly_fraction, {"expected_return": 0.01, "variance": 0.04}, ("variance",)),
    "kelly_for_var": (engine.kelly_for_var, {"limit": 2.0, "var": 1.0, "kelly": 0.2, "margin": 0.1}, ("var", "margin")),
    "sharpe_ratio": (engine.sharpe_ratio, {"returns": [0.1, 0.2], "risk_free": 0.0}, ("returns", "risk_free")),
    "Sweep": (engine.Sweep, {"participation": 1.0, "latency": 0.0}, ("participation", "latency")),
    "slippage": (engine.slippage, {"fills": FILLS, "quotes": QUOTES}, ("fills", "quotes")),
    "parent_orders": (
        engine.parent_orders,
        {"fills": FILLS, "quotes": QUOTES, "settle": 0.1, "day": 100.0},
        ("fills", "quotes", "settle", "day"),
    ),
    "replay": (engine.replay, {"trades": FILLS, "book_snapshots": QUOTES}, ("trades", "book_snapshots")),
    "optimal_trajectory": (engine.optimal_trajectory, PLAN, tuple(PLAN)),
    "explain_pnl": (
        engine.explain_pnl,
        {"book": BOOK, "before": MARKET, "after": MARKET, "after_book": BOOK, "paid": {}},
        ("book",),
    ),
    "value_at_risk": (
        engine.value_at_risk,
        {"exposures": [1.0], "covariance": [[1.0]], "confidence": 0.9, "horizon": 1.0},
        ("exposures", "covariance", "confidence", "horizon"),
    ),
    "Scenarios.simulated": (
        engine.Scenarios.simulated,
        {"underlyings": ["X"], "covariance": [[1.0]], "n_scenarios": 3, "seed": 1},
        ("covariance", "n_scenarios", "seed"),
    ),
    "ks": (engine.ks, {"expected": [1.0], "actual": [1.0], "device": "cpu"}, ("expected", "actual", "device")),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_number_is_named(name: str) -> None:
    function, arguments, hostile = CALLS[name]
    for argument in hostile:
        for value in NO_NUMBERS:
            with pytest.raises(EngineError, match=argument.split("_")[0]):
                function(**{**arguments, argument: value})


def test_a_book_is_a_book() -> None:
    for other in (1.0, "book", [1.0], {}):
        with pytest.raises(EngineError, match="after_book: is of type"):
            engine.explain_pnl(BOOK, MARKET, MARKET, after_book=other)  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="symbols: is of type float"):
        engine.value_at_risk([1.0], covariance=[[1.0]], symbols=1.0)  # type: ignore[call-overload]


def test_numbers_of_other_kinds_are_numbers() -> None:
    plain = engine.optimal_trajectory(**PLAN)  # type: ignore[arg-type]
    as_decimals = {name: value if name == "n_periods" else Decimal(repr(value)) for name, value in PLAN.items()}
    exact = engine.optimal_trajectory(**as_decimals)  # type: ignore[arg-type]
    assert (exact.expected_cost, exact.cost_std) == (plain.expected_cost, plain.cost_std)
    with pytest.raises(EngineError, match="n_periods: is 1000"):
        engine.optimal_trajectory(**{**PLAN, "n_periods": 10**400})  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="horizon: is 5e-324; too short"):
        engine.optimal_trajectory(**{**PLAN, "horizon": 5e-324})  # type: ignore[arg-type]


def test_one_contract_may_have_several_quotes() -> None:
    strike = np.array([80.0, 90.0, 100.0, 110.0, 120.0])
    first = engine.heston_price(100.0, strike, 0.5, 0.0, 0.0, "call", 0.04, 1.5, 0.06, 0.5, -0.7)
    twice = np.stack([first, first])
    fit = engine.calibrate_heston(100.0, strike, 0.5, 0.0, 0.0, "call", twice)
    assert fit.rmse < 1e-6
    assert not fit.converged  # one expiry does not tell the parameters apart
