"""Books, markets and scenarios: what they hold, and what they refuse by name."""

from __future__ import annotations

import functools
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine import InvalidInput, NotFinite
from engine.risk import Book, Market, Scenarios, VolatilitySurface, revalue
from engine.risk.market import state
from tests.engine.risk.books import NAMES, book, market, scenarios, table

GOOD: dict[str, Any] = {
    "id": ["a", "b", "c"],
    "underlying": ["X", "Y", "X"],
    "kind": ["call", "spot", "future"],
    "quantity": [1.0, 2.0, -3.0],
    "strike": [100.0, None, None],
    "expiry": [0.5, None, 0.25],
    "multiplier": [10.0, 1.0, 1.0],
}


def test_positions_are_grouped_by_underlying_and_keep_their_numbers() -> None:
    rows = table(200)
    found = Book.from_frame(rows)
    rows = rows.set_index("id").loc[found.ids]
    assert found.underlyings == tuple(dict.fromkeys(table(200)["underlying"]))
    assert [found.underlyings[place] for place in found.group] == rows["underlying"].tolist()
    np.testing.assert_array_equal(found.weight, (rows["quantity"] * rows["multiplier"]).to_numpy())
    option = rows["kind"].isin(["call", "put"]).to_numpy()
    np.testing.assert_array_equal(found.sign, np.where(option, np.where(rows["kind"] == "call", 1.0, -1.0), 0.0))
    np.testing.assert_array_equal(found.strike[option], rows["strike"][option])
    assert (np.diff(found.group) >= 0).all()


def test_a_part_is_the_same_positions() -> None:
    whole = book(100)
    pieces = [whole.part(first, min(first + 7, 100)) for first in range(0, 100, 7)]
    assert np.concatenate([piece.ids for piece in pieces]).tolist() == whole.ids.tolist()
    for piece in pieces:
        assert piece.starts[0] == 0
        assert piece.starts[-1] == len(piece)
        first = whole.ids.tolist().index(piece.ids[0])
        ours = [piece.underlyings[place] for place in piece.group]
        assert ours == [whole.underlyings[place] for place in whole.group[first : first + len(piece)]]
    with pytest.raises(InvalidInput, match="first: is 3 and last is 3"):
        whole.part(3, 3)


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ({"id": []}, InvalidInput, "id: is empty"),
        ({"id": "abc"}, InvalidInput, "id: must be a column"),
        ({"id": ["a", "b", "a"]}, InvalidInput, r"id\[2\]: is 'a', which is there already"),
        ({"id": ["a", None, "c"]}, InvalidInput, r"id\[1\]: is None; must be a text"),
        ({"underlying": ["X", "Y"]}, InvalidInput, "underlying: has 2 rows, id has 3"),
        ({"underlying": ["X", "", "X"]}, InvalidInput, r"underlying\[1\]: is '' \(position 'b'\)"),
        ({"kind": ["call", "swaption", "spot"]}, InvalidInput, r"kind\[1\]: is 'swaption' \(position 'b'\)"),
        ({"kind": ["call", "spot\x00", "spot"]}, InvalidInput, r"kind\[1\]: is 'spot\\x00'"),
        ({"quantity": [1.0, float("nan"), 1.0]}, NotFinite, r"quantity\[1\]: is nan \(position 'b'\)"),
        ({"quantity": [1.0, 2.0]}, InvalidInput, r"quantity: has shape \(2,\), id has 3 rows"),
        ({"quantity": [1.0, "2", 3.0]}, InvalidInput, r"quantity"),
        ({"quantity": [True, False, True]}, InvalidInput, "quantity: must hold numbers only"),
        ({"quantity": np.array([1.0, "2", 3.0], dtype=object)}, InvalidInput, r"quantity\[1\]: is '2'"),
        ({"quantity": [[1.0], [1.0, 2.0]]}, InvalidInput, "quantity: must be one column of numbers"),
        ({"quantity": [1e300, 1.0, 1.0], "multiplier": [1e10, 1.0, 1.0]}, InvalidInput, "times multiplier it over"),
        ({"multiplier": [1.0, 0.0, 1.0]}, InvalidInput, r"multiplier\[1\]: is 0.0 \(position 'b'\); must be above 0"),
        ({"strike": [0.0, None, None]}, InvalidInput, r"strike\[0\]: is 0.0 \(position 'a'\); must be above 0"),
        ({"strike": None}, NotFinite, r"strike\[0\]: is nan \(position 'a'\); an option needs"),
        ({"strike": [100.0, 5.0, None]}, InvalidInput, r"strike\[1\]: is 5.0 \(position 'b'\); only an option"),
        ({"expiry": [-0.1, None, 0.25]}, InvalidInput, r"expiry\[0\]: is -0.1 \(position 'a'\); must be at least 0"),
        ({"expiry": [0.5, None, None]}, NotFinite, r"expiry\[2\]: is nan \(position 'c'\)"),
        ({"expiry": [0.5, 1.0, 0.25]}, InvalidInput, r"expiry\[1\]: is 1.0 \(position 'b'\); spot and perpetuals"),
        ({"expiry": [0.5, date(2026, 1, 1), 0.25]}, InvalidInput, r"expiry\[0\]: is 0.5 among dates"),
        ({"expiry": ["soon", None, 0.25]}, InvalidInput, "expiry"),
    ],
)
def test_a_wrong_position_is_named(facts: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Book.from_columns(**{**GOOD, **facts})


def test_a_frame_with_strange_or_missing_columns_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"frame: has the unknown columns \['strkie'\]"):
        Book.from_frame(table().rename(columns={"strike": "strkie"}))
    with pytest.raises(InvalidInput, match="frame: is of type list; must be a DataFrame"):
        Book.from_frame([1, 2])  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"frame: lacks the columns \['kind'\]"):
        Book.from_frame(table().drop(columns="kind"))


