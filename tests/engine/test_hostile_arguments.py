"""What no caller should send, and some do: named in an error of the engine, never in one of Python or numpy."""

from __future__ import annotations

import inspect
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

import engine
from engine import EngineError
from tests.engine.calls import CALLS as ALL

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


QUOTED = {
    "spot": 100.0, "strike": [[90.0], [100.0], [110.0]], "expiry": [0.5, 1.0], "rate": 0.0, "dividend": 0.0,
    "kind": "call",
    "price": engine.heston_price(
        100.0, [[90.0], [100.0], [110.0]], [0.5, 1.0], 0.0, 0.0, "call", 0.04, 1.5, 0.06, 0.5, -0.7
    ),
}  # fmt: skip
OPTION = {
    "spot": 100.0, "strike": 100.0, "expiry": 1.0, "rate": 0.0, "dividend": 0.0, "volatility": 0.2, "kind": "call"
}  # fmt: skip
PATHS = {
    "payoff": engine.European(100.0, 1.0, "call"), "model": engine.GBM(100.0, 0.0, 0.0, 0.2), "n_paths": 2048, "seed": 1
}  # fmt: skip
RAGGED, HUGE = [[1.0], [1.0, 2.0]], 10**400
ODD: list[tuple[Any, dict[str, Any], str, Any, str]] = [
    (engine.backtest_var, {"pnl": [1.0, -1.0], "var": 1.0}, "var", RAGGED, "var: must hold numbers only"),
    (engine.backtest_var, {"pnl": [1.0, -1.0], "var": 1.0}, "allow_negative", "no", "is 'no'; must be True or False"),
    (engine.calibrate_heston, QUOTED, "weights", 1e308, "weights: is 1e[+]308; squares of it overflow"),
    (engine.calibrate_heston, QUOTED, "expiry", 5e-324, "expiry: is 5e-324; must be at least 1e-12 years"),
    (engine.verify_greeks, {"served": {}, "request": OPTION}, "n_paths", HUGE, "n_paths: is 1000"),
    (engine.verify_greeks, {"served": {}, "request": OPTION}, "n_paths", 2**63, "must be at most 134,217,728"),
    (engine.monte_carlo, PATHS, "n_replicates", HUGE, "n_replicates: is 1000"),
    (engine.monte_carlo, PATHS, "n_replicates", 2**63, "must be at most 65,536"),
    (engine.monte_carlo, PATHS, "sampling", np.array(["sobol", "sobol"]), "sampling: is array"),
    (engine.monte_carlo, PATHS, "antithetic", "False", "antithetic: is 'False'; must be True or False"),
    (engine.monte_carlo, PATHS, "control", None, "control: is None; must be True or False"),
    (engine.value_at_risk, {"exposures": [1.0]}, "method", np.array(["a", "b"]), "method: is array"),
    (engine.value_at_risk, {"exposures": BOOK, "returns": MARKET}, "method", pd.NA, "method: is <NA>"),
    (engine.Scenarios, {"spot": [[0.0]]}, "underlyings", RAGGED, "underlyings: must be a sequence of names"),
    (engine.Market, {"spot": {"X": 1.0}}, "as_of", pd.NaT, "as_of: is NaT; must be a known date"),
    (engine.GBM, {"rate": 0.0, "dividend": 0.0, "volatility": 0.2}, "spot", True, "spot: must be one number"),
    (engine.kelly_fraction, {"expected_return": 1.0, "variance": 1.0}, "fraction", pd.Series([0.5]), "fraction: is 0 "),
    (engine.kelly_for_var, {"limit": 2.0, "var": 1.0, "kelly": 0.2}, "margin", np.array([0.5]), r"margin: is array\("),
    (engine.optimal_trajectory, PLAN, "volatility", np.True_, "volatility: is np.True_; must be a number"),
    (engine.Market, {"spot": {"X": 1.0}}, "as_of", pd.Series([0.5]), "as_of: is 0 "),
    (engine.trend, {"series": [1.0, 2.0, 3.0, 4.0, 5.0]}, "interval", 1e308, "interval: is 1e[+]308; the last of 5"),
    (
        engine.revalue,
        {"book": BOOK, "market": MARKET, "scenarios": engine.Scenarios(["X"], [[0.1]])},
        "positions",
        pd.NA,
        "positions: is <NA>; must be True or False",
    ),
    (
        engine.Scenarios.simulated,
        {"underlyings": ["X"], "covariance": [[1.0]], "seed": 1},
        "n_scenarios",
        HUGE,
        r"n_scenarios: is 10{400}; must be at most 2,147,483,648",
    ),
    (engine.walk_forward, {"n_train": 2, "n_test": 1}, "n_periods", HUGE, "n_periods: is beyond every float"),
    (engine.walk_forward, {"n_train": 2, "n_test": 1}, "n_periods", 2**53, "must be below 2"),
    (engine.purged_folds, {"ends": [1.0]}, "starts", RAGGED, "starts: must be times or numbers in 1 dimension"),
]


