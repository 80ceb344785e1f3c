"""A look at the schedule: which times have come, and the run that each becomes.

Anybody may look, at any time and at once with others: what was decided about a time is one row of the store, written in
the transaction that opens the incident and queues the run. So a time becomes one run at most, whoever dies when.
"""

from __future__ import annotations

import datetime as dt
from itertools import islice
from typing import Any

import structlog

from opslib import incidents, platforms, store
from opslib.errors import UsageError
from opslib.incidents import changes
from opslib.runs import catalogue, parameters, queue
from opslib.schedule.entries import Entry, Schedule, load
from opslib.settings import Settings
from opslib.sql import queries

ACTOR = "schedule"
QUEUE = "schedule"
TASK = "opslib.schedule.look"
LATE = dt.timedelta(minutes=5)
"""A start that comes later than this was missed."""
_COUNTED = 1000  # missed times are counted up to here
_log = structlog.get_logger(__name__)


def look(settings: Settings, now: dt.datetime | None = None) -> list[str]:
    """Decide about every time that has come, start what is to start, close incidents in which nothing was found.

    Parameters
    ----------
    settings : Settings
    now : datetime, optional
        Instead of the database's clock, which is one for all workers.

    Returns
    -------
    list of str
        The incidents opened.

    Raises
    ------
    ConfigurationError
        When `params/schedule.yaml` does not validate: nothing was decided then.
    StoreError, psycopg.Error
        When the store is away; nothing was decided either.
    """
    schedule = load(settings)
    sql = queries("schedule")
    with store.transaction(settings) as connection:
        row = connection.execute(sql.lock).fetchone()
        if row is None:
            raise AssertionError("a SELECT of a lock has a row")
        now = now or row["now"].astimezone(dt.UTC)
        for entry in schedule.entries.values():
            _decide(connection, schedule, entry, now)
        opened = []
        for start in connection.execute(sql.to_start, {"now": now}).fetchall():
            incident = _start(connection, settings, schedule, start, now)
            opened += [incident] if incident else []
        for found in connection.execute(sql.nothing_found, {"opener": ACTOR}).fetchall():
            changes.resolve(connection, found["id"], ACTOR, "The run of the schedule found nothing that is wrong.")
        connection.execute(sql.forget_jobs, {"task": TASK})
    return opened


def _decide(connection: store.Connection, schedule: Schedule, entry: Entry, now: dt.datetime) -> None:
    """Write down what becomes of an entry's times since the last look: the latest one stands for all of them."""
    sql = queries("schedule")
    row = connection.execute(sql.see, {"entry": entry.name, "now": now}).fetchone()
    seen: dt.datetime = row["seen_until"] if row else now
    if seen > now:
        connection.execute(sql.take_back, {"entry": entry.name, "now": now})
        _log.warning("the clock was set back", entry=entry.name, seen_until=seen.isoformat(), now=now.isoformat())
        seen = now
    due = _since(schedule, entry, seen, now)
    if due:
        late = now - due[0] > LATE
        skipped = _too_late(due[0]) if late and entry.missed == "skip" else None
        starts_at = now if late else entry.starts_at(due[0])
        facts = {
            "entry": entry.name,
            "due_at": due[0],
            "starts_at": starts_at,
            "missed": len(due) - 1,
            "skipped": skipped,
        }
        connection.execute(sql.decide, facts)
        if skipped is None and starts_at > now:
            connection.execute(sql.look_again, {"queue": QUEUE, "task": TASK, "at": starts_at})
        if late or len(due) > 1:
            _log.warning("times of the schedule were missed", **facts)
    connection.execute(sql.seen, {"entry": entry.name, "now": now})


def _since(schedule: Schedule, entry: Entry, seen: dt.datetime, now: dt.datetime) -> list[dt.datetime]:
    """The times after a look up to now, the latest first."""
    found = []
    for time in islice(schedule.timetable(entry).before(now), _COUNTED):
        if time <= seen:
            break
        found.append(time)
    return found


def _start(
    connection: store.Connection, settings: Settings, schedule: Schedule, start: dict[str, Any], now: dt.datetime
) -> str | None:
    """Open an incident with its run, or write down why not; the incident."""
    sql = queries("schedule")
    key = {"entry": start["entry"], "due_at": start["due_at"]}
    entry = schedule.entries.get(start["entry"])
    why = _reason_against(connection, entry, start, now)
    if entry is not None and why is None:
        try:
            incident, run = _open(connection, settings, entry, start)
        except UsageError as error:  # raised before anything is written
            why = f"it cannot be started: {error}"
        else:
            connection.execute(sql.started, {**key, "incident": incident, "run": run})
            return incident
    connection.execute(sql.skip, {**key, "skipped": why})
    _log.warning("a start of the schedule was skipped", **key, why=why)
    return None


def _reason_against(
    connection: store.Connection, entry: Entry | None, start: dict[str, Any], now: dt.datetime
) -> str | None:
    """Why a start is skipped; None where it is not."""
    if entry is None:
        return "the entry is no longer in the schedule"
    if entry.missed == "skip" and now - start["starts_at"] > LATE:
        return _too_late(start["due_at"])
    if entry.one_at_a_time:
        going = connection.execute(queries("schedule").still_going, {"entry": entry.name}).fetchone()
        if going is not None:
            return f"the run before it, of {going['incident']}, still goes on"
    return None


def _open(connection: store.Connection, settings: Settings, entry: Entry, start: dict[str, Any]) -> tuple[str, int]:
    """An incident of the schedule's, and its run in the queue, in the caller's transaction.

    Raises
    ------
    UsageError
        When runbook, platform or parameters have become wrong: nothing was written then.
    """
    runbook = catalogue.find(settings, entry.runbook)
    resolved = parameters.resolve(runbook, platforms.load(settings, entry.platform), entry.parameters, None)
    severity = runbook.severity or "info"
    row = incidents.open_incident(
        connection,
        platform=entry.platform,
        runbook=entry.runbook,
        target=",".join(str(resolved[key])[:200] for key in runbook.target if resolved.get(key)),
        severity=severity,
        title=runbook.title,
        opened_by=ACTOR,
    )
    text = f"{entry.name} was due at {start['due_at'].astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC."
    if start["missed"]:
        text += f" It stands for {start['missed']} earlier times too, at which nobody was there."
    changes.note(connection, row["id"], ACTOR, text)
    run = queue.create_run(
        connection,
        row["id"],
        runbook=entry.runbook,
        platform=entry.platform,
        mode=entry.mode,
        requested=entry.parameters,
        alert=None,
        requested_by=ACTOR,
    )
    queue.defer(connection, run, in_lane="routine")  # what an alert started goes first
    return row["id"], run


def _too_late(due: dt.datetime) -> str:
    return f"nobody was there at {due.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC, and missed times are skipped"
