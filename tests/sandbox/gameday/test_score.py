"""What a round counts for, and what a game day's summary says of it."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.faults import FAULTS, PAIRS, UNLISTED
from sandbox.gameday import score
from sandbox.gameday.rounds import Round
from sandbox.gameday.score import Observed, brings, calm_s, goes_on, lacking, needed, summary

ROUND = Round("var-breach/single-symbol", "var-breach/single-symbol", ("crypto",), 7)


def verdict(cause: str | None, *, confirmed: bool = True, **likelihoods: float) -> dict[str, Any]:
    causes = [{"key": key.replace("_", "-"), "likelihood": value} for key, value in likelihoods.items()]
    return {"confirmed": confirmed, "cause": cause, "confidence": 0.9, "causes": causes}


def plan(*actions: str, state: str = "verified", steps: tuple[str, ...] = ("done",)) -> dict[str, Any]:
    return {
        "hash": "a" * 64,
        "state": state,
        "document": {"actions": [{"action": action} for action in actions]},
        "result": {"steps": [{"state": step} for step in steps]},
    }


def seen(told: dict[str, Any], **facts: Any) -> Observed:
    run = {"id": 1, "state": "succeeded", "verdict": told, "record": "somewhere"}
    return Observed(alert_s=2.0, verdict_s=3.0, incident={"id": "INC-2026-000001"}, run=run, **facts)


def test_the_right_cause_with_the_right_plan() -> None:
    told = verdict("single-symbol", single_symbol=0.9, all_symbols=0.1)
    one = score.broken(ROUND, 0, seen(told, plans=[plan("crypto.emergency-reduce")], recovery_s=4.0))
    assert (one["correct"], one["rank"], one["plan_ok"]) == (True, 1, True)
    assert (one["harmful"], one["unneeded"], one["problem"]) == (0, 0, None)
    assert (one["fault"], one["seed"], one["expected"], one["named"]) == (
        ROUND.name,
        7,
        "single-symbol",
        "single-symbol",
    )
    assert (one["alert_s"], one["verdict_s"], one["recovery_s"]) == (2.0, 3.0, 4.0)


def test_the_wrong_cause_is_wrong_and_its_rank_told() -> None:
    told = verdict("all-symbols", all_symbols=0.8, single_symbol=0.4)
    one = score.broken(ROUND, 0, seen(told, plans=[plan("crypto.emergency-reduce")], recovery_s=4.0))
    assert (one["correct"], one["named"], one["rank"]) == (False, "all-symbols", 2)


def test_a_verdict_that_confirms_nothing_names_nothing() -> None:
    one = score.broken(ROUND, 0, seen(verdict("single-symbol", confirmed=False)))
    assert (one["named"], one["correct"], one["rank"], one["plan_ok"]) == (None, False, None, False)


def test_a_missing_playbook_never_passes() -> None:
    one = score.broken(ROUND, 0, Observed(missing=True, problem="there is no playbook"))
    assert (one["correct"], one["missing"], one["named"], one["plan_ok"]) == (False, True, None, False)
    assert summary([one], []) | {"n": 1, "correct": 0, "accuracy": 0.0, "missing": 1, "brier": 1.0} == summary(
        [one], []
    )


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"plans": [plan("crypto.set-kelly")], "recovery_s": 4.0}, (False, 0, 1)),
        ({"plans": [plan("crypto.emergency-reduce", "crypto.set-kelly")], "recovery_s": 4.0}, (False, 0, 1)),
        ({"plans": [plan("crypto.emergency-reduce", state="partial")]}, (False, 0, 0)),
        ({"plans": [plan("crypto.emergency-reduce", state="failed", steps=("done", "failed"))]}, (False, 1, 0)),
        ({"plans": [plan("crypto.emergency-reduce")], "recovery_s": 4.0, "new_after": ["Worse"]}, (True, 1, 0)),
        (
            {"plans": [plan("crypto.emergency-reduce")], "recovery_s": 4.0, "new_after": ["CircuitBreaker"]},
            (True, 0, 0),
        ),
        ({"plans": [plan("crypto.emergency-reduce")]}, (False, 0, 0)),
        ({"plans": []}, (False, 0, 0)),
        ({"plans": [plan("crypto.emergency-reduce"), plan("crypto.set-kelly")], "recovery_s": 4.0}, (False, 0, 1)),
        (
            {"plans": [plan("crypto.emergency-reduce"), plan("crypto.emergency-reduce")], "recovery_s": 4.0},
            (True, 0, 0),
        ),
    ],
    ids=[
        "other",
        "more",
        "partial",
        "half done",
        "new alert",
        "an alert that the fault brings",
        "never over",
        "none",
        "a second one that is other",
        "two steps",
    ],
)
def test_plans(facts: dict[str, Any], expected: tuple[bool, int, int]) -> None:
    one = score.broken(ROUND, 0, seen(verdict("single-symbol", single_symbol=0.9), **facts))
    assert (one["plan_ok"], one["harmful"], one["unneeded"]) == expected


def test_what_a_plan_may_hold_is_declared_by_fault() -> None:
    assert needed("var-breach/stale-volatility") == ("crypto.emergency-reduce", "crypto.refresh-volatility")
    assert needed("var-breach/single-symbol") == ("crypto.emergency-reduce",)
    assert needed("no-such/fault") is None
    assert needed("large-loss/market-move-hedged") == ("derivatives.stop-auto-trading",)
    assert goes_on("large-loss/market-move-hedged")
    assert not goes_on("large-loss/wrong-greeks")
    assert not goes_on("no-such/fault")


PAIR = Round("pair", "var-breach/stale-volatility+single-symbol", ("crypto",), 7)
UNKNOWN = Round("var-breach/kelly-raised", "var-breach/kelly-raised", ("crypto",), 7)


@pytest.mark.parametrize(
    ("likelihoods", "expected"),
    [
        ({"single_symbol": 0.9, "stale_volatility": 0.6}, (True, 2, ["single-symbol", "stale-volatility"])),
        ({"single_symbol": 0.9, "stale_volatility": 0.5}, (False, 2, ["single-symbol"])),
        (
            {"single_symbol": 0.9, "all_symbols": 0.8, "stale_volatility": 0.6},
            (True, 3, ["single-symbol", "all-symbols", "stale-volatility"]),
        ),
        ({"single_symbol": 0.9}, (False, None, ["single-symbol"])),
    ],
    ids=["both", "one at one half", "and a third", "one not examined"],
)
def test_of_two_at_once_both_have_to_be_likely(likelihoods: dict[str, float], expected: tuple[Any, ...]) -> None:
    one = score.broken(PAIR, 2, seen(verdict("single-symbol", **likelihoods)))
    assert (one["correct"], one["rank"], one["named"]) == expected
    assert one["expected"] == ["stale-volatility", "single-symbol"]
    assert one["fault"] == PAIR.fault


def test_two_at_once_that_are_not_confirmed_are_not_named() -> None:
    told = verdict("single-symbol", confirmed=False, single_symbol=0.9, stale_volatility=0.9)
    one = score.broken(PAIR, 0, seen(told))
    assert (one["named"], one["correct"]) == ([], False)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (verdict("none-of-these", single_symbol=0.2), True),
        (verdict("none-of-these", confirmed=False, single_symbol=0.2), False),
        (verdict(None, single_symbol=0.2), False),
        (verdict("single-symbol", single_symbol=0.7), False),
    ],
    ids=["none of these", "not confirmed", "not known", "a wrong name"],
)
def test_a_cause_that_is_not_listed_is_right_when_none_is_named(told: dict[str, Any], expected: bool) -> None:
    one = score.broken(UNKNOWN, 0, seen(told))
    assert (one["correct"], one["expected"], one["rank"]) == (expected, "none-of-these", None)


def test_of_a_cause_that_is_not_listed_no_plan_is_needed_unless_the_seed_demands_one() -> None:
    told = verdict("none-of-these", pod_crash=0.1)
    away = Round("postgres-down/scaled-to-nothing", "postgres-down/scaled-to-nothing", ("derivatives",), 1)
    assert score.broken(away, 0, seen(told))["plan_ok"]
    assert score.broken(away, 0, seen(told, plans=[plan("kubernetes.scale")], recovery_s=3.0))["plan_ok"]
    assert not score.broken(away, 0, seen(told, plans=[plan("kubernetes.scale")]))["plan_ok"]
    assert not score.broken(away, 0, seen(told, plans=[plan("kubernetes.restart")], recovery_s=3.0))["plan_ok"]
    assert not score.broken(away, 0, Observed(problem="no alert"))["plan_ok"]
    assert not score.broken(UNKNOWN, 0, seen(told))["plan_ok"], "VaR is reduced whatever the cause"


def test_a_plan_has_to_hold_what_the_seed_demands() -> None:
    stale = Round("var-breach/stale-volatility", "var-breach/stale-volatility", ("crypto",), 7)
    told = verdict("stale-volatility", stale_volatility=0.9)
    half = score.broken(stale, 0, seen(told, plans=[plan("crypto.refresh-volatility")], recovery_s=4.0))
    assert (half["plan_ok"], half["unneeded"], half["lacking"]) == (False, 0, ["crypto.emergency-reduce"])
    whole = score.broken(stale, 0, seen(told, plans=[plan("crypto.emergency-reduce")], recovery_s=4.0))
    assert (whole["plan_ok"], whole["lacking"]) == (True, [])
    steps = [plan("crypto.refresh-volatility"), plan("crypto.emergency-reduce")]
    assert score.broken(stale, 0, seen(told, plans=steps, recovery_s=4.0))["plan_ok"], "in two steps"


def test_what_is_demanded_is_declared_by_fault() -> None:
    assert lacking("api-error-rate/stale-cache", []) == ["redis.flush-pattern"], "the one that is listed"
    assert lacking("greeks-latency/high-load", []) == ["kubernetes.set-autoscaler or kubernetes.scale"]
    assert lacking("greeks-latency/high-load", ["kubernetes.scale"]) == []
    assert lacking("cache-miss-rate/cold-after-restart", []) == []
    assert lacking("circuit-breaker/var", ["crypto.reset-breaker"]) == ["crypto.emergency-reduce"]
    assert lacking("no-such/fault", []) == []
    both = "redis-latency/slow-commands+too-many-clients"
    assert needed(both) == ("redis.trim-series", "redis.kill-clients")
    assert lacking(both, ["redis.kill-clients"]) == ["redis.trim-series"]
    assert needed("redis-latency/slow-commands+no-such-cause") is None
    assert calm_s("latency-degrading/memory-leak+load-growth") == 90.0
    assert brings("greeks-latency/high-load+gpu-unavailable") == ("LatencyDegrading",)
    assert goes_on("large-loss/wrong-greeks+market-move-hedged")


def test_of_every_fault_it_is_declared_what_may_and_what_must_be_done() -> None:
    for name in [*FAULTS, *PAIRS, *UNLISTED]:
        may = needed(name)
        assert may is not None, name
        demanded = {action for entry in lacking(name, []) for action in entry.split(" or ")}
        assert demanded <= set(may), name
        if may and name not in UNLISTED:
            assert demanded, f"of {name} something has to be done"


def test_what_went_wrong_with_a_plan_is_told_in_words() -> None:
    failed = plan("crypto.emergency-reduce", "crypto.set-kelly", state="partial", steps=("done", "failed"))
    told = verdict("single-symbol", single_symbol=0.9)
    one = score.broken(ROUND, 0, seen(told, plans=[failed], new_after=["Worse", "CircuitBreaker"]))
    assert one["harm"] == [
        "Worse came with crypto.emergency-reduce, crypto.set-kelly",
        "crypto.set-kelly was left half done",
    ]
    assert (one["harmful"], one["unneeded"], one["not_needed"]) == (2, 1, ["crypto.set-kelly"])


def test_pairs_and_unlisted_causes_have_figures_of_their_own() -> None:
    right = verdict("single-symbol", single_symbol=0.9, stale_volatility=0.8)
    both = score.broken(PAIR, 0, seen(right, plans=[plan("crypto.set-kelly")], new_after=["Worse"]))
    none = score.broken(UNKNOWN, 0, seen(verdict("single-symbol", single_symbol=0.9)))
    none["verdict_s"] = 12.5
    told = summary([], [], [both], [none])
    assert (told["n"], told["accuracy"], told["brier"]) == (0, None, None)
    assert (told["pairs"], told["pairs_correct"], told["unlisted"], told["unlisted_correct"]) == (1, 1, 1, 0)
    assert (told["harmful"], told["unneeded"], told["worst_verdict_s"]) == (1, 1, 12.5)


@pytest.mark.parametrize(
    ("alerts", "told", "expected"),
    [
        ([], verdict(None, confirmed=False), 0),
        (["VarBreach"], verdict(None, confirmed=False), 1),
        ([], verdict("all-symbols"), 1),
    ],
)
def test_false_alarms(alerts: list[str], told: dict[str, Any], expected: int) -> None:
    run = {"runbook": "var-breach", "platform": "crypto", "state": "succeeded", "incident": "INC-2026-000001"}
    calm = score.calm(Round("healthy 1", None, ("crypto",), 1), 2, 20.0, alerts, [run | {"verdict": told}], None)
    assert calm["false_alarms"] == expected
    assert summary([], [calm])["false_alarms"] == expected


def test_the_summary_over_several() -> None:
    right = score.broken(
        ROUND,
        0,
        seen(verdict("single-symbol", single_symbol=1.0), plans=[plan("crypto.emergency-reduce")], recovery_s=4.0),
    )
    wrong = score.broken(ROUND, 0, seen(verdict("all-symbols", all_symbols=1.0, single_symbol=0.0)))
    told = summary([right, wrong, right], [])
    assert (told["n"], told["correct"], told["accuracy"], told["plans_ok"]) == (3, 2, 0.6667, 2)
    assert (told["median_verdict_s"], told["median_recovery_s"]) == (3.0, 4.0)
    assert told["brier"] == pytest.approx(1 / 3, abs=1e-4)
    assert summary([], [])["accuracy"] is None
