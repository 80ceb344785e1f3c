"""Slippage of fills against quotes: worked by hand, by a loop, and without looking ahead."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidInput, NotFinite
from engine.execution import slippage

QUOTES = pd.DataFrame({"time": [0.0, 10.0, 20.0], "bid": [99.0, 100.0, 102.0], "ask": [101.0, 101.0, 104.0]})


def fills(**columns: Any) -> pd.DataFrame:
    given_: dict[str, Any] = {"time": [15.0], "side": ["buy"], "quantity": [10.0], "price": [101.0]} | columns
    return pd.DataFrame(given_)


def test_one_fill_worked_by_hand() -> None:
    # mid 100 at the decision, 100.5 at the fill
    found = slippage(fills(decided=[5.0], fee=[1.5]), QUOTES)
    row = found.fills.iloc[0]
    assert (row["mid"], row["quote_age"], row["reason"]) == (100.5, 5.0, "")
    assert row["slippage_cost"] == pytest.approx(5.0, rel=1e-12)
    assert row["slippage"] == pytest.approx(1e4 * 0.5 / 100.5, rel=1e-12)
    assert row["effective_spread"] == pytest.approx(2e4 * 0.5 / 100.5, rel=1e-12)
    assert row["delay_cost"] == pytest.approx(5.0, rel=1e-12)
    assert row["shortfall_cost"] == pytest.approx(11.5, rel=1e-12)
    assert row["shortfall"] == pytest.approx(1e4 * 11.5 / 1000.0, rel=1e-12)
    assert (found.n_priced, found.notional, found.fees) == (1, 1010.0, 1.5)
    assert found.shortfall_cost == pytest.approx(found.slippage_cost + found.delay_cost + found.fees, rel=1e-12)


def test_a_sale_at_the_bid_costs_as_a_purchase_at_the_ask() -> None:
    found = slippage(fills(side=["sell"], price=[100.0]), QUOTES)
    assert found.slippage_cost == pytest.approx(5.0, rel=1e-12)
    assert slippage(fills(side=[-1], price=[101.0]), QUOTES).slippage_cost == pytest.approx(-5.0, rel=1e-12)


def test_a_quote_of_the_same_moment_counts_and_a_later_one_never() -> None:
    assert slippage(fills(time=[20.0]), QUOTES).fills["mid"].tolist() == [103.0]
    assert slippage(fills(time=[math.nextafter(20.0, 0.0)]), QUOTES).fills["mid"].tolist() == [100.5]
    later = pd.concat([QUOTES, pd.DataFrame({"time": [30.0], "bid": [1.0], "ask": [2.0]})], ignore_index=True)
    pd.testing.assert_frame_equal(slippage(fills(), QUOTES).fills, slippage(fills(), later).fills)


def test_fills_without_a_usable_quote_are_reported_and_not_counted() -> None:
    found = slippage(
        fills(
            time=[-1.0, 15.0, 15.0, 90.0],
            side=["buy"] * 4,
            quantity=[10.0] * 4,
            price=[101.0] * 4,
            decided=[-2.0, -1.0, 15.0, 90.0],
        ),
        QUOTES,
        max_age=60.0,
    )
    assert found.fills["reason"].tolist() == [
        "no quote at or before the fill",
        "no quote at or before the decision",
        "",
        "the quote is older than max_age",
    ]
    assert found.fills["shortfall_cost"].notna().tolist() == [False, False, True, False]
    assert found.fills["quote_age"].tolist()[1:] == [5.0, 5.0, 70.0]
    assert (found.n_priced, found.notional) == (1, 1010.0)
    nothing = slippage(fills(time=[-1.0]), QUOTES)
    assert nothing.n_priced == 0
    assert math.isnan(nothing.shortfall_cost)


def test_dates_symbols_and_index() -> None:
    start = pd.Timestamp("2024-03-01 09:30", tz="Europe/Berlin")
    quotes = pd.DataFrame(
        {
            "time": [start, start, start + pd.Timedelta(seconds=10)],
            "symbol": ["A", "B", "A"],
            "bid": [9.0, 99.0, 10.0],
            "ask": [11.0, 101.0, 12.0],
        }
    )
    some = fills(
        time=[start + pd.Timedelta(seconds=12.5)] * 3,
        side=["buy", "sell", "buy"],
        quantity=[1.0, 2.0, 3.0],
        price=[11.5, 99.5, 1.0],
        symbol=["A", "B", "C"],
    )
    some["time"] = some["time"].dt.tz_convert("UTC")
    some.index = ["x", "y", "z"]
    found = slippage(some, quotes).fills
    assert found.index.tolist() == ["x", "y", "z"]
    assert found["mid"].tolist()[:2] == [11.0, 100.0]
    assert found["quote_age"].tolist()[:2] == [2.5, 12.5]
    assert found["slippage_cost"].tolist()[:2] == [0.5, 1.0]
    assert found["reason"].tolist() == ["", "", "no quote at or before the fill"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30))
def test_it_is_a_loop_over_fills(seed: int, n_fills: int, n_quotes: int) -> None:
    rng = np.random.default_rng(seed)
    quotes = pd.DataFrame({"time": np.sort(rng.integers(0, 20, n_quotes)), "bid": rng.uniform(9, 10, n_quotes)})
    quotes["ask"] = quotes["bid"] + rng.uniform(0.0, 1.0, n_quotes)
    some = pd.DataFrame(
        {
            "time": rng.integers(-3, 25, n_fills),
            "side": rng.choice(["buy", "sell"], n_fills),
            "quantity": rng.uniform(1, 5, n_fills),
            "price": rng.uniform(9, 11, n_fills),
        }
    )
    found = slippage(some, quotes)
    total = 0.0
    for place, fill in some.iterrows():
        known = quotes[quotes["time"] <= fill["time"]]
        row = found.fills.loc[place]
        if known.empty:
            assert math.isnan(row["slippage_cost"])
            continue
        mid = (known["bid"].iloc[-1] + known["ask"].iloc[-1]) / 2.0
        cost = (1 if fill["side"] == "buy" else -1) * (fill["price"] - mid) * fill["quantity"]
        assert row["slippage_cost"] == pytest.approx(cost, rel=1e-12, abs=1e-12)
        total += cost
    if found.n_priced:
        assert found.slippage_cost == pytest.approx(total, rel=1e-12, abs=1e-11)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"side": ["hold"]}, r"fills\['side'\]\[0\]: is hold; must be 'buy', 'sell', \+1 or -1"),
        ({"side": ["buy'; DROP TABLE fills"]}, r"fills\['side'\]\[0\]"),
        ({"side": [0]}, r"fills\['side'\]\[0\]: is 0"),
        ({"quantity": [0.0]}, r"fills\['quantity'\]\[0\]: is 0.0; must be above 0"),
        ({"quantity": ["ten"]}, r"fills\['quantity'\]: must hold numbers only"),
        ({"price": [math.nan]}, r"fills\['price'\]\[0\]: is nan; must be finite"),
        ({"price": [-1.0]}, r"fills\['price'\]\[0\]: is -1.0; must be above 0"),
        ({"time": [math.nan]}, r"fills\['time'\]\[0\]: is nan; every time must be known"),
        ({"time": ["noon"]}, r"fills\['time'\]: must hold datetimes or numbers"),
        ({"time": [pd.Timestamp("2024-01-01")]}, r"quotes\['time'\]: holds float64, the other times"),
        ({"decided": [16.0]}, r"fills\['decided'\]\[0\]: is 16.0; must not be after the fill"),
        ({"fee": [math.inf]}, r"fills\['fee'\]\[0\]: is inf"),
        ({"symbol": ["A"]}, "quotes: and fills must both have a column 'symbol'"),
    ],
)
def test_bad_fills_are_named(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        slippage(fills(**change), QUOTES)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"time": [0.0, 20.0, 10.0]}, r"quotes\['time'\]\[2\]: is 10.0, before the row above it"),
        ({"bid": [99.0, 102.0, 102.0]}, r"quotes\[1\]: is crossed: bid 102.0 above ask 101.0"),
        ({"ask": [101.0, math.nan, 104.0]}, r"quotes\['ask'\]\[1\]: is nan"),
        ({"bid": [99.0, 100.0, 0.0]}, r"quotes\['bid'\]\[2\]: is 0.0; must be above 0"),
    ],
)
def test_bad_quotes_are_named(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        slippage(fills(), QUOTES.assign(**change))


def test_frames_that_are_none_or_empty_are_named() -> None:
    with pytest.raises(InvalidInput, match="fills: is of type list; must be a DataFrame"):
        slippage([1, 2], QUOTES)
    with pytest.raises(InvalidInput, match="fills: has no column 'price'"):
        slippage(fills().drop(columns="price"), QUOTES)
    with pytest.raises(InvalidInput, match="quotes: is empty"):
        slippage(fills(), QUOTES.iloc[:0])
    with pytest.raises(InvalidInput, match="max_age: is -1"):
        slippage(fills(), QUOTES, max_age=-1.0)
    with pytest.raises(NotFinite, match="every time must be known"):
        slippage(fills(time=pd.to_datetime(["NaT"])), QUOTES)
