"""What a round counts for, and what a game day's summary says of it."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.gameday import score
from sandbox.gameday.rounds import Round
from sandbox.gameday.score import Observed, goes_on, needed, summary

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