@pytest.mark.parametrize(("function", "arguments", "name", "value", "text"), ODD)
def test_what_is_odd_is_named(function: Any, arguments: dict[str, Any], name: str, value: Any, text: str) -> None:
    with pytest.raises(engine.InvalidInput, match=text):
        function(**{**arguments, name: value})


def test_extremes_give_the_limit_without_a_warning() -> None:
    assert engine.probabilistic_sharpe_ratio(0.1, 1e308, 100) == 0.0
    assert engine.probabilistic_sharpe_ratio(0.1, -1e308, 100) == 1.0
    # by fifty-digit arithmetic
    assert engine.expected_maximum_sharpe(1e308, 1.0) == pytest.approx(37.556034338902058, rel=1e-15)
    assert engine.deflated_sharpe_ratio(0.1, 100, 1e308, 0.01) == pytest.approx(0.0, abs=1e-12)
    assert engine.backtest_var([1.0, -2.0], 1.0, 5e-324).zone == "green"


MASKED = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])
WORDS = np.array([1.0, "2.0", 3.0], dtype=object)
THREE: list[tuple[Any, dict[str, Any], tuple[str, ...]]] = [
    (engine.european, OPTION, ("spot", "rate", "volatility")),
    (engine.implied_volatility, {**OPTION, "price": 8.0, "volatility": None}, ("price", "expiry")),
    (engine.heston_price, {**QUOTED, "v0": 0.04, "kappa": 1.0, "theta": 0.04, "sigma": 0.5, "rho": 0.0}, ("v0",)),
    (engine.american, OPTION, ("strike",)),
    (engine.probabilistic_sharpe_ratio, {"sharpe": 0.1, "benchmark": 0.0, "n_observations": 9}, ("sharpe",)),
    (engine.sharpe_ratio, {}, ("returns",)),
    (engine.ks, {"expected": [1.0], "actual": [1.0]}, ("expected", "actual")),
    (engine.psi, {"expected": [1.0, 2.0], "actual": [1.0], "bins": 2}, ("expected", "actual")),
    (engine.kelly_fraction, {"expected_return": 0.1, "variance": 0.1}, ("variance",)),
    (engine.backtest_var, {"pnl": [1.0, 1.0, 1.0], "var": 1.0}, ("pnl", "var")),
    (engine.trend, {}, ("series",)),
]


@pytest.mark.parametrize("values", [MASKED, WORDS], ids=["masked", "words"])
@pytest.mark.parametrize(("function", "arguments", "names"), THREE, ids=lambda given: getattr(given, "__name__", ""))
def test_what_is_masked_or_a_word_among_objects_is_no_number(
    function: Any, arguments: dict[str, Any], names: tuple[str, ...], values: Any
) -> None:
    given = {name: value for name, value in arguments.items() if value is not None}
    if function is engine.heston_price:
        del given["price"]
        given["strike"], given["expiry"] = 100.0, 1.0
    for name in names:
        text = rf"{name}\[1\]: is ('2\.0'; must hold numbers only|nan; every value must be finite)"
        with pytest.raises(engine.InvalidInput, match=text):
            function(**{**given, name: values})


def test_a_mask_that_hides_nothing_changes_nothing() -> None:
    plain = np.array([90.0, 100.0])
    assert engine.european(**{**OPTION, "spot": np.ma.array(plain)}).price.tolist() == (  # type: ignore[arg-type]
        engine.european(**{**OPTION, "spot": plain}).price.tolist()  # type: ignore[arg-type]
    )
    with pytest.raises(engine.NotFinite, match=r"kind\[0\]: is nan"):
        engine.european(**{**OPTION, "kind": np.ma.array([1, -1], mask=[True, False])})  # type: ignore[arg-type]