def test_a_book_comes_back_from_parquet(tmp_path: Path) -> None:
    table().to_parquet(tmp_path / "book.parquet")
    load = functools.partial(Book.from_parquet, tmp_path / "book.parquet")
    np.testing.assert_array_equal(load().weight, book().weight)


def test_dates_and_years_are_the_same_clock() -> None:
    expiries = pd.to_datetime(["2026-03-01", "2026-06-01"]).tz_localize("UTC")
    columns: dict[str, Any] = {"id": ["a", "b"], "underlying": ["X", "X"], "kind": ["call", "put"], "quantity": [1, 2]}
    dated = Book.from_columns(**columns, strike=[90.0, 110.0], expiry=expiries)
    now = Market({"X": 100.0}, volatility=0.2, as_of=datetime(2026, 1, 1, 12, tzinfo=UTC))
    days = np.array([58.5, 150.5])
    np.testing.assert_allclose(state(dated, now).time, days / 365.0, atol=1e-12)
    naive = Book.from_columns(**columns, strike=[90.0, 110.0], expiry=[date(2026, 3, 1), date(2026, 6, 1)])
    np.testing.assert_array_equal(naive.expiry, dated.expiry)
    with pytest.raises(InvalidInput, match="as_of: is a number, but the expiries of the book are dates"):
        state(dated, Market({"X": 100.0}, volatility=0.2))
    with pytest.raises(InvalidInput, match=r"expiry\[0\]: of position 'a' lies 0.16.* years before"):
        state(dated, Market({"X": 100.0}, volatility=0.2, as_of=date(2026, 5, 1)))


