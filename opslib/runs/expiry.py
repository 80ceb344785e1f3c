"""Runs that waited too long: they end as `timed-out`, which the record says, without having begun."""

from __future__ import annotations

import structlog

from opslib import store
from opslib.record import journal
from opslib.runs import catalogue, queue
from opslib.settings import Settings
from opslib.sql import queries

_log = structlog.get_logger(__name__)


def expire(settings: Settings) -> list[int]:
    """End every run that has waited longer than its runbook, or else the settings, allow.

    Returns
    -------
    list of int
        The runs that ended.

    Raises
    ------
    StoreError, psycopg.OperationalError
        When the store is away.
    """
    sql = queries("runs")
    with store.transaction(settings) as connection:
        names = [row["runbook"] for row in connection.execute(sql.runbooks_waiting)]
        most = [catalogue.bounds(settings, name).queue_timeout_s or settings.queue_timeout_s for name in names]
        rows = connection.execute(sql.overdue, {"runbooks": names, "most_s": most}).fetchall()
    ended = []
    for row in rows:
        sentence = (
            f"It never began: it waited {row['waited_s']:.0f} s for a worker, and {row['most_s']:g} s are the most."
        )
        if _end(settings, row["id"], row["incident"], row["number"], sentence):
            ended.append(row["id"])
            _log.error(
                "a run waited too long", run=row["id"], incident=row["incident"], waited_s=round(row["waited_s"])
            )
    return ended


def _end(settings: Settings, run: int, incident: str, number: int, sentence: str) -> bool:
    """End one run, unless it has begun or ended meanwhile."""
    with store.transaction(settings) as connection:
        connection.execute(queries("journal").lock_incident, {"incident": incident})
        now = connection.execute(queries("runs").lock, {"run": run}).fetchone()
        if now is None or now["state"] != "waiting":
            return False
        facts = {"run": run, "state": "timed-out", "error": sentence}
        body = facts | {"number": number, "began": False}
        journal.append(connection, incident, "run-ended", body, actor=queue.ACTOR, settings=settings)
        connection.execute(queries("runs").finish, facts | {"verdict": None})
    return True
