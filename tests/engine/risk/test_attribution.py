"""Explained profit and loss: full revaluation, exact sums, and terms that are what they say."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import InvalidInput, NotFinite, european
from engine.risk import Book, Market, PnlTerms, explain_pnl
from tests.engine.risk.books import book, market, table


def one(kind: str = "call", quantity: float = 2.0, **facts: Any) -> Book:
    strike, expiry = (100.0, 0.5) if kind in ("call", "put") else (None, 0.5 if kind == "future" else None)
    given: dict[str, Any] = {"strike": [strike], "expiry": [expiry], **facts}
    return Book.from_columns(id=["it"], underlying=["X"], kind=[kind], quantity=[quantity], **given)


def now(spot: float = 100.0, volatility: float = 0.3, **facts: Any) -> Market:
    return Market({"X": spot}, volatility=volatility, **facts)


def later(**facts: Any) -> Market:
    given: dict[str, Any] = {
        "spot": {"BTC": 103.0, "ETH": 91.0, "SOL": 108.5},
        "volatility": {"BTC": 0.53, "ETH": 0.58, "SOL": 0.83},
        "rate": 0.045,
        "as_of": 3 / 365,
    }
    return market(**{**given, **facts})


def test_profit_is_the_full_revaluation() -> None:
    found = explain_pnl(one(), now(), now(104.0, 0.33, rate=0.01, as_of=0.1))
    before = european(100.0, 100.0, 0.5, 0.0, 0.0, 0.3, "call").price
    after = european(104.0, 100.0, 0.4, 0.01, 0.0, 0.33, "call").price
    assert found.pnl == pytest.approx(2.0 * (after - before), rel=1e-12)


def test_each_term_is_its_greek_times_its_move() -> None:
    greeks = european(100.0, 100.0, 0.5, 0.0, 0.0, 0.3, "call")
    found = explain_pnl(one(), now(), now(104.0, 0.33, rate=0.01, as_of=0.1)).total
    expected = [
        greeks.delta * 4.0,
        0.5 * greeks.gamma * 16.0,
        greeks.vega * 0.03,
        greeks.theta * 0.1,
        greeks.rho * 0.01,
        greeks.vanna * 4.0 * 0.03,
        0.5 * greeks.volga * 0.03**2,
        0.0,
    ]
    np.testing.assert_allclose(found[:8], 2.0 * np.array(expected), rtol=1e-9, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    spot=st.floats(50.0, 200.0),
    volatility=st.floats(0.0, 2.0),
    as_of=st.floats(0.0, 3.0),
    sold=st.integers(0, 20),
)
def test_every_level_adds_up(seed: int, spot: float, volatility: float, as_of: float, sold: int) -> None:
    held, last = book(25, seed), Book.from_frame(table(40, seed).iloc[sold:])
    moved = later(spot={"BTC": spot, "ETH": 95.0, "SOL": 100.0}, volatility=volatility, as_of=as_of)
    held = Book.from_frame(table(40, seed).iloc[:25])
    found = explain_pnl(held, market(), moved, after_book=last)
    size = sum(float(np.abs(part).sum()) for part in found.by_position)
    for part, row, whole in zip(found.by_position, found.by_underlying, found.total, strict=True):
        assert np.isfinite(part).all()
        assert part.sum() == pytest.approx(whole, abs=1e-12 * size)
        assert row.sum() == pytest.approx(whole, abs=1e-12 * size)
    np.testing.assert_allclose(np.sum(found.by_position, axis=0), found.pnl_by_position, atol=1e-12 * size)
    np.testing.assert_allclose(np.sum(found.by_underlying, axis=0), found.pnl_by_underlying, atol=1e-12 * size)
    assert sum(found.total) == pytest.approx(found.pnl, abs=1e-12 * size)
    assert 0.0 <= found.unexplained_share <= 1.0


def test_what_is_unexplained_shrinks_with_the_third_power_of_the_move() -> None:
    shares = []
    for step in (1.0, 0.5):
        found = explain_pnl(one(), now(), now(100.0 + 2.0 * step, 0.3 + 0.02 * step))
        shares.append(abs(found.total.unexplained))
    assert shares[0] / shares[1] == pytest.approx(8.0, rel=0.1)


@pytest.mark.parametrize("kind", ["spot", "perpetual", "future"])
def test_linear_positions_are_explained_in_full(kind: str) -> None:
    found = explain_pnl(one(kind), now(), now(107.0))
    assert found.total.delta == pytest.approx(14.0, rel=1e-12)
    assert found.total.unexplained == pytest.approx(0.0, abs=1e-12)
    assert found.total.gamma == found.total.theta == found.total.vega == 0.0


def test_a_future_carries() -> None:
    found = explain_pnl(one("future"), now(rate=0.05), now(rate=0.05, as_of=0.1))
    assert found.pnl == pytest.approx(200.0 * (np.exp(0.05 * 0.4) - np.exp(0.05 * 0.5)), rel=1e-12)
    assert found.total.theta == pytest.approx(-200.0 * 0.05 * np.exp(0.025) * 0.1, rel=1e-12)


def test_a_move_of_the_dividend_is_reported_as_unexplained() -> None:
    found = explain_pnl(one(), now(), now(dividend=0.03))
    assert found.total.unexplained == pytest.approx(found.pnl, rel=1e-12)
    assert found.unexplained_share == 1.0


def test_an_option_that_expired_is_worth_its_payoff_and_may_be_gone() -> None:
    held = Book.from_columns(
        id=["it", "other"], underlying=["X", "X"], kind=["call", "spot"], quantity=[2.0, 1.0],
        strike=[100.0, None], expiry=[0.01, None],
    )  # fmt: skip
    before = european(100.0, 100.0, 0.01, 0.0, 0.0, 0.3, "call").price
    last = Book.from_columns(id=["other"], underlying=["X"], kind=["spot"], quantity=[1.0])
    for rest in (None, last):
        found = explain_pnl(held, now(), now(103.0, as_of=0.02), after_book=rest)
        assert found.pnl == pytest.approx(2.0 * (3.0 - before) + 3.0, rel=1e-12)
        assert found.total.new_trades == 0.0
        greeks = european(100.0, 100.0, 0.01, 0.0, 0.0, 0.3, "call")
        assert found.by_position.theta[0] == pytest.approx(2.0 * greeks.theta * 0.01, rel=1e-12)


def test_greeks_that_are_infinite_explain_nothing_and_say_so() -> None:
    held = one(expiry=[0.0])
    found = explain_pnl(held, now(), now(103.0, as_of=0.0))
    assert found.pnl == pytest.approx(6.0)
    assert found.total.gamma == 0.0
    assert found.total.delta == pytest.approx(3.0)
    assert found.total.unexplained == pytest.approx(3.0)


def test_trades_are_worth_their_value_less_what_was_paid() -> None:
    last = Book.from_columns(
        id=["it", "new", "coin"], underlying=["X", "X", "Y"], kind=["call", "put", "perpetual"],
        quantity=[5.0, 1.0, -2.0], strike=[100.0, 95.0, None], expiry=[0.5, 0.25, None],
    )  # fmt: skip
    end = Market({"X": 104.0, "Y": 10.0}, volatility=0.3)
    found = explain_pnl(one(), now(), end, after_book=last, paid={"it": 30.0, "coin": -2.0 * 10.5})
    call, put = (european(104.0, strike, expiry, 0.0, 0.0, 0.3, kind).price
                 for strike, expiry, kind in ((100.0, 0.5, "call"), (95.0, 0.25, "put")))  # fmt: skip
    assert found.ids.tolist() == ["it", "new", "coin"]
    assert found.underlyings == ("X", "Y")
    np.testing.assert_allclose(found.by_position.new_trades, [3.0 * call - 30.0, put, 1.0], rtol=1e-12)
    np.testing.assert_allclose(found.by_underlying.new_trades, [3.0 * call - 30.0 + put, 1.0], rtol=1e-12)
    table_ = found.frame()
    assert table_.index.tolist() == ["X", "Y", "total"]
    assert table_.columns.tolist() == [*PnlTerms._fields, "pnl"]
    assert table_.loc["total", "pnl"] == found.pnl


def test_a_position_that_was_closed_left_at_the_price_it_fetched() -> None:
    other = Book.from_columns(id=["left"], underlying=["X"], kind=["spot"], quantity=[1.0])
    found = explain_pnl(one("spot"), now(), now(110.0), after_book=other, paid={"it": -2.0 * 109.0, "left": 110.0})
    assert found.total.delta == pytest.approx(20.0)
    assert found.total.new_trades == pytest.approx(-2.0)
    assert found.pnl == pytest.approx(18.0)


def test_dates_are_a_clock_too() -> None:
    held = one(expiry=[date(2026, 7, 1)])
    found = explain_pnl(held, now(as_of=date(2026, 1, 1)), now(as_of=date(2026, 1, 11)))
    greeks = european(100.0, 100.0, 181 / 365, 0.0, 0.0, 0.3, "call")
    assert found.total.theta == pytest.approx(2.0 * greeks.theta * 10 / 365, rel=1e-9)


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ({"after": now(as_of=-0.1)}, InvalidInput, "after: is 0.1 years before the market it is compared with"),
        ({"after": now(as_of=date(2026, 1, 1))}, InvalidInput, "as_of: is a date"),
        ({"after": Market({"Y": 1.0})}, InvalidInput, "spot: has nothing for 'X'"),
        ({"after_book": one(strike=[101.0])}, InvalidInput, "after_book: has other terms for 'it'"),
        ({"after_book": one("put")}, InvalidInput, "after_book: has other terms for 'it'"),
        ({"paid": {"it": 1.0}}, InvalidInput, "paid: has 'it', of which nothing was traded"),
        ({"paid": {"who": 1.0}}, InvalidInput, "paid: has 'who', of which nothing was traded"),
        ({"after_book": one(quantity=3.0), "paid": {"it": float("nan")}}, NotFinite, "paid: is nan for 'it'"),
    ],
)
def test_a_wrong_argument_is_named(facts: dict[str, Any], error: type[Exception], message: str) -> None:
    given = {"book": one(), "before": now(), "after": now(), **facts}
    with pytest.raises(error, match=message):
        explain_pnl(**given)