def test_a_surface_goes_through_its_points_and_is_linear_in_variance() -> None:
    grid = np.array([[0.40, 0.30, 0.35], [0.36, 0.31, 0.33]])
    surface = VolatilitySurface([0.25, 1.0], [80.0, 100.0, 120.0], grid)
    times, strikes = np.repeat([0.25, 1.0], 3), np.tile([80.0, 100.0, 120.0], 2)
    np.testing.assert_allclose(surface.at(times, strikes), grid.ravel(), rtol=1e-14)
    middle = surface.at([0.5], [100.0])[0] ** 2 * 0.5
    assert middle == pytest.approx(0.3**2 * 0.25 * (2 / 3) + 0.31**2 * (1 / 3), rel=1e-14)
    np.testing.assert_array_equal(surface.at([0.01, 9.0], [10.0, 500.0]), [0.40, 0.33])


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"expiries": [1.0, 0.5]}, r"expiries\[1\]: is 0.5 after 1.0; must increase"),
        ({"strikes": [80.0, 80.0]}, r"strikes\[1\]: is 80.0 after 80.0"),
        ({"volatilities": [[0.2, 0.2]]}, r"volatilities: has shape \(1, 2\), must be \(2, 2\)"),
        ({"volatilities": [[0.2, 0.2], [0.2, -0.1]]}, r"volatilities\[1, 1\]: is -0.1; must be at least 0"),
    ],
)
def test_a_wrong_surface_is_refused(facts: dict[str, Any], message: str) -> None:
    good = {"expiries": [0.5, 1.0], "strikes": [80.0, 100.0], "volatilities": [[0.2, 0.2], [0.2, 0.2]]}
    with pytest.raises(InvalidInput, match=message):
        VolatilitySurface(**{**good, **facts})


def test_points_of_a_surface_are_pairs() -> None:
    surface = VolatilitySurface([0.25, 1.0], [90.0, 110.0], [[0.3, 0.2], [0.3, 0.2]])
    assert surface.at([0.5], [90.0, 100.0]).round(12).tolist() == [0.3, 0.25]
    assert VolatilitySurface([0.5], [100.0], [[0.2]]).at([0.1, 0.2], [95.0]).tolist() == [0.2, 0.2]
    with pytest.raises(InvalidInput, match="strike: has 3 points for 2 expiries"):
        surface.at([0.5, 0.6], [90.0, 100.0, 110.0])


