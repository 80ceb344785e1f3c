"""A call of every public function, with as little in it as there can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import engine

FILLS = pd.DataFrame(
    {"order": "A", "time": [1.5, 1.9], "side": "buy", "quantity": 100.0, "price": 10.02, "decided": 0.0}
)
QUOTES = pd.DataFrame({"time": [0.0, 1.0, 2.0, 3.0], "bid": [9.98, 9.99, 9.0, 9.1], "ask": [10.0, 10.01, 9.1, 9.2]})
LEVELS = pd.DataFrame(
    {"time": 0.0, "side": ["bid", "ask", "ask"], "price": [9.9, 10.1, 10.2], "quantity": [100.0, 50.0, 150.0]}
)
ORDERS = pd.DataFrame(
    {
        "side": "buy", "quantity": np.linspace(1e3, 1e4, 12), "duration": np.tile([0.1, 0.5], 6), "before": 50.0,
        "price": np.linspace(50.01, 50.04, 12), "after": np.linspace(50.02, 50.01, 12),
    }
)  # fmt: skip
BOOK = engine.Book.from_columns(
    id=["a", "b"], underlying=["X", "X"], kind=["spot", "put"], quantity=[1.0, 2.0], strike=[np.nan, 100.0],
    expiry=[np.nan, 0.5],
)  # fmt: skip
MARKET = engine.Market({"X": 100.0}, volatility=0.2)
LATER = engine.Market({"X": 101.0}, volatility=0.21, as_of=0.01)
MOVES = engine.Scenarios(["X"], [[-0.1], [0.0], [0.1]])
OPTION = {
    "spot": 100.0, "strike": np.array([90.0, 100.0, 110.0]), "expiry": 0.5, "rate": 0.03, "dividend": 0.01,
    "volatility": 0.2, "kind": "call",
}  # fmt: skip
CONTRACT = {name: value for name, value in OPTION.items() if name != "volatility"}
MODEL = {"v0": 0.04, "kappa": 1.5, "theta": 0.06, "sigma": 0.5, "rho": -0.7}
SERIES = np.array([0.50, 0.511, 0.519, 0.530, 0.541, 0.550, 0.560, 0.569, 0.581, 0.590])
RETURNS = np.random.default_rng(4).normal(0.0, 0.01, (16, 3))
PLAN = {"horizon": 5.0, "n_periods": 5, "volatility": 0.95, "permanent": 2.5e-7, "temporary": 2.5e-6}
SURFACE = {**CONTRACT, "strike": np.array([[80.0], [90.0], [100.0], [110.0], [120.0]]), "expiry": np.array([0.5, 1.0])}


class Call(NamedTuple):
    """A public function and its arguments.

    Attributes
    ----------
    function : callable
    arguments : dict of str to Any
    there : bool
        Whether it computes on a card when told to.
    arrays : tuple of str
        Arguments that may lie on a card.
    """

    function: Callable[..., Any]
    arguments: dict[str, Any]
    there: bool = False
    arrays: tuple[str, ...] = ()

    def __call__(self, **changed: Any) -> Any:
        return self.function(**{**self.arguments, **changed})


CALLS = {
    call.function.__name__: call
    for call in (
        Call(engine.european, OPTION, True),
        Call(engine.implied_volatility, {**CONTRACT, "price": np.array([12.0, 5.0, 2.0])}, True),
        Call(engine.implied_volatility_reason, {**CONTRACT, "price": np.array([12.0, 5.0, -1.0])}, True),
        Call(engine.heston_price, {**CONTRACT, **MODEL}, True),
        Call(engine.heston_greeks, {**CONTRACT, **MODEL}, True),
        Call(
            engine.calibrate_heston, {**SURFACE, "price": engine.heston_price(**SURFACE, **MODEL)}, True,
            ("strike", "expiry", "price"),
        ),
        Call(
            engine.monte_carlo,
            {
                "payoff": engine.European(100.0, 1.0, "call"), "model": engine.GBM(100.0, 0.0, 0.0, 0.2),
                "n_paths": 64, "seed": 1,
            },
            True,
        ),
        Call(engine.american, {**OPTION, "kind": "put"}, arrays=("strike",)),
        Call(
            engine.verify_greeks,
            {"served": {"delta": 0.5}, "request": {**OPTION, "strike": 100.0}, "n_paths": 1024},
            True,
        ),
        Call(engine.revalue, {"book": BOOK, "market": MARKET, "scenarios": MOVES}, True),
        Call(
            engine.value_at_risk, {"exposures": np.array([1.0, 2.0]), "covariance": np.eye(2)},
            arrays=("exposures", "covariance"),
        ),
        Call(
            engine.expected_shortfall, {"exposures": np.array([1.0, 2.0, 1.0]), "returns": RETURNS},
            arrays=("exposures", "returns"),
        ),
        Call(engine.backtest_var, {"pnl": np.array([1.0, -1.0, 1.0]), "var": 0.5}, arrays=("pnl",)),
        Call(engine.explain_pnl, {"book": BOOK, "before": MARKET, "after": LATER}, True),
        Call(engine.forecast_capacity, {"series": SERIES}, arrays=("series",)),
        Call(engine.trend, {"series": SERIES, "times": np.arange(10.0)}, arrays=("series", "times")),
        Call(engine.change_point, {"series": SERIES}, arrays=("series",)),
        Call(engine.realised_volatility, {"values": SERIES, "interval": 1.0}, arrays=("values",)),
        Call(
            engine.kelly_fraction, {"expected_return": np.array([0.1, 0.2]), "variance": np.eye(2)},
            arrays=("expected_return", "variance"),
        ),
        Call(engine.kelly_for_var, {"limit": 2.0, "var": np.array([1.0, 4.0]), "kelly": 0.25}, arrays=("var",)),
        Call(engine.slippage, {"fills": FILLS, "quotes": QUOTES}),
        Call(engine.parent_orders, {"fills": FILLS, "quotes": QUOTES, "settle": 0.5, "day": 100.0}),
        Call(engine.calibrate_impact, {"fills": ORDERS}),
        Call(
            engine.optimal_trajectory, {"shares": 1e6, **PLAN, "fixed_cost": 0.0625, "risk_aversion": 1e-6}
        ),
        Call(engine.urgency, {**PLAN, "risk_aversion": 1e-6}),
        Call(engine.replay, {"trades": FILLS, "book_snapshots": LEVELS}),
        Call(engine.psi, {"expected": SERIES, "actual": SERIES[::2], "bins": 4}, arrays=("expected", "actual")),
        Call(
            engine.psi_from_fractions, {"expected": np.array([0.5, 0.5]), "actual": np.array([0.6, 0.4])},
            arrays=("expected", "actual"),
        ),
        Call(engine.ks, {"expected": SERIES, "actual": SERIES[::2]}, arrays=("expected", "actual")),
        Call(engine.sharpe_ratio, {"returns": RETURNS}, arrays=("returns",)),
        Call(
            engine.probabilistic_sharpe_ratio,
            {"sharpe": np.array([0.1, 0.2]), "benchmark": 0.0, "n_observations": 24},
            arrays=("sharpe",),
        ),
        Call(
            engine.deflated_sharpe_ratio,
            {"sharpe": np.array([0.1, 0.2]), "n_observations": 24, "n_trials": 10, "trials_variance": 0.01},
            arrays=("sharpe",),
        ),
        Call(
            engine.expected_maximum_sharpe, {"n_trials": np.array([10.0, 20.0]), "trials_variance": 0.01},
            arrays=("n_trials",),
        ),
        Call(engine.walk_forward, {"n_periods": 8, "n_train": 4, "n_test": 2}),
        Call(
            engine.purged_folds, {"starts": np.arange(8.0), "ends": np.arange(8.0) + 0.5, "n_folds": 2},
            arrays=("starts", "ends"),
        ),
        Call(
            engine.probability_of_backtest_overfitting, {"returns": RETURNS, "n_splits": 4}, True, ("returns",)
        ),
        Call(engine.benchmark_greeks, {}, True),
        Call(engine.warm, {}, True),
    )
}  # fmt: skip


def numbers(found: Any) -> list[Any]:
    """Whatever numbers and words a result holds, in its order."""
    if found is None or isinstance(found, (str, bool, int, float, np.generic)):
        return [found]
    if isinstance(found, (pd.DataFrame, pd.Series)):
        return numbers(found.to_numpy())
    if hasattr(found, "tolist"):
        return numbers(found.tolist())
    if isinstance(found, dict):
        return numbers(list(found.values()))
    if isinstance(found, (list, tuple)):
        return [number for part in found for number in numbers(part)]
    return numbers([getattr(found, name) for name in found.__dataclass_fields__])
