"""Trades against order books: worked by hand, and what must hold for any book."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.execution import Sweep, replay


def book(time: Any = 0.0, bids: Any = ((9.9, 100.0), (9.8, 200.0)), asks: Any = ((10.1, 50.0), (10.2, 100.0))) -> Any:
    rows = [("bid", *level) for level in bids] + [("ask", *level) for level in asks]
    frame = pd.DataFrame(rows, columns=["side", "price", "quantity"])
    frame.insert(0, "time", time)
    return frame


def trades(**columns: Any) -> pd.DataFrame:
    given_: dict[str, Any] = {"time": [1.0], "side": ["buy"], "quantity": [100.0], "price": [10.2]} | columns
    return pd.DataFrame(given_)


def test_a_purchase_walks_the_book() -> None:
    found = replay(trades(), book(), Sweep())
    row = found.fills.iloc[0]
    assert (row["quantity"], row["unfilled"], row["levels"], row["mid"], row["book_age"]) == (100.0, 0.0, 2, 10.0, 1.0)
    assert row["price"] == pytest.approx(10.15, rel=1e-14)
    assert found.cost == pytest.approx(15.0, rel=1e-12)
    assert found.actual_cost == pytest.approx(20.0, rel=1e-12)
    assert found.difference == pytest.approx(5.0, rel=1e-12)


def test_a_sale_walks_the_other_way() -> None:
    found = replay(trades(side=["sell"], quantity=[400.0], price=[9.7]), book())
    row = found.fills.iloc[0]
    assert (row["quantity"], row["unfilled"], row["levels"]) == (300.0, 100.0, 2)
    assert row["price"] == pytest.approx((100 * 9.9 + 200 * 9.8) / 300, rel=1e-14)
    assert found.cost == pytest.approx(100 * 0.1 + 200 * 0.2, rel=1e-12)
    assert (found.quantity, found.unfilled) == (300.0, 100.0)
    assert found.difference == pytest.approx(300 * row["price"] - 300 * 9.7, rel=1e-12)


def test_what_is_taken_is_gone_until_the_next_snapshot() -> None:
    books = pd.concat([book(0.0), book(5.0)], ignore_index=True)
    some = trades(time=[3.0, 1.0, 6.0], side=["buy"] * 3, quantity=[50.0, 50.0, 50.0], price=[10.1] * 3)
    found = replay(some, books)
    # the second row comes first in time
    np.testing.assert_allclose(found.fills["price"], [10.2, 10.1, 10.1], rtol=1e-14)


def test_only_a_share_of_each_level_can_be_had() -> None:
    found = replay(trades(), book(), Sweep(participation=0.5))
    assert found.fills["quantity"].tolist() == [75.0]
    assert found.cost == pytest.approx(25 * 0.1 + 50 * 0.2, rel=1e-12)


def test_latency_meets_a_later_book_and_never_one_that_is_later_still() -> None:
    books = pd.concat(
        [book(0.0), book(1.5, asks=((10.5, 500.0),)), book(3.0, asks=((11.0, 500.0),))], ignore_index=True
    )
    found = [replay(trades(), books, Sweep(latency=latency)).fills["price"].iloc[0] for latency in (0.0, 0.5, 1.9, 2.0)]
    np.testing.assert_allclose(found, [10.15, 10.5, 10.5, 11.0], rtol=1e-14)


def test_a_limit_is_kept() -> None:
    some = trades(
        time=[1.0] * 4, side=["buy", "buy", "sell", "buy"], quantity=[100.0] * 4, price=[10.2] * 4,
        limit=[10.1, 10.05, 9.9, math.nan],
    )  # fmt: skip
    found = replay(some, book())
    assert found.fills["quantity"].tolist() == [50.0, 0.0, 100.0, 100.0]
    assert found.fills["reason"].tolist() == ["", "nothing offered on that side", "", ""]


def test_no_book_or_an_empty_side_is_reported() -> None:
    found = replay(trades(time=[-1.0]), book())
    assert found.fills["reason"].tolist() == ["no book at or before the trade"]
    assert math.isnan(found.fills["cost"].iloc[0])
    assert (found.quantity, found.unfilled, found.cost) == (0.0, 100.0, 0.0)
    one_sided = replay(trades(), book(asks=((10.1, 0.0),)))
    assert one_sided.fills["reason"].tolist() == ["nothing offered on that side"]
    no_mid = replay(trades(), book(bids=()))
    assert no_mid.fills["quantity"].tolist() == [100.0]
    assert no_mid.fills["reason"].str.contains("one side only").all()
    assert (no_mid.cost, no_mid.difference) == (0.0, pytest.approx(5.0, rel=1e-12))


def test_dates_symbols_and_index() -> None:
    start = pd.Timestamp("2024-03-01")
    books = pd.concat(
        [book(start).assign(symbol="A"), book(start, asks=((20.0, 500.0),)).assign(symbol="B")], ignore_index=True
    )
    some = trades(
        time=[start + pd.Timedelta(seconds=2)] * 2, side=["buy"] * 2, quantity=[10.0] * 2, price=[10.0] * 2,
        symbol=["B", "A"],
    )  # fmt: skip
    some.index = [7, 3]
    found = replay(some, books).fills
    assert found.index.tolist() == [7, 3]
    np.testing.assert_allclose(found["price"], [20.0, 10.1], rtol=1e-14)
    assert found["book_age"].tolist() == [2.0, 2.0]


levels = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 40)), min_size=1, max_size=6, unique_by=lambda level: level[0]
)
orders = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(["buy", "sell"]), st.integers(1, 60)), min_size=1, max_size=12
)


@settings(max_examples=150, deadline=None)
@given(levels, levels, orders, st.floats(0.1, 1.0))
def test_the_book_is_conserved(bids: Any, asks: Any, some: Any, participation: float) -> None:
    down = [(10.0 - 0.1 * step, float(size)) for step, size in bids]
    up = [(10.0 + 0.1 * step, float(size)) for step, size in asks]
    frame = pd.DataFrame(some, columns=["time", "side", "quantity"]).assign(price=10.0)
    found = replay(frame, book(-1, down, up), Sweep(participation=participation))
    for side, offered in (("buy", up), ("sell", down)):
        here = found.fills[(frame["side"] == side).to_numpy()]
        assert here["quantity"].sum() <= sum(size for _, size in offered) + 1e-9
    np.testing.assert_allclose(found.fills["quantity"] + found.fills["unfilled"], frame["quantity"], rtol=1e-12)
    filled = found.fills["quantity"] > 0
    worst = np.where(frame["side"] == "buy", max(price for price, _ in up), min(price for price, _ in down))
    assert (np.abs(found.fills["price"] - 10.0)[filled] <= np.abs(worst - 10.0)[filled] + 1e-9).all()
    assert found.cost == pytest.approx(found.fills["cost"].fillna(0.0).sum(), rel=1e-9, abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(levels, st.integers(1, 200), st.integers(1, 200), st.floats(0.1, 1.0))
def test_a_larger_order_costs_at_least_as_much_a_share(
    asks: Any, first: int, second: int, participation: float
) -> None:
    up = [(10.0 + 0.1 * step, 1.0 + size) for step, size in asks]
    small, large = (
        replay(trades(quantity=[float(size)]), book(asks=up), Sweep(participation)).fills.iloc[0]
        for size in sorted((first, second))
    )
    assert large["quantity"] >= small["quantity"]
    assert large["price"] >= small["price"] - 1e-12
    assert large["cost"] >= small["cost"] - 1e-9


class Passive:
    """Takes the best level alone."""

    latency = 0.0

    def take(self, quantity: float, prices: Any, available: Any) -> Any:
        taken = np.zeros(len(prices))
        taken[:1] = np.minimum(quantity, available[:1])
        return taken


class Greedy(Passive):
    """Takes more than there is."""

    def take(self, quantity: float, prices: Any, available: Any) -> Any:
        return 2.0 * available


def test_another_model_may_fill_and_is_held_to_the_book() -> None:
    assert replay(trades(), book(), Passive()).fills["quantity"].tolist() == [50.0]
    with pytest.raises(InvalidInput, match=r"model: takes \[100.0, 200.0\] of \[50.0, 100.0\]"):
        replay(trades(), book(), Greedy())
    with pytest.raises(InvalidInput, match="model: must have `take`"):
        replay(trades(), book(), "sweep")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"side": ["hold"]}, r"trades\['side'\]\[0\]: is hold"),
        ({"quantity": [-5.0]}, r"trades\['quantity'\]\[0\]: is -5.0; must be above 0"),
        ({"price": [math.inf]}, r"trades\['price'\]\[0\]: is inf"),
        ({"time": [math.nan]}, r"trades\['time'\]\[0\]: is nan"),
        ({"limit": [-1.0]}, r"trades\['limit'\]\[0\]: is -1.0"),
        ({"symbol": ["A"]}, "book_snapshots: and trades must both have a column 'symbol'"),
    ],
)
def test_bad_trades_are_named(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        replay(trades(**change), book())


@pytest.mark.parametrize(
    ("books", "problem"),
    [
        (book().assign(time=[0.0, 2.0, 1.0, 3.0]), r"book_snapshots\['time'\]\[2\]: is 1.0, before the row above it"),
        (book(bids=((10.1, 1.0),), asks=((10.0, 1.0),)), r"book_snapshots\[0\]: is crossed: bid 10.1 above ask 10.0"),
        (book(asks=((10.1, -1.0),)), r"book_snapshots\['quantity'\]\[2\]: is -1.0; must be at least 0"),
        (book(asks=((0.0, 1.0),)), r"book_snapshots\['price'\]\[2\]: is 0.0; must be above 0"),
        (book().assign(side="buy"), r"book_snapshots\['side'\]\[0\]: is buy; must be 'bid', 'ask'"),
        (book().iloc[:0], "book_snapshots: is empty"),
        (book().drop(columns="price"), "book_snapshots: has no column 'price'"),
    ],
)
def test_bad_books_are_named(books: Any, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        replay(trades(), books)


def test_bad_models_are_named() -> None:
    with pytest.raises(InvalidInput, match="participation: is 0"):
        Sweep(participation=0.0)
    with pytest.raises(InvalidInput, match="latency: is nan"):
        Sweep(latency=math.nan)
