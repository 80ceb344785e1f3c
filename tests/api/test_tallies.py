"""Kept counts: what `/metrics` tells costs the same whatever there was before."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from opslib import store
from opslib.api import figures, tallies
from opslib.runs import ending, queue
from opslib.settings import Settings
from opslib.sql import queries
from tests.intake.bodies import alert, one, send


def begin(settings: Settings, run: int) -> None:
    with store.transaction(settings) as connection:
        queue.lock_place(connection, run)
        connection.execute(queries("runs").claim, {"run": run, "worker": "elsewhere/1/1"})


def kept(settings: Settings) -> tallies.Tallies:
    with store.transaction(settings, role="reader") as connection:
        return tallies.read(connection)


def test_counts_follow_what_happens_and_folding_changes_nothing(settings: Settings) -> None:
    send(settings, alert(), alert("ETH-USD"))
    send(settings, alert())
    assert (kept(settings).count("accepted"), kept(settings).count("repeats")) == (2, 1)
    assert kept(settings).count("alerts", "waiting") == 2
    begin(settings, 1)
    ending.end(settings, 1, "succeeded", "", actor="test")
    begin(settings, 2)
    for _ in range(2):
        found = kept(settings)
        assert [found.count("alerts", name) for name in ("waiting", "run", "lost")] == [0, 2, 0]
        assert [found.count("runs", state) for state in ("waiting", "running", "succeeded")] == [0, 1, 1]
        assert sum(found.durations("wait")["critical"].counts) == 2
        assert sum(found.durations("duration")["var-breach"].counts) == 1
        tallies.fold(settings)
    assert one(settings, "SELECT count(*) FROM tally_changes") == 0


def test_a_lost_run_and_the_one_that_replaces_it_leave_the_alert_counted_once(settings: Settings) -> None:
    send(settings, alert())
    begin(settings, 1)
    ending.end(settings, 1, "lost", "gone", actor="test")
    assert [kept(settings).count("alerts", name) for name in ("waiting", "run", "lost")] == [1, 0, 0]
    begin(settings, 2)
    ending.end(settings, 2, "lost", "gone again", actor="test")
    assert [kept(settings).count("alerts", name) for name in ("waiting", "run", "lost")] == [0, 0, 1]


def test_servers_that_fold_at_once_count_nothing_twice(settings: Settings) -> None:
    for number in range(6):
        send(settings, alert(f"S{number}"))
    threads = [threading.Thread(target=tallies.fold, args=(settings,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept(settings).count("accepted") == 6


def nodes(plan: dict[str, Any]) -> set[tuple[str, str]]:
    """Which tables a plan reads, and how."""
    found = {(str(plan.get("Relation Name")), str(plan["Node Type"]))}
    return found.union(*(nodes(one) for one in plan.get("Plans", [])))


@pytest.mark.parametrize("table", ["alerts", "runs", "journal"])
def test_no_scrape_reads_a_whole_table(settings: Settings, table: str) -> None:
    sql = queries("metrics")
    asked = [sql.tallies, sql.queue, sql.processes, queries("storm").open]
    values: dict[str, Any] = {"within_s": 1.0, "intake": "the intake"}
    with store.transaction(settings) as connection:
        connection.execute("SET LOCAL enable_seqscan = off")  # else it takes the quicker way through tiny tables
        for statement in asked:
            row = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", values).fetchone()
            assert row is not None
            assert (table, "Seq Scan") not in nodes(row["QUERY PLAN"][0]["Plan"])
    assert "runbook_ledger_gap 0.0" in _text(settings)


def _text(settings: Settings) -> str:
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(figures.Store(settings))
    return generate_latest(registry).decode()
