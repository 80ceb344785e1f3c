"""A04 on the sandbox's own desk, stepped without servers: each cause, two at once, none of them, and what is unseen."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from engine import pricing
from opslib.diagnosis import large_loss
from sandbox.derivatives.market import UNDERLYINGS
from sandbox.derivatives.service.release import Release
from tests.diagnosis.book import BAND, LIMIT, NOW, WINDOW_S, Desk, Happening, happening, play
from tests.diagnosis.verdicts import likely

CAUSES = ("wrong-greeks", "stale-market-data", "market-move-hedged", "market-move-hedge-missed")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_named_alone(cause: str, seed: int) -> None:
    verdict = play(happening(cause, seed), seed).diagnose()
    assert (verdict.cause, likely(verdict)) == (cause, {cause}), verdict
    assert verdict.confidence > 0.8


@pytest.mark.parametrize("recent", [True, False])
@pytest.mark.parametrize(("names", "by"), [(["SPX"], -1.0), (["XOM", "TSLA", "GLD"], -0.6), (list(UNDERLYINGS), -0.2)])
def test_wrong_dividends_are_wrong_greeks_at_usual_volatilities(names: list[str], by: float, recent: bool) -> None:
    given = {name: one.dividend + (by if name in names else 0.0) for name, one in UNDERLYINGS.items()}
    desk = play(Happening(release=Release("2.5.1", dividends=given)), 1)
    if not recent:
        desk.history = None
    verdict = desk.diagnose()
    assert (verdict.cause, likely(verdict)) == ("wrong-greeks", {"wrong-greeks"}), verdict
    assert verdict.confidence > 0.8
    assert "USD less than is reported" in verdict.causes[0].because


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cause", CAUSES[1:])
def test_a_loss_that_is_there_apart_from_the_service_speaks_against_its_model(cause: str, seed: int) -> None:
    desk = play(happening(cause, seed), seed)
    clear = next(item for item in desk.diagnose().causes if item.key == "wrong-greeks")
    assert clear.likelihood < 0.04
    assert "than is reported (moves meanwhile: up to" in clear.because


def test_a_report_that_is_old_is_not_compared() -> None:
    desk = play(happening("wrong-greeks", 0), 0)
    assert desk.book is not None
    desk.book["time"] -= 60.0
    verdict = desk.diagnose()
    assert desk.value is not None
    assert math.isnan(large_loss.paper(desk.book, desk.value, NOW, 15.0).usd)
    assert verdict.cause == "wrong-greeks"
    assert "than is reported" not in verdict.causes[0].because


@pytest.mark.parametrize("way", ["failed", "empty", "without a spot"])
@pytest.mark.parametrize("cause", ["wrong-greeks", "market-move-hedged", "market-move-hedge-missed"])
def test_the_rest_of_the_book_is_valued_where_an_underlying_was_not_seen(cause: str, way: str) -> None:
    desk = play(happening(cause, 0), 0)
    whole = desk.diagnose()
    name = next(iter(desk.hashes))
    seen = desk.hashes[name]
    assert seen is not None
    ways = {"failed": None, "empty": seen.iloc[:0], "without a spot": seen[seen["field"] != "spot"]}
    desk.hashes[name] = ways[way]
    verdict = desk.diagnose()
    assert desk.value is not None
    assert desk.positions is not None
    assert (desk.value.missing, name in desk.value.by_underlying.index) == ((name,), False)
    cost = (desk.positions["quantity"] * desk.positions["entry_price"]).abs()
    assert desk.value.missing_share == pytest.approx(cost[desk.positions["underlying"] == name].sum() / cost.sum())
    assert f"of the book could not be valued ({name})" in desk.value.lacks
    assert verdict.cause in (whole.cause, None), verdict
    assert verdict.confidence <= whole.confidence
    assert desk.book is not None
    assert math.isnan(large_loss.paper(desk.book, desk.value, NOW, 15.0).usd)  # part of a book is not the whole of it


def test_a_book_of_which_nothing_was_seen_is_not_valued() -> None:
    desk = play(happening("wrong-greeks", 0), 0)
    assert desk.positions is not None
    desk.positions = desk.positions.assign(underlying="NONE")
    verdict = desk.diagnose()
    assert (desk.value, verdict.cause) == (None, None)


def test_a_healthy_desk_has_no_cause() -> None:
    verdict = play(Happening(), 1).diagnose()
    assert (verdict.confirmed, verdict.cause, verdict.causes) == (False, None, [])


@pytest.mark.parametrize("move", ["market-move-hedged", "market-move-hedge-missed"])
def test_a_wrong_model_in_a_market_that_moves_is_named_beside_the_move(move: str) -> None:
    both = replace(happening(move, 0), release=happening("wrong-greeks", 1).release)
    verdict = play(both, 0, lost=-550_000.0).diagnose()
    assert likely(verdict) == {"wrong-greeks", move}, verdict


@pytest.mark.parametrize("move", [0.1, 0.13])
def test_a_rising_market_is_a_move_as_well(move: float) -> None:
    from sandbox.derivatives.feed import Exchange

    gap = Happening(Exchange(move=move, steps=1, volatility=1.1))
    assert likely(play(gap, 2).diagnose()) == {"market-move-hedged"}
    unhedged = Happening(Exchange(move=move, steps=15), hedging=False)
    assert likely(play(unhedged, 2).diagnose()) == {"market-move-hedge-missed"}


def test_volatilities_that_rise_without_the_spots_are_a_move() -> None:
    from sandbox.derivatives.feed import Exchange

    verdict = play(Happening(Exchange(volatility=1.5)), 3).diagnose()
    assert likely(verdict) == {"market-move-hedged"}, verdict


def test_a_hedger_that_stands_misses_hedges_too() -> None:
    desk = play(happening("market-move-hedge-missed", 1), 1)
    desk.switch = (True, None)
    assert desk.log is not None
    assert desk.book is not None
    desk.log["count"] = 0
    desk.book["time"] -= 60.0
    verdict = desk.diagnose()
    assert likely(verdict) == {"market-move-hedge-missed"}
    assert "last wrote its figures 6" in verdict.causes[0].because


def test_the_log_alone_tells_that_the_hedger_is_off() -> None:
    desk = play(happening("market-move-hedge-missed", 2), 2)
    desk.switch = None
    assert likely(desk.diagnose()) == {"market-move-hedge-missed"}


def test_market_data_that_do_not_come_in_at_all_are_stale() -> None:
    desk = play(happening("market-move-hedged", 0), 0)
    for found in desk.hashes.values():
        assert found is not None
        times = found["field"].isin(["time", "future_time"])
        found.loc[times, "value"] = str(int((NOW.timestamp() - 90) * 1000))
    verdict = desk.diagnose()
    assert verdict.cause == "stale-market-data"
    assert "no market data come in at all" in verdict.causes[0].because


def test_greeks_that_are_not_those_of_their_price_are_wrong() -> None:
    desk = play(happening("wrong-greeks", 0), 0)
    assert desk.served is not None
    desk.served["gamma"] *= 100.0
    because = next(item.because for item in desk.diagnose().causes if item.key == "wrong-greeks")
    assert "12 of 12 served results are not Black-Scholes'" in because


def test_a_roll_out_that_is_half_done_is_seen() -> None:
    new, old = play(happening("wrong-greeks", 2), 2), play(Happening(), 2)
    assert new.served is not None
    assert old.served is not None
    new.served = pd.concat([old.served.head(40), new.served.head(25)])
    assert likely(new.diagnose()) == {"wrong-greeks"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_wrong_model_is_told_where_the_release_before_made_the_report(seed: int, share: float) -> None:
    """In the midst of a roll-out the report hovers: the alert fires, and by the time of the run no loss is reported.

    "Nothing wrong" would be the last word of the incident; with the cause told, the run is looked at again by itself.
    """
    desk, old = play(happening("wrong-greeks", seed), seed), play(Happening(), seed)
    assert desk.served is not None
    assert desk.book is not None
    assert old.served is not None
    assert old.book is not None
    count = round(50 * share)
    desk.served = pd.concat([old.served.head(50 - count), desk.served.head(count)])
    desk.book = {**old.book, "time": desk.book["time"]}
    verdict = desk.diagnose(began_s=25.0)
    assert (verdict.confirmed, verdict.cause, likely(verdict)) == (False, None, {"wrong-greeks"}), verdict
    assert verdict.summary.startswith("Not confirmed"), verdict
    assert "look again" in verdict.summary
    assert desk.diagnose(began_s=3600.0).causes == []


def test_a_position_booked_at_a_wrong_price_is_none_of_these() -> None:
    desk = play(Happening(), 4)
    assert desk.positions is not None
    assert desk.book is not None
    desk.positions.loc[:3, "entry_price"] *= 0.5  # the first call and put of each expiry, sold too cheaply
    desk.book["pnl_usd"] = desk.book["pnl_options_usd"] = -150_000.0
    verdict = desk.diagnose()
    assert verdict.cause == "none-of-these", verdict


def test_what_cannot_be_seen_is_never_guessed() -> None:
    blind = play(happening("wrong-greeks", 1), 1)
    blind.positions = None
    verdict = blind.diagnose()
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (True, None, 0.0)
    stale = play(happening("stale-market-data", 1), 1)
    stale.positions = stale.served = stale.hedges = None
    assert stale.diagnose().cause == "stale-market-data"  # the ages of the market data tell it alone
    unserved = play(happening("wrong-greeks", 1), 1)
    unserved.served = None
    assert unserved.diagnose().cause is None
    dark = play(happening("wrong-greeks", 1), 1)
    dark.hashes = dict.fromkeys(dark.hashes)
    assert dark.diagnose().cause is None
    nothing = play(happening("wrong-greeks", 1), 1)
    nothing.book = None
    assert nothing.diagnose().summary.startswith("Not known")


@pytest.mark.parametrize("cause", CAUSES)
def test_without_quotes_and_releases_the_cause_is_still_found(cause: str) -> None:
    desk = play(happening(cause, 2), 2)
    desk.quotes = desk.history = None
    assert desk.diagnose().cause == cause


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("empty", ["hedges", "positions", "served", "quotes", "log"])
def test_a_table_without_rows_breaks_nothing(cause: str, empty: str) -> None:
    desk = play(happening(cause, 2), 2)
    setattr(desk, empty, getattr(desk, empty).iloc[:0])
    verdict = desk.diagnose()
    assert verdict.confirmed
    if empty != "hedges":  # without any, hedges were missed indeed
        assert verdict.cause in (None, cause), verdict


def test_a_book_without_pairs_is_valued_without_the_market_at_entry() -> None:
    desk = play(happening("wrong-greeks", 3), 3)
    assert desk.positions is not None
    desk.positions = desk.positions[desk.positions["kind"] == "call"]
    verdict = desk.diagnose()
    assert verdict.cause == "wrong-greeks"
    assert desk.value is not None
    assert desk.value.explained is None


def test_the_engine_agrees_with_the_desk_and_the_parts_add_up() -> None:
    desk = play(happening("market-move-hedged", 3), 3)
    desk.diagnose()
    value, told = desk.value, desk.book
    assert value is not None
    assert told is not None
    assert value.pnl_usd == pytest.approx(told["pnl_usd"], abs=2_000.0)
    assert value.hedges_usd == pytest.approx(told["pnl_hedges_usd"], abs=2_000.0)
    explained = value.explained
    assert explained is not None
    assert explained.loc["total", "pnl"] == pytest.approx(value.pnl_usd, rel=1e-6)
    parts = explained.drop(columns="pnl").sum(axis=1)
    assert parts["total"] == pytest.approx(value.pnl_usd, rel=1e-6)
    split = large_loss.summary(told, value)["usd"]
    assert split.iloc[:-1].sum() == pytest.approx(split.iloc[-1], abs=5.0)


def test_delta_and_vega_betray_spot_and_volatility() -> None:
    desk = play(happening("wrong-greeks", 2), 2)
    market = large_loss.market(desk.hashes, NOW)
    assert market is not None
    assert desk.positions is not None
    assert desk.served is not None
    table = large_loss.holdings(desk.positions, desk.quotes, market, pricing)
    found = large_loss.served(desk.served, table, market, NOW, pricing, checked=2)
    assert found["spot_x"].to_numpy() == pytest.approx(1.0, abs=1e-3)
    assert (found["verdict"] == "agrees").sum() == 2
    scale = happening("wrong-greeks", 2).release.volatility_scale
    assert found["ratio"].median() == pytest.approx(scale, rel=0.05)


def test_new_risk_is_stopped_first_and_only_then_a_release_goes_back() -> None:
    desk = play(happening("wrong-greeks", 1), 1)
    desk.diagnose()
    given = {"service": "deployment/derivatives-api", "window_s": WINDOW_S}
    on, off = {"enabled": True}, {"enabled": False}
    stop = large_loss.fixes(["wrong-greeks"], on, desk.found_release, **given)
    assert [name for name, _ in stop] == ["derivatives.stop-auto-trading"]
    assert large_loss.fixes([], None, large_loss.Release(), **given)[0][0] == "derivatives.stop-auto-trading"
    back = large_loss.fixes(["wrong-greeks"], off, desk.found_release, **given)
    assert back == [("kubernetes.undo-rollout", {"workload": "deployment/derivatives-api", "revision": 2})]
    assert large_loss.fixes(["market-move-hedged"], off, desk.found_release, **given) == []
    old = large_loss.release(play(Happening(), 1).history, NOW)
    assert large_loss.fixes(["wrong-greeks"], off, old, **given) == []


def test_the_beginning_of_the_loss_is_found() -> None:
    times = pd.to_datetime([NOW.timestamp() - age for age in range(60, -1, -1)], unit="s", utc=True)
    falling = pd.DataFrame(
        {"pnl": [0.0 if place < 40 else -8_000.0 * (place - 39) for place in range(61)]}, index=times
    )
    assert large_loss.began_s(falling, LIMIT, NOW, 300.0) == pytest.approx(1.1 * 19 + 5, abs=2.5)
    assert large_loss.began_s(None, LIMIT, NOW, 300.0) == 300.0
    assert large_loss.began_s(falling.iloc[50:], LIMIT, NOW, 300.0) == 300.0


def test_the_message_says_what_the_clients_need_to_know() -> None:
    desk = play(happening("wrong-greeks", 0), 0)
    verdict = desk.diagnose()
    assert "do not trade on them" in large_loss.message(verdict.cause, desk.book, desk.value)
    assert "not seen" in large_loss.message(None, None, None)


def test_figures_come_from_the_book_else_from_the_service() -> None:
    told = pd.DataFrame({"field": ["pnl_usd"], "value": ["-5.5"]})
    assert large_loss.figures(told, None) == {"pnl_usd": -5.5}
    assert large_loss.figures(None, {"book": {"pnl_usd": -7}}) == {"pnl_usd": -7.0}
    assert large_loss.figures(None, {"book": {}}) is None
    assert large_loss.hedger({"pnl_usd": 1.0}, (True, None), None, None, NOW) is None
    assert math.isnan(large_loss.release(None, NOW).age_s)
    assert BAND > 0
    assert isinstance(desk_of(0), Desk)


def desk_of(seed: int) -> Desk:
    return play(Happening(), seed)
