"""Cool-down and ceiling: what starts no run, what a person sees of it, and that nothing which fires on is forgotten."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from opslib import incidents, intake, store
from opslib.incidents import wording
from opslib.intake import limits, routes
from opslib.runs import ending
from opslib.runs.catalogue import Bounds
from opslib.settings import Settings
from tests.intake.bodies import NOON, ledger, one, send


def some(symbol: str = "BTC-USD", severity: str = "warning", **facts: Any) -> dict[str, Any]:
    """An alert of the crypto platform's value at risk, of a severity, firing from noon."""
    labels = {"alertname": "VarBreach", "platform": "crypto", "severity": severity, "symbol": symbol}
    return {"status": "firing", "labels": labels, "startsAt": "2026-01-05T12:00:00Z", **facts}


def over(symbol: str = "BTC-USD", severity: str = "warning") -> dict[str, Any]:
    return some(symbol, severity, status="resolved", endsAt="2026-01-05T12:01:00Z")


def later(minutes: float) -> dt.datetime:
    return NOON + dt.timedelta(minutes=minutes)


def finish(settings: Settings, state: str = "succeeded") -> list[int]:
    """Every run that waits begins and ends."""
    with store.transaction(settings) as connection:
        rows = connection.execute(
            "UPDATE runs SET state = 'running', started_at = now() WHERE state = 'waiting' RETURNING id"
        ).fetchall()
    for row in rows:
        ending.end(settings, row["id"], state, "", actor="test", again=False)
    return [row["id"] for row in rows]


def pass_time(settings: Settings, seconds: float) -> None:
    """Move what happened into the past."""
    with store.transaction(settings) as connection:
        facts = {"s": seconds}
        connection.execute(
            "UPDATE runs SET queued_at = queued_at - make_interval(secs => %(s)s), "
            "ended_at = ended_at - make_interval(secs => %(s)s)",
            facts,
        )
        connection.execute("UPDATE alerts SET again_at = again_at - make_interval(secs => %(s)s)", facts)


def fires_again(settings: Settings, severity: str = "warning") -> intake.Receipt:
    send(settings, over(severity=severity), now=later(1))
    return send(settings, some(severity=severity, startsAt="2026-01-05T12:02:00Z"), now=later(2))


def timeline(settings: Settings, incident: str) -> list[str]:
    with store.transaction(settings) as connection:
        entries = incidents.show(connection, incident)["timeline"]
    return [wording.sentence(entry["kind"], entry["body"]) for entry in entries]


def test_an_alert_just_after_a_run_that_succeeded_is_suppressed_and_told(settings: Settings) -> None:
    send(settings, some())
    finish(settings)
    receipt = fires_again(settings)
    assert (receipt.accepted, receipt.suppressed) == (1, 1)
    book = ledger(settings)
    assert (book["run"], book["suppressed"]) == (1, 1)
    reason = book["alerts"][1]["reason"]
    assert reason.startswith(f"cool-down: run 1 of {receipt.incidents[0]} examined the same ")
    assert any(
        line.startswith("No run for an alert: cool-down: run 1") for line in timeline(settings, receipt.incidents[0])
    )
    assert one(settings, "SELECT state FROM incidents") == "open"


@pytest.mark.parametrize("state", ["failed", "timed-out", "kernel-died", "cancelled", "lost"])
def test_a_run_that_examined_nothing_holds_nothing_back(settings: Settings, state: str) -> None:
    send(settings, some())
    finish(settings, state)
    assert fires_again(settings).suppressed == 0
    assert one(settings, "SELECT count(*) FROM runs") == 2


@pytest.mark.parametrize("severity", ["critical", "P0"])
def test_the_gravest_are_never_held_back(settings: Settings, severity: str) -> None:
    strict = settings.model_copy(update={"cooldown_s": 3600.0, "runs_per_hour": 1})
    for _ in range(3):
        send(strict, some(severity=severity))
        finish(strict)
        assert fires_again(strict, severity).suppressed == 0
        finish(strict)
        send(strict, over(severity=severity), now=later(3))
    assert ledger(strict)["suppressed"] == 0


def test_an_alert_that_fires_on_gets_its_run_when_the_cooldown_is_over(settings: Settings) -> None:
    send(settings, some())
    finish(settings)
    (incident,) = fires_again(settings).incidents
    assert intake.release(settings) == 0
    pass_time(settings, 61)
    assert intake.release(settings) == 1
    book = ledger(settings)
    assert (book["run"], book["waiting"], book["suppressed"]) == (1, 1, 0)
    assert "Held back until now, an alert fires on and is examined now" in timeline(settings, incident)
    assert intake.release(settings) == 0


