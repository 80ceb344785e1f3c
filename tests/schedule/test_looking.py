"""What a look does: each time becomes one run, whoever looks, whatever the clock does; missed times as declared."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from opslib import cli, store
from opslib.errors import ConfigurationError, StoreError
from opslib.record import journal
from opslib.schedule.looking import look
from opslib.settings import Settings
from opslib.store import embedded
from tests.schedule.conftest import Write

SIX = dt.datetime(2026, 3, 2, 6, tzinfo=dt.UTC)  # a Monday
HOUR, DAY, SECOND = dt.timedelta(hours=1), dt.timedelta(days=1), dt.timedelta(seconds=1)
Do = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def rows(planned: Settings) -> Do:
    """The rows of a statement."""

    def _rows(statement: str, *values: object) -> list[dict[str, Any]]:
        with store.connect(planned, autocommit=True) as connection:
            cursor = connection.execute(statement, values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    return _rows


def starts(rows: Do) -> list[dict[str, Any]]:
    return rows("SELECT * FROM schedule_starts ORDER BY due_at, entry")


def finish(rows: Do, state: str = "succeeded") -> None:
    rows("UPDATE runs SET state = %s, ended_at = now() WHERE state = 'waiting'", state)


def test_a_time_becomes_one_incident_with_one_run(planned: Settings, write: Write, rows: Do) -> None:
    write({"parameters": {"depth": 3}, "mode": "observe"})
    assert look(planned, SIX) == []  # the entry begins here: seven o'clock of the day before was not missed
    (incident,) = look(planned, SIX + HOUR)
    assert [look(planned, SIX + HOUR + step * SECOND) for step in range(3)] == [[], [], []]
    (row,) = rows("SELECT * FROM incidents")
    assert (row["id"], row["opened_by"], row["runbook"], row["platform"]) == (incident, "schedule", "look", "test")
    (run,) = rows("SELECT * FROM runs")
    assert (run["requested_by"], run["requested"], run["mode"], run["state"]) == (
        "schedule", {"depth": 3}, "observe", "waiting",
    )  # fmt: skip
    (job,) = rows("SELECT * FROM procrastinate_jobs")
    assert (job["args"], job["queue_name"]) == ({"run": run["id"]}, "runs")
    with store.connect(planned) as connection:
        kinds = [(entry["kind"], entry["actor"]) for entry in journal.entries(connection, incident)]
    assert kinds == [("incident-opened", "schedule"), ("note", "schedule"), ("run-queued", "schedule")]


def test_many_look_at_once(planned: Settings, write: Write, rows: Do) -> None:
    write(*({"name": f"entry-{number}"} for number in range(5)))
    look(planned, SIX)
    with ThreadPoolExecutor(8) as threads:
        opened = list(threads.map(lambda _: look(planned, SIX + HOUR), range(16)))
    assert sum(len(each) for each in opened) == 5
    assert len(rows("SELECT id FROM runs")) == len(rows("SELECT id FROM procrastinate_jobs")) == 5


def test_missed_times_are_made_up_once(planned: Settings, write: Write, rows: Do) -> None:
    write({})
    look(planned, SIX)
    assert len(look(planned, SIX + 4 * DAY)) == 1  # away for seven o'clock of four days
    (start,) = starts(rows)
    assert (start["due_at"], start["missed"], start["skipped"]) == (SIX + HOUR + 3 * DAY, 3, None)
    with store.connect(planned) as connection:
        note = journal.entries(connection, start["incident"])[1]["body"]["text"]
    assert (
        note == "daily was due at 2026-03-05 07:00 UTC. It stands for 3 earlier times too, at which nobody was there."
    )
    finish(rows)
    assert len(look(planned, SIX + 4 * DAY + HOUR)) == 1  # the next one in its time


def test_missed_times_are_skipped_as_declared(planned: Settings, write: Write, rows: Do) -> None:
    write({"missed": "skip"})
    look(planned, SIX)
    assert look(planned, SIX + 4 * DAY) == []
    (start,) = starts(rows)
    assert start["skipped"] == "nobody was there at 2026-03-05 07:00 UTC, and missed times are skipped"
    assert len(look(planned, SIX + 4 * DAY + HOUR + 60 * SECOND)) == 1  # a minute late is in time


def test_one_at_a_time(planned: Settings, write: Write, rows: Do) -> None:
    write({}, {"name": "many", "one_at_a_time": False})
    look(planned, SIX)
    first = look(planned, SIX + HOUR)
    assert len(first) == 2
    assert len(look(planned, SIX + HOUR + DAY)) == 1
    skipped = [start for start in starts(rows) if start["skipped"]]
    assert [(start["entry"], start["skipped"]) for start in skipped] == [
        ("daily", f"the run before it, of {min(first)}, still goes on")
    ]
    finish(rows)
    assert len(look(planned, SIX + HOUR + 2 * DAY)) == 2


def test_jitter_puts_a_start_off(planned: Settings, write: Write, rows: Do) -> None:
    write({"jitter_s": 3600})
    look(planned, SIX)
    assert look(planned, SIX + HOUR) == []
    (start,) = starts(rows)
    assert SIX + HOUR < start["starts_at"] < SIX + 2 * HOUR
    (job,) = rows("SELECT * FROM procrastinate_jobs")  # somebody will look again just then
    assert (job["queue_name"], job["scheduled_at"]) == ("schedule", start["starts_at"])
    assert look(planned, start["starts_at"] - SECOND) == []
    assert len(look(planned, start["starts_at"])) == 1
    assert len(starts(rows)) == 1


def test_a_start_whose_jitter_ended_unseen(planned: Settings, write: Write, rows: Do) -> None:
    write({"jitter_s": 3600, "missed": "skip"}, {"name": "made-up", "jitter_s": 3600})
    look(planned, SIX)
    look(planned, SIX + HOUR)
    assert len(look(planned, SIX + 9 * HOUR)) == 1
    assert {start["entry"]: bool(start["skipped"]) for start in starts(rows)} == {"daily": True, "made-up": False}


def test_a_clock_that_jumps_ahead_and_is_set_back(planned: Settings, write: Write, rows: Do) -> None:
    write({}, {"name": "skipping", "missed": "skip"})
    look(planned, SIX)
    look(planned, SIX + HOUR)
    finish(rows)
    look(planned, SIX + 400 * DAY)  # the clock is wrong: one run is made up, of the last time before
    finish(rows)
    assert look(planned, SIX + 2 * HOUR) == []
    for day in range(1, 5):
        assert len(look(planned, SIX + HOUR + day * DAY)) == 2, day
        finish(rows)
    keys = [(start["entry"], start["due_at"]) for start in starts(rows)]
    assert len(keys) == len(set(keys)) == 2 * 5 + 1
    assert len(rows("SELECT id FROM runs")) == 2 * 5 + 1


def test_a_clock_that_is_set_back_over_a_time_runs_it_once(planned: Settings, write: Write, rows: Do) -> None:
    write({})
    look(planned, SIX)
    assert len(look(planned, SIX + HOUR)) == 1
    finish(rows)
    assert look(planned, SIX) == []
    assert look(planned, SIX + HOUR) == []
    assert len(rows("SELECT id FROM runs")) == 1


def test_when_the_clock_is_changed_for_summer_and_winter(planned: Settings, write: Write, rows: Do) -> None:
    write({"cron": "30 2 * * *", "time_zone": "Europe/Berlin", "one_at_a_time": False})
    for first in (dt.datetime(2026, 3, 28, tzinfo=dt.UTC), dt.datetime(2026, 10, 24, tzinfo=dt.UTC)):
        rows("DELETE FROM schedule_entries")
        rows("DELETE FROM schedule_starts")
        for half in range(2 * 51):
            look(planned, first + half * HOUR / 2)
        due = [f"{start['due_at'].astimezone(dt.UTC):%d %H:%M}" for start in starts(rows)]
        assert due == (
            ["28 01:30", "29 01:00", "30 00:30"] if first.month == 3 else ["24 00:30", "25 00:30", "26 01:30"]
        )


def test_what_has_become_wrong_is_skipped_and_said(planned: Settings, write: Write, rows: Do) -> None:
    write({"jitter_s": 60}, {"name": "gone", "jitter_s": 60})
    look(planned, SIX)
    look(planned, SIX + HOUR)
    write({"jitter_s": 60, "parameters": {"depth": 2}})
    assert len(look(planned, SIX + HOUR + 60 * SECOND)) == 1
    reasons = {start["entry"]: start["skipped"] for start in starts(rows)}
    assert reasons == {"daily": None, "gone": "the entry is no longer in the schedule"}


def test_while_the_file_is_broken_nothing_is_decided(planned: Settings, write: Write, rows: Do) -> None:
    write({})
    look(planned, SIX)
    write({"cron": "99 * * * *"})
    with pytest.raises(ConfigurationError, match=r"entries\.0\.cron"):
        look(planned, SIX + HOUR)
    write({})
    assert len(look(planned, SIX + 2 * HOUR)) == 1  # made up


def test_while_the_database_is_away_nothing_is_lost(
    planned: Settings, write: Write, rows: Do, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write({})
    look(planned, SIX)
    with monkeypatch.context() as away:
        away.setenv("RUNBOOK_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
        with pytest.raises(StoreError):
            look(Settings(), SIX + HOUR)
    assert len(look(planned, SIX + HOUR + 60 * SECOND)) == 1


def test_a_look_that_dies_half_way_leaves_nothing(
    planned: Settings, write: Write, rows: Do, server: embedded.Server
) -> None:
    write({})
    look(planned, SIX)
    (name,) = rows("SELECT current_database() AS name")
    with psycopg.connect(server.url("owner", name["name"])) as owner:
        owner.execute("ALTER TABLE schedule_starts ADD CONSTRAINT dies CHECK (run IS NULL)")
    with pytest.raises(psycopg.errors.CheckViolation):
        look(planned, SIX + HOUR)
    assert rows("SELECT id FROM incidents") == rows("SELECT id FROM procrastinate_jobs") == starts(rows) == []


@pytest.mark.parametrize(
    ("state", "verdict", "closes"),
    [
        ("succeeded", '{"confirmed": false}', True),
        ("succeeded", None, True),
        ("succeeded", '{"confirmed": true}', False),
        ("failed", None, False),
    ],
)
def test_an_incident_in_which_nothing_was_found_is_closed(
    planned: Settings, write: Write, rows: Do, state: str, verdict: str | None, closes: bool
) -> None:
    write({})
    look(planned, SIX)
    look(planned, SIX + HOUR)
    rows("UPDATE runs SET state = %s, verdict = %s::jsonb", state, verdict)
    look(planned, SIX + 2 * HOUR)
    (row,) = rows("SELECT state FROM incidents")
    assert row["state"] == ("resolved" if closes else "open")


def test_the_command_tells_what_became_of_the_last_time(
    planned: Settings, write: Write, rows: Do, capsys: pytest.CaptureFixture[str]
) -> None:
    write({})
    look(planned, SIX)
    (incident,) = look(planned, SIX + HOUR)
    with pytest.raises(SystemExit) as ended:
        cli.main(["schedule"])
    assert ended.value.code == 0
    assert f"{incident} waiting" in capsys.readouterr().out