def test_the_nearest_volatility_wins() -> None:
    held = book()
    surface = VolatilitySurface([0.1, 2.0], [60.0, 140.0], [[0.5, 0.4], [0.45, 0.4]])
    place = int(np.argmax(held.sign))
    given = {"BTC": surface, "ETH": 0.6, "SOL": 0.8}
    found = state(held, market(volatility=given, implied={held.ids[place]: 1.5})).volatility
    assert found[place] == 1.5
    for row in range(len(held)):
        if row == place:
            continue
        level = {"BTC": None, "ETH": 0.6, "SOL": 0.8}[held.underlyings[held.group[row]]]
        if held.sign[row] == 0.0:
            level = 0.0
        elif level is None:
            level = surface.at([held.expiry[row]], [held.strike[row]])[0]
        assert found[row] == level


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ({"spot": {"X": 0.0}}, InvalidInput, "spot: is 0.0 for 'X'; must be above 0"),
        ({"spot": {"X": float("nan")}}, NotFinite, "spot: is nan for 'X'"),
        ({"spot": {"X": "100"}}, InvalidInput, "spot: is '100' for 'X'; must be a number"),
        ({"spot": 100.0}, InvalidInput, "spot: must map each underlying"),
        ({"volatility": -0.1}, InvalidInput, "volatility: is -0.1; must be at least 0"),
        ({"volatility": {"X": None}}, InvalidInput, "volatility: is None for 'X'"),
        ({"rate": {"X": float("inf")}}, NotFinite, "rate: is inf for 'X'"),
        ({"implied": {"a": -1.0}}, InvalidInput, "implied: is -1.0 for 'a'"),
        ({"as_of": "today"}, InvalidInput, "as_of: is 'today'; must be a number"),
    ],
)
def test_a_wrong_market_is_refused(facts: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Market(**{"spot": {"X": 100.0}, "volatility": 0.2, **facts})


def test_what_the_book_needs_and_the_market_lacks_is_named() -> None:
    held = book()
    with pytest.raises(
        InvalidInput, match=r"spot: has nothing for 'SOL', which the book holds \(it has 'BTC', 'ETH'\)"
    ):
        revalue(held, market(spot={"BTC": 1.0, "ETH": 1.0}), scenarios())
    with pytest.raises(InvalidInput, match="volatility: is not given; the option 'position"):
        revalue(held, market(volatility=None), scenarios())
    with pytest.raises(InvalidInput, match="dividend: has nothing for 'ETH'"):
        revalue(held, market(dividend={"BTC": 0.0, "SOL": 0.0}), scenarios())
    with pytest.raises(InvalidInput, match="scenarios: has no moves of 'SOL'"):
        revalue(held, market(), Scenarios(NAMES[:2], np.zeros((3, 2))))


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ({"underlyings": "BTC"}, InvalidInput, "underlyings: must be a sequence of names"),
        ({"underlyings": ["X", "X"]}, InvalidInput, "underlyings: must be a sequence of names, each once"),
        ({"spot": [[0.1]]}, InvalidInput, "spot: has 1 columns for 2 underlyings"),
        ({"spot": [[0.1, -1.1]]}, InvalidInput, r"spot\[0, 1\]: is -1.1; a spot can lose no more than 1"),
        ({"spot": [[0.1, float("nan")]]}, NotFinite, r"spot\[0, 1\]: is nan"),
        ({"spot": np.zeros((0, 2))}, InvalidInput, "spot: is empty"),
        ({"volatility": [[0.1]]}, InvalidInput, r"volatility: has shape \(1, 1\)"),
        ({"rate": [0.1, 0.2]}, InvalidInput, "rate: has 2 rows, spot has 1"),
        ({"elapsed": -1.0}, InvalidInput, r"elapsed\[0\]: is -1.0; must be at least 0"),
        ({"interval": 0.0}, InvalidInput, "interval: is 0.0"),
    ],
)
def test_wrong_scenarios_are_refused(facts: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Scenarios(**{"underlyings": ["X", "Y"], "spot": [[0.1, 0.2]], **facts})


def test_history_becomes_scenarios_by_name() -> None:
    rng = np.random.default_rng(3)
    returns = pd.DataFrame(0.02 * rng.standard_normal((10, 2)), columns=["X", "Y"])
    changes = pd.DataFrame({"Y": 0.01 * rng.standard_normal(10)})
    found = Scenarios.from_returns(returns, volatility=changes, interval=0.5)
    np.testing.assert_array_equal(found.volatility, np.column_stack([np.zeros(10), changes["Y"]]))
    assert found.interval == 0.5
    with pytest.raises(InvalidInput, match=r"volatility: has the columns \['Z'\], which returns lacks"):
        Scenarios.from_returns(returns, volatility=changes.rename(columns={"Y": "Z"}))
    with pytest.raises(InvalidInput, match="returns: is of type ndarray; must be a DataFrame"):
        Scenarios.from_returns(np.zeros((3, 1)))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="places: index 17 is out of bounds"):
        found.rows([17])
    with pytest.raises(InvalidInput, match="volatility: has 9 rows, returns has 10"):
        Scenarios.from_returns(returns, volatility=changes.iloc[:9])


def test_simulated_moves_have_the_covariance_they_were_asked_for() -> None:
    factor = np.array([[0.03, 0.0, 0.0], [0.02, 0.02, 0.0], [-0.01, 0.005, 0.01]])
    small = np.zeros((3, 3))
    small[:3, :3] = factor @ factor.T
    names, n = ["X"], 200_000
    found = Scenarios.simulated(names, small, n, seed=5)
    moves = np.column_stack([np.log1p(found.spot[:, 0]), found.volatility[:, 0], found.rate])
    seen = moves.T @ moves / n
    error = np.sqrt((np.outer(np.diag(small), np.diag(small)) + small**2) / n)
    assert (np.abs(seen - small) < 4.0 * error).all()
    again = Scenarios.simulated(names, small, n, seed=5)
    np.testing.assert_array_equal(found.spot, again.spot)
    for seed in (-1, 1.5, True, None):
        with pytest.raises(InvalidInput, match="seed: is"):
            Scenarios.simulated(names, small, 10, seed=seed)  # type: ignore[arg-type]
