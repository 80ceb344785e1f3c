"""Optimal trajectories against printed figures, exact arithmetic and a minimiser that knows no formula."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from engine.errors import InvalidInput, NotFinite
from engine.execution import optimal_trajectory, urgency

PUBLISHED: dict[str, Any] = {
    "shares": 1e6,
    "horizon": 5.0,
    "n_periods": 5,
    "volatility": 0.95,
    "permanent": 2.5e-7,
    "temporary": 2.5e-6,
    "fixed_cost": 0.0625,
    "risk_aversion": 1e-6,
}


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in PUBLISHED.items() if name not in names}


def costs(trades: Any, case: dict[str, Any]) -> tuple[float, float]:
    """Expectation and variance of the cost of any trades, by the sums of the paper."""
    period = case["horizon"] / case["n_periods"]
    left = case["shares"] - np.cumsum(trades)
    rate = trades / period
    expected = float(
        (period * case["permanent"] * left * rate).sum()
        + case["fixed_cost"] * np.abs(trades).sum()
        + (trades * case["temporary"] * rate).sum()
    )
    return expected, float(case["volatility"] ** 2 * period * (left**2).sum())


def test_the_printed_figures() -> None:
    plan = optimal_trajectory(**PUBLISHED)
    assert round(urgency(**without("shares", "fixed_cost")), 6) == 0.607076
    # printed from a urgency that was rounded to these six digits, which moves the third by half a share
    np.testing.assert_allclose(plan.holdings, [1_000_000, 541_956, 289_854, 147_898, 62_142, 0], rtol=0, atol=0.52)
    assert plan.holdings.round()[[1, 2, 4]].tolist() == [541_956, 289_854, 62_142]
    assert round(plan.expected_cost) == 911_227
    assert round(plan.cost_std) == 603_431


def test_it_is_the_formula_in_exact_arithmetic() -> None:
    with mpmath.workdps(40):
        size, gamma, eta = mpmath.mpf(10) ** 6, mpmath.mpf("2.5e-7"), mpmath.mpf("2.5e-6")
        effective = eta - gamma / 2
        kappa = mpmath.acosh(mpmath.mpf("1e-6") * mpmath.mpf("0.95") ** 2 / effective / 2 + 1)
        holdings = [size * mpmath.sinh(kappa * (5 - j)) / mpmath.sinh(5 * kappa) for j in range(6)]
        trades = [holdings[j] - holdings[j + 1] for j in range(5)]
        cost = gamma * size**2 / 2 + mpmath.mpf("0.0625") * size + effective * sum(trade**2 for trade in trades)
        deviation = mpmath.mpf("0.95") * mpmath.sqrt(sum(left**2 for left in holdings[1:]))
        expected = [float(value) for value in (*holdings, cost, deviation, kappa)]
    plan = optimal_trajectory(**PUBLISHED)
    found = [*plan.holdings, plan.expected_cost, plan.cost_std, urgency(**without("shares", "fixed_cost"))]
    np.testing.assert_allclose(found, expected, rtol=2e-14)


@pytest.mark.parametrize("risk_aversion", [0.0, 1e-8, 1e-6, 1e-4])
@pytest.mark.parametrize("shares", [1e6, -1e6])
def test_no_other_trades_are_better(risk_aversion: float, shares: float) -> None:
    case = PUBLISHED | {"risk_aversion": risk_aversion, "shares": shares, "n_periods": 7}
    plan = optimal_trajectory(**case)

    def objective(first: Any) -> float:
        expected, variance = costs(np.append(first, 1.0 - first.sum()) * shares, case)
        return (expected + risk_aversion * variance) / 1e6

    best = minimize(objective, np.full(6, 1 / 7), method="BFGS", options={"gtol": 1e-9})
    ours = -np.diff(plan.holdings) / shares
    assert objective(ours[:-1]) <= best.fun * (1.0 + 1e-12)
    np.testing.assert_allclose(ours[:-1], best.x, atol=2e-5)


@settings(max_examples=150, deadline=None)
@given(
    st.floats(-1e7, 1e7),
    st.floats(0.1, 20.0),
    st.integers(1, 60),
    st.floats(0.0, 5.0),
    st.floats(0.0, 1e-7),
    st.floats(1e-5, 1e-3),
    st.floats(0.0, 0.1),
    st.floats(0.0, 1e-2),
)
def test_costs_are_those_of_the_trades_and_holdings_fall(
    shares: float,
    horizon: float,
    n_periods: int,
    volatility: float,
    permanent: float,
    temporary: float,
    fixed_cost: float,
    risk_aversion: float,
) -> None:
    case = dict(
        zip(
            PUBLISHED,
            (shares, horizon, n_periods, volatility, permanent, temporary, fixed_cost, risk_aversion),
            strict=True,
        )
    )
    plan = optimal_trajectory(**case)
    assert plan.holdings.shape == (n_periods + 1,)
    assert plan.holdings[0] == shares
    assert plan.holdings[-1] == 0.0
    assert (np.diff(np.abs(plan.holdings)) <= 0.0).all()
    expected, variance = costs(-np.diff(plan.holdings), case)
    assert plan.expected_cost == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert plan.cost_std == pytest.approx(math.sqrt(variance), rel=1e-9, abs=1e-9)
    other = optimal_trajectory(**(case | {"shares": -shares}))
    np.testing.assert_array_equal(other.holdings, -plan.holdings)
    assert (other.expected_cost, other.cost_std) == (plan.expected_cost, plan.cost_std)


def test_without_risk_aversion_it_trades_evenly() -> None:
    for nothing in ({"risk_aversion": 0.0}, {"volatility": 0.0}, {"risk_aversion": 1e-40}):
        plan = optimal_trajectory(**(PUBLISHED | nothing))
        np.testing.assert_allclose(plan.holdings, [1e6, 8e5, 6e5, 4e5, 2e5, 0.0], rtol=1e-13)


@pytest.mark.parametrize("risk_aversion", [1.0, 1e6, 1e100, 1.7e308])
def test_with_much_of_it_everything_goes_at_once(risk_aversion: float) -> None:
    case = PUBLISHED | {"risk_aversion": risk_aversion, "n_periods": 1_000}
    plan = optimal_trajectory(**case)
    assert 0.0 <= plan.holdings[1] / 1e6 <= (0.1 if risk_aversion == 1.0 else 1e-6)
    assert math.isfinite(plan.expected_cost)
    assert urgency(**{name: case[name] for name in without("shares", "fixed_cost")}) > 0.0


def test_a_single_period_and_no_position() -> None:
    plan = optimal_trajectory(**(PUBLISHED | {"n_periods": 1}))
    assert plan.holdings.tolist() == [1e6, 0.0]
    assert plan.cost_std == 0.0
    nothing = optimal_trajectory(**(PUBLISHED | {"shares": 0.0}))
    assert (nothing.holdings == 0.0).all()
    assert (nothing.expected_cost, nothing.cost_std) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("shares", math.nan, "shares: is nan; must be finite"),
        ("shares", "1000", "shares: is '1000'; must be a number"),
        ("shares", [1.0, 2.0], "must be a number"),
        ("shares", 1e200, "the cost overflows"),
        ("horizon", 0.0, "horizon: is 0.0; must be above 0"),
        ("horizon", math.inf, "horizon: is inf; must be finite"),
        ("n_periods", 0, "n_periods: is 0; must be a whole number"),
        ("n_periods", 2.5, "n_periods: is 2.5; must be a whole number"),
        ("n_periods", True, "n_periods: is True; must be a whole number"),
        ("volatility", -0.1, "volatility: is -0.1; must be at least 0"),
        ("permanent", -1e-9, "permanent: is -1e-09; must be at least 0"),
        ("temporary", 0.0, "temporary: is 0.0; must be above 0"),
        ("temporary", 1.25e-7, "temporary: is 1.25e-07; must be above permanent"),
        ("fixed_cost", -0.01, "fixed_cost: is -0.01; must be at least 0"),
        ("risk_aversion", -1e-6, "risk_aversion: is -1e-06; must be at least 0"),
    ],
)
def test_bad_input_is_named(name: str, value: Any, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as raised:
        optimal_trajectory(**(PUBLISHED | {name: value}))
    assert raised.value.argument == name
    assert isinstance(raised.value, NotFinite) == ("finite" in problem or "overflows" in problem)
