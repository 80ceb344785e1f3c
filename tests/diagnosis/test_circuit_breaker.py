"""A20 names what opened the breaker, and proposes the reset only once that is gone."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest

from opslib.diagnosis import circuit_breaker
from sandbox.crypto.risk import BreakerState
from tests.diagnosis import simulation
from tests.seeds import seeds

CAUSES = sorted(simulation.FAULTS["circuit-breaker"])


def broken(cause: str, seed: int, noise: int = 0) -> simulation.Scene:
    """A platform on which a fault has just opened the breaker."""
    scene = simulation.scene(4_000 + seed)
    simulation.break_(scene, f"circuit-breaker/{cause}", seed=seed, noise=noise)
    assert simulation.until(scene, simulation.opened)
    return scene


def named(cause: str, seed: int) -> None:
    scene = broken(cause, seed, noise=seed % 3)
    scene.advance((1, 8, 60, 400)[seed % 4])
    verdict, _ = simulation.diagnose_breaker(scene)
    assert verdict.confirmed
    assert (verdict.cause, simulation.likely(verdict)) == (cause, [cause]), (seed, verdict)


@pytest.mark.parametrize("seed", seeds(8))
@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_named_alone(cause: str, seed: int) -> None:
    named(cause, seed)


@pytest.mark.slow
@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_named_for_many_more(cause: str) -> None:
    for seed in range(8, 40):
        named(cause, seed)


@pytest.mark.slow
@pytest.mark.parametrize("cause", CAUSES)
def test_a_breaker_open_for_longer_than_the_series_reach_is_named_by_what_it_measured(cause: str) -> None:
    scene = broken(cause, 3)
    scene.platform.market.move_volatility([0, 1, 2, 3, 4], 1.0, 1)
    scene.platform.kelly, scene.scenarios = 0.05, 0
    scene.advance(len(scene.platform.history) + 50)
    verdict, triggers = simulation.diagnose_breaker(scene)
    assert verdict.cause == cause
    assert circuit_breaker.gone(triggers)


def test_the_limits_in_force_count_and_one_that_is_lower_than_it_should_be_is_told() -> None:
    should = {"var": 2.5, "latency": 100.0}
    for nothing in (None, {}, {"limits": None}, {"limits": {"var_breaker_pct": "high", "latency_ms": 0}}):
        assert circuit_breaker.in_force(nothing, should) == (should, "")
    wider = {"limits": {"var_breaker_pct": 3.0, "latency_ms": 100.0}}
    assert circuit_breaker.in_force(wider, should) == ({"var": 3.0, "latency": 100.0}, "")
    lower = {"limits": {"var_breaker_pct": 0.8, "latency_ms": 20.0}}
    found, told = circuit_breaker.in_force(lower, should)
    assert found == {"var": 0.8, "latency": 20.0}
    assert told == (
        "The limit of VaR in force is 0.8, and should be 2.5; the limit of latency in force is 20, and should be 100: "
        "put it back before the breaker is reset"
    )


def test_a_breaker_that_opened_at_a_lowered_limit_is_opened_by_var() -> None:
    scene = simulation.scene(4_100)
    scene.platform.parameters = scene.platform.parameters.model_copy(update={"var_breaker_pct": 0.6})
    assert simulation.until(scene, simulation.opened)
    scene.advance(8)
    verdict, _ = simulation.diagnose_breaker(scene)
    assert (verdict.cause, simulation.likely(verdict)) == ("var", ["var"])
    assert "(limit 0.6)" in verdict.causes[0].because


def test_the_median_in_the_picture_is_what_the_table_says_of_now() -> None:
    scene = broken("latency", 1)
    _, triggers = simulation.diagnose_breaker(scene)
    taken = circuit_breaker.steps(simulation.history(scene, "latency_ms"))
    assert taken.columns[0] == "each step"
    assert taken.iloc[-1, 1] == pytest.approx(triggers.at["latency", "now"], rel=0.01)


def test_both_at_once_are_both_likely() -> None:
    scene = broken("latency", 1)
    scene.platform.market.move_volatility([0, 1, 2, 3, 4], 12.0, 2)
    scene.advance(80)
    verdict, _ = simulation.diagnose_breaker(scene)
    assert set(simulation.likely(verdict)) == {"var", "latency"}


def test_a_healthy_platform_has_no_cause() -> None:
    scene = simulation.scene(81)
    scene.advance(40)
    verdict, _ = simulation.diagnose_breaker(scene)
    assert (verdict.confirmed, verdict.cause, verdict.causes) == (False, None, [])


def test_a_half_open_breaker_is_left_alone() -> None:
    scene = simulation.scene(82)
    scene.platform.breaker.move(BreakerState.HALF_OPEN, "reset by operator", scene.now_ms)
    scene.advance(2)
    verdict, _ = simulation.diagnose_breaker(scene)
    assert not verdict.confirmed


def test_a_breaker_that_something_else_opened_is_none_of_these() -> None:
    scene = simulation.scene(83)
    scene.advance(20)
    scene.platform.breaker.move(BreakerState.OPEN, "", scene.now_ms)
    scene.advance(4)
    verdict, triggers = simulation.diagnose_breaker(scene)
    assert verdict.cause == "none-of-these"
    status = simulation.document(scene)
    assert circuit_breaker.remedy([], triggers, status, 0.1, 2000) == []


@pytest.mark.parametrize("cause", CAUSES)
def test_without_redis_the_breaker_itself_tells(cause: str) -> None:
    scene = broken(cause, 4)
    scene.advance(20)
    verdict, _ = simulation.diagnose_breaker(scene, unseen=("redis",))
    assert verdict.cause == cause
    assert verdict.confidence < 0.95


@pytest.mark.parametrize("cause", CAUSES)
def test_without_the_api_the_series_tell(cause: str) -> None:
    scene = broken(cause, 5)
    scene.advance(20)
    verdict, triggers = simulation.diagnose_breaker(scene, unseen=("api",))
    assert verdict.cause == cause
    assert circuit_breaker.remedy([cause], triggers, None, 0.1, 2000) == []


def test_without_both_nothing_is_guessed() -> None:
    scene = broken("var", 6)
    verdict, _ = simulation.diagnose_breaker(scene, unseen=("api", "redis"))
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (True, None, 0.0)


@pytest.mark.parametrize(("cause", "action"), [("var", "crypto.emergency-reduce"), ("latency", "crypto.set-scenarios")])
def test_the_fix_comes_first_and_then_the_reset(cause: str, action: str) -> None:
    scene = broken(cause, 7)
    scene.advance(4)
    _, triggers = simulation.diagnose_breaker(scene)
    status = simulation.document(scene)
    status["stress"]["scenarios"] = max(scene.scenarios, status["stress"]["scenarios"])
    (first, _), (second, facts) = circuit_breaker.remedy([cause], triggers, status, 0.05, 2000)
    assert (first, second) == (action, "crypto.reset-breaker")
    assert facts["wait_s"] > 0
    scene.platform.kelly, scene.scenarios = 0.03, 0
    assert simulation.until(scene, lambda scene: circuit_breaker.gone(simulation.diagnose_breaker(scene)[1]))
    verdict, triggers = simulation.diagnose_breaker(scene)
    assert (verdict.confirmed, verdict.cause) == (True, cause)
    ((then, _),) = circuit_breaker.remedy([cause], triggers, simulation.document(scene), 0.05, 2000)
    assert then == "crypto.reset-breaker"
    scene.platform.reset_breaker("test", scene.now_ms)
    scene.advance(2)
    assert scene.platform.breaker.state is BreakerState.HALF_OPEN
    scene.advance(60)
    assert scene.platform.breaker.state is BreakerState.CLOSED


def test_it_opens_again_on_a_breach_while_half_open() -> None:
    scene = broken("var", 8)
    scene.platform.reset_breaker("test", scene.now_ms)
    scene.advance(1)
    assert scene.platform.breaker.state is BreakerState.OPEN


CALM = {"var": 1.8, "latency": 50.0}


def raised(kelly: float, seed: int = 1) -> simulation.Scene:
    """A platform whose Kelly fraction was raised so far that VaR opened the breaker."""
    scene = simulation.scene(seed)
    scene.platform.set_kelly(kelly, "portfolio desk", scene.now_ms)
    assert simulation.until(scene, simulation.opened)
    return scene


def test_var_just_under_the_limit_is_reduced_before_the_reset() -> None:
    scene = raised(0.65)
    assert simulation.until(scene, lambda scene: scene.platform.harmoniser.var_pct.max() < 2.5)
    verdict, triggers = simulation.diagnose_breaker(scene)
    assert circuit_breaker.gone(triggers)
    steps = circuit_breaker.remedy([verdict.cause], triggers, simulation.document(scene), 0.1, 2000, CALM)
    assert [name for name, _ in steps] == ["crypto.emergency-reduce", "crypto.reset-breaker"]
    scene.platform.set_kelly(0.1, "plan", scene.now_ms)
    scene.advance(40)
    _, triggers = simulation.diagnose_breaker(scene)
    ((then, _),) = circuit_breaker.remedy(["var"], triggers, simulation.document(scene), 0.05, 2000, CALM)
    assert then == "crypto.reset-breaker"


def test_latency_near_the_limit_is_mended_before_the_reset() -> None:
    scene = broken("latency", 1)
    scene.advance(20)
    status = simulation.document(scene)
    status["circuit_breaker"]["latency_ms"] = 97.0
    status["stress"]["scenarios"] = scene.scenarios
    triggers = circuit_breaker.triggers(None, None, status, None, simulation.LIMITS)
    steps = circuit_breaker.remedy(["latency"], triggers, status, 0.1, 2000, CALM)
    assert [name for name, _ in steps] == ["crypto.set-scenarios", "crypto.reset-breaker"]


def test_what_a_breaker_measured_at_an_earlier_opening_names_no_cause_of_this_one() -> None:
    scene = raised(1.0)
    scene.platform.set_kelly(0.1, "plan", scene.now_ms)
    scene.advance(60)
    scene.platform.breaker.move(BreakerState.CLOSED, "100 clean trades", scene.now_ms)
    scene.advance(100)
    scene.platform.breaker.move(BreakerState.OPEN, "drawdown 12 % above 10 %", scene.now_ms)
    scene.advance(8)
    assert scene.platform.breaker.tripped_by["var_pct"] > 2.5
    verdict, _ = simulation.diagnose_breaker(scene)
    assert (verdict.confirmed, verdict.cause) == (True, "none-of-these")


def test_a_symbol_without_a_series_does_not_deny_what_the_breaker_measured() -> None:
    scene = raised(1.0)
    scene.platform.set_kelly(0.1, "plan", scene.now_ms)
    scene.advance(40)
    status, opened = simulation.document(scene), circuit_breaker.since(simulation.document(scene), None)
    var = simulation.history(scene, "var_pct")
    var[var.loc[:opened].iloc[-1].idxmax()] = float("nan")
    var = var.clip(upper=2.0)
    triggers = circuit_breaker.triggers(var, None, status, opened, simulation.LIMITS)
    assert triggers.at["var", "at worst"] > 2.5


def test_points_ahead_of_the_platforms_clock_and_no_numbers_are_left_out() -> None:
    scene = broken("latency", 2)
    scene.advance(8)
    status, var = simulation.document(scene), simulation.history(scene, "var_pct")
    later = pd.DataFrame([[9.9] * 5], index=[var.index[-1] + dt.timedelta(hours=1)], columns=var.columns)
    var.iloc[-3] = float("inf")
    opened = circuit_breaker.since(status, None)
    triggers = circuit_breaker.triggers(pd.concat([var, later]), None, status, opened, simulation.LIMITS)
    assert triggers.at["var", "at worst"] < 2.5


def test_a_trigger_that_nothing_tells_is_not_reset_over() -> None:
    scene = raised(1.0)
    status = simulation.document(scene)
    status["circuit_breaker"]["latency_ms"] = None
    triggers = circuit_breaker.triggers(None, None, status, None, simulation.LIMITS)
    assert circuit_breaker.remedy(["var"], triggers, status, 0.1, 2000, CALM) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, "has been OPEN since 14:13:20 UTC (VaR 2.51 % above 2.50 %)"),
        ({"since": "2026-09-18T14:13:20.000+00:00"}, "has been OPEN since 2026-09-18 14:13:20 UTC (VaR"),
        ({"since": None}, "is OPEN (VaR"),
        ({"since": "yesterday"}, "is OPEN (VaR"),
        ({"reason": None}, "UTC (no reason is stated)"),
        ({"reason": "drawdown\n 12 %"}, "UTC (drawdown 12 %)"),
        ({"state": "CLOSED", "reason": ""}, "has been CLOSED since 14:13:20 UTC"),
    ],
)
def test_the_sentence_holds_whatever_the_platform_states(changed: dict[str, object], told: str) -> None:
    facts = {"state": "OPEN", "reason": "VaR 2.51 % above 2.50 %", "since": "2026-09-21T14:13:20.000+00:00"}
    status = {"time": "2026-09-21T14:15:00.000+00:00", "circuit_breaker": facts | changed}
    confirmed, symptom = circuit_breaker.symptom(status, circuit_breaker.since(status, None))
    assert confirmed is (status["circuit_breaker"]["state"] == "OPEN")
    assert told in symptom
    assert symptom.endswith("UTC") or confirmed


def test_a_half_open_breaker_is_said_to_be_on_trial() -> None:
    scene = simulation.scene(82)
    assert circuit_breaker.trial(simulation.document(scene)) == ""
    scene.platform.breaker.move(BreakerState.HALF_OPEN, "reset by operator", scene.now_ms)
    told = "Trading goes on with 25 % of the usual size, 0 of 100 clean trades are made"
    assert circuit_breaker.trial(simulation.document(scene)) == told


def test_a_value_at_its_limit_is_told_with_the_digits_that_tell_them_apart() -> None:
    table = pd.DataFrame({"limit": [2.5], "at worst": [2.503], "now": [1.234]}, index=["var"])
    over, now = circuit_breaker.var(table)
    assert (over.text, now.text) == (
        "VaR was up to 2.503 % of NAV since it opened (limit 2.5)",
        "VaR is 1.23 % of NAV now",
    )


def test_the_stage_that_takes_the_time_is_named() -> None:
    status = {"latency_by_stage_ms": {"models": 0.6, "scenarios": 0.4, "store": 180.0}}
    assert circuit_breaker.stage(status) == "The stage store takes 99 % of a step, 180 ms in the last one"
    assert circuit_breaker.stage({"latency_by_stage_ms": {}}) == ""
