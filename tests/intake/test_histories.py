"""Random histories on a real PostgreSQL: whatever happens, each accepted alert is accounted for exactly once.

A history is accepted alerts, repeats, ends, runs that begin, succeed, fail, are lost and run again, are cancelled or
wait too long, alerts that are held back and released, incidents that people resolve, storms, and time that passes.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from typing import Any

import pytest

from opslib import incidents, intake, store
from opslib.api import figures, tallies
from opslib.intake.acceptance import Receipt
from opslib.runs import ending, expiry, queue
from opslib.settings import Settings
from opslib.sql import queries
from tests.intake.bodies import NOON, ledger, stamp, webhook

pytestmark = pytest.mark.slow

HISTORIES, STEPS = 12, 60
ENDS = ("succeeded", "succeeded", "succeeded", "failed", "timed-out", "kernel-died", "lost")
TERMINAL = {*ENDS, "cancelled"}


class History:
    """One history: the store it happens in, and what intake said of each delivery."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings.model_copy(
            update={"cooldown_s": 60.0, "runs_per_hour": 9, "storm_depth": 3, "storm_age_s": 600.0}
        )
        self.chance = random.Random(seed)
        self.now = NOON
        self.waits = expiry.Waits(lambda: self.now.timestamp())
        self.accepted = self.repeats = self.delivered = self.answered = 0
        self.ended: dict[int, str] = {}

    def step(self) -> None:
        """Something happens."""
        moves: list[tuple[int, Callable[[], None]]] = [
            (8, self.deliver), (4, self.begin), (5, self.end), (1, self.cancel), (2, self.house), (1, self.resolve),
            (3, self.time), (1, self.expire),
        ]  # fmt: skip
        weights, what = zip(*moves, strict=True)
        self.chance.choices(what, weights)[0]()

    def deliver(self) -> None:
        alerts = [self._alert() for _ in range(self.chance.randint(1, 4))]
        receipt: Receipt = intake.accept(self.settings, webhook(*alerts), sender="intake", endpoint="v1", now=self.now)
        self.delivered += len(alerts)
        self.answered += receipt.accepted + receipt.repeats + receipt.resolved
        self.accepted += receipt.accepted
        self.repeats += receipt.repeats

    def _alert(self) -> dict[str, Any]:
        labels = {"alertname": self.chance.choice(["VarBreach", "Elsewhere"]), "platform": "crypto"}
        labels["symbol"] = self.chance.choice("ABC")
        labels["severity"] = self.chance.choice(["P0", "warning", "info", "high"])
        starts = self.now - dt.timedelta(minutes=self.chance.randint(0, 3))
        over = {"status": "resolved", "endsAt": stamp(self.now)} if self.chance.random() < 0.4 else {"status": "firing"}
        return {"labels": labels, "startsAt": stamp(starts), **over}

    def begin(self) -> None:
        for run in self._runs("waiting")[:2]:
            with store.transaction(self.settings) as connection:
                queue.lock_place(connection, run)
                connection.execute(queries("runs").claim, {"run": run, "worker": "elsewhere/1/1"})

    def end(self) -> None:
        if going := self._runs("running"):
            state = self.chance.choice(ENDS)
            assert ending.end(self.settings, self.chance.choice(going), state, "so it was", actor="test") == state

    def cancel(self) -> None:
        if waiting := self._runs("waiting"):
            with store.transaction(self.settings) as connection:
                row = connection.execute(
                    "SELECT incident FROM runs WHERE id = %s", [self.chance.choice(waiting)]
                ).fetchone()
                assert row is not None
                queue.cancel(connection, row["incident"], "ann")

    def house(self) -> None:
        intake.keep_house(self.settings, self.now)
        tallies.fold(self.settings)

    def resolve(self) -> None:
        with store.transaction(self.settings) as connection:
            rows = [row["id"] for row in incidents.list_(connection) if row["state"] != "resolved"]
            if rows:
                incidents.resolve(connection, self.chance.choice(rows), "ann")

    def expire(self) -> None:
        expiry.expire(self.settings, self.waits)

    def time(self) -> None:
        """Time passes, for intake and for what the store dates itself."""
        self.expire()  # whoever looks has looked just before
        minutes = self.chance.choice([0.5, 2, 10, 70, 400])
        self.now += dt.timedelta(minutes=minutes)
        with store.transaction(self.settings) as connection:
            past = " - make_interval(mins => 1) * %(m)s"
            columns = ("queued_at", "started_at", "ended_at")
            connection.execute(
                f"UPDATE runs SET {', '.join(f'{name} = {name}{past}' for name in columns)}", {"m": minutes}
            )
            connection.execute(f"UPDATE alerts SET again_at = again_at{past}", {"m": minutes})
            connection.execute(f"UPDATE incidents SET told_at = told_at{past}", {"m": minutes})

    def _runs(self, state: str) -> list[int]:
        with store.transaction(self.settings) as connection:
            rows = connection.execute("SELECT id FROM runs WHERE state = %s ORDER BY id", [state]).fetchall()
        return [row["id"] for row in rows]

    def check(self) -> None:
        """What always holds."""
        book = ledger(self.settings)
        assert (book["accepted"], book["repeats"]) == (self.accepted, self.repeats)
        assert self.answered == self.delivered
        with store.transaction(self.settings) as connection:
            counted = intake.totals(connection)
            assert counted == {name: book[name] for name in counted}
            assert intake.mistakes(connection) == []
            rows = connection.execute("SELECT id, state, started_at, ended_at FROM runs ORDER BY id").fetchall()
            kept = tallies.read(connection)
            open_storms = connection.execute(
                "SELECT FROM incidents WHERE opened_by = 'the intake' AND state <> 'resolved'"
            ).fetchall()
        assert len(open_storms) <= 1
        states = {row["id"]: row["state"] for row in rows}
        for run, state in self.ended.items():
            assert states[run] == state  # the first terminal state is the last one
        self.ended |= {run: state for run, state in states.items() if state in TERMINAL}
        assert all(row["reason"] for row in book["alerts"])
        # what /metrics tells from kept counts is what there is
        assert {name: kept.count("alerts", name) for name in intake.OUTCOMES} == {n: book[n] for n in intake.OUTCOMES}
        assert (kept.count("accepted"), kept.count("repeats")) == (self.accepted, self.repeats)
        assert sum(kept.count("suppressed", reason) for reason in figures.REASONS) == book["suppressed"]
        assert {state: kept.count("runs", state) for state in figures.STATES} == {
            state: sum(row["state"] == state for row in rows) for state in figures.STATES
        }
        counted = {what: sum(sum(one.counts) for one in kept.durations(what).values()) for what in tallies.DURATIONS}
        assert counted["wait"] == sum(row["started_at"] is not None for row in rows)
        assert counted["duration"] == sum(row["started_at"] is not None and row["ended_at"] is not None for row in rows)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, HISTORIES))])
def test_whatever_happens_the_ledger_adds_up(settings: Settings, seed: int) -> None:
    history = History(settings, seed)
    for _ in range(STEPS):
        history.step()
        history.check()
    for _ in range(400):  # all that waits is done in the end
        history.begin()
        if not history._runs("running"):
            break
        history.end()
    history.check()
    book = ledger(history.settings)
    assert book["waiting"] == 0
    assert book["run"] + book["suppressed"] + book["lost"] == history.accepted


def test_the_histories_see_every_outcome(settings: Settings) -> None:
    history = History(settings, 7)
    seen: set[str] = set()
    for _ in range(400):
        history.step()
        seen |= {row["outcome"] for row in ledger(history.settings)["alerts"]}
        if seen == set(intake.OUTCOMES):
            break
    assert seen == set(intake.OUTCOMES)
