"""What goes on by itself beside a run goes on whatever the store answers."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from opslib import store
from opslib.record import journal
from opslib.runs.cells import Stop
from opslib.runs.pulse import Pulse
from opslib.runs.scribe import RunJournal
from opslib.settings import Settings
from opslib.sql import queries
from opslib.store import embedded
from tests.intake.bodies import one
from tests.runs.support import entries, queued, wait_for


@pytest.fixture
def change(settings: Settings, server: embedded.Server) -> Callable[[str], None]:
    """Changes the tables, as their owner."""
    assert settings.database_url is not None
    database = settings.database_url.get_secret_value().rpartition("/")[2].partition("?")[0]

    def alter(statement: str) -> None:
        with psycopg.connect(server.url("owner", database), autocommit=True) as connection:
            connection.execute(statement.encode())

    return alter


def test_a_pulse_outlives_an_answer_that_it_did_not_expect(settings: Settings, change: Callable[[str], None]) -> None:
    incident, run = queued(settings, "var-breach")
    with store.transaction(settings) as connection:
        connection.execute(queries("runs").claim, {"run": run, "worker": "elsewhere/1/1"})
    change("ALTER TABLE runs RENAME COLUMN heartbeat_at TO elsewhere")
    pulse = Pulse(settings, incident, run, Stop())
    try:
        pulse._thread.join(1.0)
        assert pulse._thread.is_alive()
        change("ALTER TABLE runs RENAME COLUMN elsewhere TO heartbeat_at")
        wait_for(lambda: one(settings, "SELECT heartbeat_at > started_at FROM runs WHERE id = %(run)s", run=run))
    finally:
        pulse.close()


def test_what_the_store_refuses_waits_in_the_spool(settings: Settings, change: Callable[[str], None]) -> None:
    incident, run = queued(settings, "var-breach")
    written = RunJournal(settings, incident, run)
    try:
        change("ALTER TABLE journal RENAME TO elsewhere")
        written.write("note", {"text": "first"})
        written.flush()
        change("ALTER TABLE elsewhere RENAME TO journal")
        written.write("note", {"text": "second"})
        written.flush()
    finally:
        written.close()
    journal.drain(settings)
    told = [entry["body"]["text"] for entry in entries(settings, incident) if entry["kind"] == "note"]
    assert told == ["first", "second"]