def test_an_alert_that_ends_in_the_cooldown_stays_suppressed(settings: Settings) -> None:
    send(settings, some())
    finish(settings)
    fires_again(settings)
    send(settings, over() | {"endsAt": "2026-01-05T12:03:00Z"}, now=later(3))
    pass_time(settings, 3600)
    assert intake.release(settings) == 0
    assert ledger(settings)["suppressed"] == 1


def test_a_graver_alert_of_the_incident_takes_the_suppressed_with_it(settings: Settings) -> None:
    send(settings, some())
    finish(settings)
    fires_again(settings)
    assert send(settings, some(severity="P0"), now=later(3)).suppressed == 0
    assert {row["outcome"] for row in ledger(settings)["alerts"]} == {"run", "waiting"}
    assert ledger(settings)["suppressed"] == 0


def test_cooldown_holds_over_a_new_incident_of_the_same_target_and_names_the_old_one(settings: Settings) -> None:
    (first,) = send(settings, some()).incidents
    finish(settings)
    with store.transaction(settings) as connection:
        incidents.resolve(connection, first, "ann")
    receipt = fires_again(settings)
    assert receipt.suppressed == 1
    assert receipt.incidents != [first]
    assert first in ledger(settings)["alerts"][1]["reason"]
    other = send(settings, some("ETH-USD"))
    assert other.suppressed == 0


def test_the_route_comes_before_the_runbook_and_the_runbook_before_the_settings(settings: Settings) -> None:
    own = routes.Routed("crypto", "var-breach", "", "", cooldown_s=5.0, runs_per_hour=7)
    plain = routes.Routed("crypto", "var-breach", "", "")
    declared, silent = Bounds(cooldown_s=0.0, runs_per_hour=9), Bounds()
    for routed, bounds, seconds, runs in (
        (own, declared, 5.0, 7),
        (plain, declared, 0.0, 9),
        (plain, silent, 60.0, 1200),
    ):
        assert limits.cooldown_s(settings, routed, bounds) == seconds
        assert limits.runs_per_hour(settings, routed, bounds) == runs


def test_no_cooldown_holds_nothing_back(settings: Settings) -> None:
    none = settings.model_copy(update={"cooldown_s": 0.0})
    send(none, some())
    finish(none)
    assert fires_again(none).suppressed == 0


def test_ceiling_gives_the_runs_of_the_hour_to_the_graver_and_the_rest_later(settings: Settings) -> None:
    few = settings.model_copy(update={"runs_per_hour": 3})
    symbols = [f"S{number}" for number in range(5)]
    receipt = send(few, *(some(symbol, "P1" if symbol == "S4" else "warning") for symbol in symbols))
    assert (receipt.accepted, receipt.suppressed, len(receipt.incidents)) == (5, 2, 5)
    book = ledger(few)
    assert {row["labels"]["symbol"] for row in book["alerts"] if row["outcome"] == "waiting"} == {"S0", "S1", "S4"}
    reason = next(row["reason"] for row in book["alerts"] if row["outcome"] == "suppressed")
    assert reason.startswith(
        "ceiling: alerts started 3 runs of var-breach on crypto within an hour, and 3 are the most"
    )
    pass_time(few, 1800)
    assert intake.release(few) == 0  # half an hour later the hour is full still
    pass_time(few, 1801)
    assert intake.release(few) == 2
    assert ledger(few)["suppressed"] == 0


def test_ceiling_holds_against_deliveries_at_once(settings: Settings) -> None:
    few = settings.model_copy(update={"runs_per_hour": 5})
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda number: send(few, some(f"S{number}")), range(16)))
    assert sum(receipt.accepted for receipt in receipts) == 16
    assert one(few, "SELECT count(*) FROM runs") == 5
    assert ledger(few)["suppressed"] == 11


def test_one_platform_leaves_the_other_its_runs(settings: Settings) -> None:
    few = settings.model_copy(update={"runs_per_hour": 1})
    unknown = {"labels": {"alertname": "Elsewhere", "severity": "warning"}}
    known = {"labels": {"alertname": "Elsewhere", "severity": "warning", "platform": "crypto"}}
    assert send(few, unknown, known).suppressed == 0