# beside what is no number: what is none that anybody means, and what has another shape or sort
ANYTHING = (
    *NO_NUMBERS, math.nan, math.inf, -math.inf, -1.0, 0.0, 5e-324, 1e308, True, "x", (), lambda *_: 1.0, np.zeros(3),
    np.arange(5.0)[::-1], np.ones((2, 2, 2)), np.empty((0, 3)), np.array([None, 1.0], dtype=object), Decimal("NaN"),
    np.timedelta64(1, "s"), np.array([True, False]), pd.DataFrame({"a": [1.0, 2.0]}), pd.Series([1.0, np.nan]),
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(ALL))
def test_whatever_an_argument_is_the_error_is_one_of_the_engine(name: str) -> None:
    refused = dict.fromkeys(inspect.signature(ALL[name].function).parameters, 0)
    for argument in refused:
        for value in ANYTHING:
            if argument == "evaluate" and callable(value):
                continue  # a function of the caller's, whose errors are its own
            try:
                ALL[name](**{argument: value})
            except EngineError:
                refused[argument] += 1
    # what is for a book, or for returns, is not looked at where exposures and a covariance are given
    idle = {"decay", "n_scenarios", "seed"} if name in ("value_at_risk", "expected_shortfall") else set()
    assert min(count for argument, count in refused.items() if argument not in idle) >= 10, refused


FRAMES = [
    (name, argument)
    for name, call in ALL.items()
    for argument, value in call.arguments.items()
    if isinstance(value, pd.DataFrame)
]
CELLS = (math.nan, math.inf, -1.0, 0.0, "x", "", None, True, 1e308, 1e-320, 1j, pd.NaT, pd.Timestamp("2026-01-01"))


@pytest.mark.parametrize(("name", "argument"), FRAMES)
def test_whatever_a_table_holds_the_error_is_one_of_the_engine(name: str, argument: str) -> None:
    table = ALL[name].arguments[argument]
    tables = [table.iloc[:0], table.iloc[::-1], pd.concat([table, table], axis=1)]
    for column in table.columns:
        tables.append(table.drop(columns=column))
        for value in CELLS:
            last = table[column].astype(object)
            last.iloc[-1] = value
            tables.extend([table.assign(**{column: last}), table.assign(**{column: value})])
    refused = 0
    for other in tables:
        try:
            ALL[name](**{argument: other})
        except EngineError:
            refused += 1
    assert refused > len(tables) // 3


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: ALL["forecast_capacity"](falling=[1, 2]), "falling: is .1, 2.; must be True or False"),
        (lambda: ALL["forecast_capacity"](season=1e308), "season: is 1e[+]308; no series spans two of them"),
        (lambda: ALL["calibrate_impact"](lags=np.timedelta64(1, "s")), "lags: .* must be a whole number"),
        (lambda: ALL["calibrate_impact"](exponent=1e308), "exponent: is 1e[+]308; a rate of trading to that power"),
        (lambda: ALL["parent_orders"](day=5e-324), "day: is 5e-324; so short that the length of an order overflows"),
        (lambda: ALL["value_at_risk"](interval=5e-324), "interval: is 5e-324; the horizon over it overflows"),
        (
            lambda: engine.slippage(FILLS.assign(price=1e308), QUOTES),
            r"fills\['price'\]\[0\]: is 1e[+]308; must be within",
        ),
        (
            lambda: engine.slippage(FILLS.assign(price=1e-60), QUOTES),
            r"fills\['price'\]\[0\]: is 1e-60; must be at least",
        ),
        (lambda: ALL["walk_forward"](evaluate=1.0), "evaluate: is of type float; must be a function"),
        (lambda: ALL["walk_forward"](expanding="no"), "expanding: is 'no'; must be True or False"),
        (lambda: ALL["psi"](presorted=1), "presorted: is 1; must be True or False"),
        (lambda: ALL["realised_volatility"](kind=np.zeros(2)), "kind: is array.*; choose 'prices' or 'returns'"),
    ],
)
def test_what_ended_in_an_error_of_another_is_named(call: Any, text: str) -> None:
    with pytest.raises(engine.InvalidInput, match=text):
        call()
