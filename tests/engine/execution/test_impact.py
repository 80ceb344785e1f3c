"""Calibration of impact: what was put in comes out, and the intervals cover as often as they say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter

from engine.errors import InvalidInput, TooFewObservations
from engine.execution import calibrate_impact, optimal_trajectory, parent_orders

PERMANENT, TEMPORARY, FIXED = 2.5e-7, 2.5e-6, 0.02


def orders(
    rng: np.random.Generator, n: int = 150, noise: float = 1.0, related: float = 0.0, exponent: float = 1.0
) -> pd.DataFrame:
    """Orders that move a diffusing price; its noise grows with the time an order takes."""
    side, quantity = rng.choice([-1.0, 1.0], n), rng.uniform(1e4, 1e6, n)
    duration, volatility = rng.uniform(0.05, 1.0, n), rng.uniform(0.3, 1.5, n)
    shocks = rng.normal(size=(2, n))
    if related:
        first, shocks = shocks[:, :1].copy(), math.sqrt(1.0 - related**2) * shocks
        shocks[:, :1] = first
        shocks = lfilter([1.0], [1.0, -related], shocks)
    spread = noise * volatility * np.sqrt(duration)
    moved = side * PERMANENT * quantity + spread * shocks[0]
    paid = FIXED + TEMPORARY * (quantity / duration) ** exponent
    price = 100.0 + 0.5 * moved + side * paid + spread * shocks[1] / math.sqrt(12.0)
    frame = {"side": side, "quantity": quantity, "duration": duration, "before": 100.0, "price": price}
    return pd.DataFrame(frame | {"after": 100.0 + moved, "volatility": volatility})


@pytest.mark.parametrize("exponent", [0.6, 1.0])
def test_without_noise_the_impact_is_found(exponent: float) -> None:
    some = orders(np.random.default_rng(1), noise=0.0, exponent=exponent)
    for frame in (some, some.drop(columns="volatility")):
        fit = calibrate_impact(frame, exponent=exponent)
        assert fit.permanent.value == pytest.approx(PERMANENT, rel=1e-9)
        assert fit.temporary.value == pytest.approx(TEMPORARY, rel=1e-9)
        assert fit.fixed_cost.value == pytest.approx(FIXED, rel=1e-8)
        assert fit.permanent.low <= fit.permanent.value <= fit.permanent.high
        assert (fit.n_orders, fit.exponent, fit.confidence) == (150, exponent, 0.95)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("n", [25, 150])
def test_the_intervals_cover_as_often_as_they_say(weighted: bool, n: int) -> None:
    """600 calibrations: 95 % within four standard deviations of a binomial (3.6 %), and up to 2 % more for few orders.

    Without the volatilities the weights are wrong, and the errors uneven.
    """
    rng = np.random.default_rng(n)
    covered = np.zeros(3)
    for _ in range(600):
        frame = orders(rng, n, noise=0.02)
        fit = calibrate_impact(frame if weighted else frame.drop(columns="volatility"))
        truth = ((fit.permanent, PERMANENT), (fit.temporary, TEMPORARY), (fit.fixed_cost, FIXED))
        covered += [estimate.low <= value <= estimate.high for estimate, value in truth]
    bound = 4.0 * math.sqrt(0.95 * 0.05 / 600)
    assert (covered / 600 >= 0.95 - bound).all()
    assert (covered / 600 <= min(1.0, 0.95 + bound + 0.02)).all()


def test_intervals_of_related_errors_cover_with_lags_and_not_without() -> None:
    # the fixed cost is a mean: relation 0.7 makes its true variance (1 + 0.7) / (1 - 0.7) times as large
    rng = np.random.default_rng(9)
    covered = np.zeros(2)
    for _ in range(150):
        frame = orders(rng, 300, noise=0.02, related=0.7)
        for place, lags in enumerate((0, 12)):
            fit = calibrate_impact(frame.assign(side="buy", **bought(frame)), lags=lags)
            covered[place] += fit.fixed_cost.low <= FIXED <= fit.fixed_cost.high
    # 150 calibrations: four standard deviations are 7 %; so short a window takes in most of the relation, not all of it
    assert covered[0] / 150 < 0.85
    assert covered[1] / 150 >= 0.95 - 0.07 - 0.02


def bought(frame: pd.DataFrame) -> dict[str, Any]:
    """Prices of the same orders, had all been purchases, with the same errors."""
    side = frame["side"]
    moved = frame["after"] - 100.0
    errors_moved = moved - side * PERMANENT * frame["quantity"]
    paid = FIXED + TEMPORARY * frame["quantity"] / frame["duration"]
    errors = frame["price"] - 100.0 - 0.5 * moved - side * paid
    moved = PERMANENT * frame["quantity"] + errors_moved
    return {"after": 100.0 + moved, "price": 100.0 + 0.5 * moved + paid + errors}


def test_least_squares_and_hc3_are_those_of_their_definitions() -> None:
    frame = orders(np.random.default_rng(3), 40, noise=0.1)
    fit = calibrate_impact(frame, confidence=0.9)
    spread = (frame["volatility"] * np.sqrt(frame["duration"])).to_numpy()
    moved = (frame["side"] * (frame["after"] - 100.0)).to_numpy()
    x, y = frame["quantity"].to_numpy() / spread, moved / spread
    slope = (x @ y) / (x @ x)
    residual = (y - slope * x) / (1.0 - x * x / (x @ x))
    error = math.sqrt(((x * residual) ** 2).sum()) / (x @ x)
    assert fit.permanent.value == pytest.approx(slope, rel=1e-10)
    assert fit.permanent.standard_error == pytest.approx(error, rel=1e-9)
    from scipy.stats import t

    assert fit.permanent.high - slope == pytest.approx(t.ppf(0.95, 39) * error, rel=1e-9)


def test_prices_in_another_unit_scale_the_impact() -> None:
    frame = orders(np.random.default_rng(4), noise=0.1)
    cents = frame.assign(**{name: 100.0 * frame[name] for name in ("before", "price", "after", "volatility")})
    one, hundred = calibrate_impact(frame), calibrate_impact(cents)
    np.testing.assert_allclose(hundred.temporary, 100.0 * np.array(one.temporary), rtol=1e-9)
    np.testing.assert_allclose(hundred.permanent, 100.0 * np.array(one.permanent), rtol=1e-9)


def test_the_result_goes_into_a_trajectory() -> None:
    fit = calibrate_impact(orders(np.random.default_rng(5), 400, noise=0.02))
    plan = optimal_trajectory(
        1e5, 1.0, 10, 1.0, fit.permanent.value, fit.temporary.value, fit.fixed_cost.value, risk_aversion=1e-6
    )
    assert plan.holdings[0] == 1e5


def test_fills_and_quotes_become_orders() -> None:
    fills = pd.DataFrame(
        {
            "order": ["B", "A", "A", "B", "C", "D"],
            "time": [30.0, 10.0, 20.0, 40.0, 41.0, 95.0],
            "side": ["sell", "buy", "buy", "sell", "buy", "buy"],
            "quantity": [10.0, 30.0, 10.0, 10.0, 5.0, 5.0],
            "price": [99.0, 101.0, 103.0, 97.0, 99.0, 99.0],
            "decided": [28.0, 10.0, 10.0, 28.0, 41.0, 90.0],
        }
    )
    quotes = pd.DataFrame({"time": [5.0, 25.0, 35.0, 60.0, 100.0]})
    quotes["bid"] = [99.0, 101.0, 97.0, 98.0, 50.0]
    quotes["ask"] = quotes["bid"] + 2.0
    found = parent_orders(fills, quotes, settle=20.0, day=100.0)
    # C took no time, D is not outlasted by the quotes
    assert found.index.tolist() == ["A", "B"]
    assert found["quantity"].tolist() == [40.0, 20.0]
    assert found["price"].tolist() == [101.5, 98.0]
    assert found["duration"].tolist() == [0.1, 0.12]
    assert found["before"].tolist() == [100.0, 102.0]
    assert found["after"].tolist() == [98.0, 99.0]
    dated = fills.assign(
        **{name: pd.Timestamp("2024-01-01") + pd.to_timedelta(fills[name], "s") for name in ("time", "decided")}
    )
    dated_quotes = quotes.assign(time=pd.Timestamp("2024-01-01") + pd.to_timedelta(quotes["time"], "s"))
    pd.testing.assert_frame_equal(parent_orders(dated, dated_quotes, settle=20.0, day=100.0), found)
    with pytest.raises(InvalidInput, match=r"fills\['side'\]: differs within order 'A'"):
        parent_orders(fills.assign(side=["sell", "buy", "sell", "sell", "buy", "buy"]), quotes, settle=20.0)
    with pytest.raises(InvalidInput, match="holds no order that took time"):
        parent_orders(fills, quotes, settle=1e9)


def test_the_way_from_fills_to_impact() -> None:
    # five fills an order on a price that they move; quotes before, between and after
    rng = np.random.default_rng(6)
    fills: list[dict[str, Any]] = []
    quotes: list[dict[str, float]] = []
    mid, clock = 100.0, 0.0
    for number in range(120):
        side, quantity, length = rng.choice([-1.0, 1.0]), rng.uniform(1e3, 1e5), rng.uniform(0.02, 0.2)
        piece, paid = quantity / 5.0, FIXED + TEMPORARY * quantity / length
        for step in range(5):
            quotes.append({"time": clock, "bid": mid - 0.01, "ask": mid + 0.01})
            moved = PERMANENT * piece * side
            fills.append(
                {
                    "order": number,
                    "time": clock,
                    "side": side,
                    "quantity": piece,
                    "price": mid + 0.5 * moved + side * paid,
                }
            )
            mid += moved
            clock += length / 4.0 if step < 4 else 0.0
        clock += 1e-3
        quotes.append({"time": clock, "bid": mid - 0.01, "ask": mid + 0.01})
        clock += 1.0
    fit = calibrate_impact(parent_orders(pd.DataFrame(fills), pd.DataFrame(quotes), settle=1e-3, day=1.0))
    assert fit.permanent.value == pytest.approx(PERMANENT, rel=1e-6)
    assert fit.temporary.value == pytest.approx(TEMPORARY, rel=1e-4)
    assert fit.fixed_cost.value == pytest.approx(FIXED, rel=1e-2)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"quantity": 0.0}, r"fills\['quantity'\]\[0\]: is 0.0; must be above 0"),
        ({"duration": -1.0}, r"fills\['duration'\]\[0\]: is -1.0; must be above 0"),
        ({"after": math.nan}, r"fills\['after'\]\[0\]: is nan; must be finite"),
        ({"side": "long"}, r"fills\['side'\]\[0\]: is long"),
        ({"volatility": 0.0}, r"fills\['volatility'\]\[0\]: is 0.0"),
        ({"quantity": 10.0, "duration": 1.0}, "trade at one rate throughout"),
    ],
)
def test_bad_orders_are_named(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        calibrate_impact(orders(np.random.default_rng(7), 30).assign(**change))


def test_bad_parameters_are_named() -> None:
    frame = orders(np.random.default_rng(8), 30)
    with pytest.raises(TooFewObservations, match="needs at least 10 observations and got 9"):
        calibrate_impact(frame.iloc[:9])
    with pytest.raises(TooFewObservations, match="needs at least 40"):
        calibrate_impact(frame, lags=10)
    with pytest.raises(InvalidInput, match="confidence: is 1"):
        calibrate_impact(frame, confidence=1.0)
    with pytest.raises(InvalidInput, match="exponent: is 0"):
        calibrate_impact(frame, exponent=0.0)
    with pytest.raises(InvalidInput, match="lags: is -1"):
        calibrate_impact(frame, lags=-1)
    with pytest.raises(InvalidInput, match="fills: has no column 'after'"):
        calibrate_impact(frame.drop(columns="after"))
    lonely = frame.assign(quantity=np.append(np.full(29, 1e-9), 1e9), duration=1.0)
    with pytest.raises(InvalidInput, match=r"fills\['quantity'\]\[29\]: .*alone decides"):
        calibrate_impact(lonely)
