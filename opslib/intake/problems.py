"""What cannot be understood is kept, and someone looks: bodies that are no alerts, too large, or cut by the sender.

Alertmanager does not send again what was answered with 4xx, so such a body is answered 202: one triage
incident per sender is opened, and further bodies attach to it.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from opslib import store
from opslib.incidents.opening import BY_ALERT, NewIncident, opening_entry
from opslib.intake import bulk, cleaning, writing
from opslib.intake.models import Delivery
from opslib.intake.routes import UNKNOWN, Routes
from opslib.settings import Settings
from opslib.sql import queries

__all__ = ["Body", "hint", "keep", "lost", "sentences"]

SEVERITY = "warning"
QUIET = dt.timedelta(minutes=1)
"""Of bodies that come more often than this, only the first is told in the journal; all are kept."""
LOOK_AGAIN = dt.timedelta(minutes=10)
"""How long after the last triage run another body starts a new one."""

_PLATFORM = re.compile(rb'"platform"\s*:\s*"([a-z][a-z0-9-]{0,39})"')


@dataclass(frozen=True)
class Body:
    """A body to be kept: who sent it where, its size [bytes] and digest, and itself, redacted (None: too large)."""

    sender: str
    endpoint: str
    size: int
    sha256: str
    content: bytes | None


def hint(body: bytes) -> str:
    """The platform that a body names which cannot be read as a whole; empty where it names none."""
    found = _PLATFORM.search(body)
    return found[1].decode("ascii") if found else ""


def sentences(delivery: Delivery) -> str:
    """What is wrong with a delivery that could be read; empty where nothing is."""
    parts = []
    if delivery.truncated:
        parts.append(f"{delivery.truncated} alerts were cut off by the sender (truncatedAlerts)")
    if delivery.unreadable:
        first = delivery.unreadable[0]
        parts.append(f"{len(delivery.unreadable)} alerts cannot be read; number {first.index + 1}: {first.why}")
    return "; ".join(parts)


def place(body: Body, platform: str, table: Routes) -> writing.Place:
    """What names the triage incident of a sender."""
    return platform, table.default.runbook, cleaning.cut(f"intake from {body.sender}")[:160]


def keep(
    settings: Settings,
    connection: store.Connection,
    body: Body,
    problem: str,
    platform: str,
    table: Routes,
    now: dt.datetime,
) -> str:
    """Keep a body and have it looked at: the sender's open triage incident, opened where there is none.

    Returns
    -------
    str
        The incident.
    """
    problem = cleaning.cut(problem)
    where = place(body, platform, table)
    writing.lock(connection, [where])
    title = f"Alerts from {body.sender} could not be taken in whole"
    found = writing.find_or_open(connection, [NewIncident(*where, SEVERITY, title)], now)
    row = found.rows[where]
    incident: str = row["id"]
    since = connection.execute(
        queries("intake").problems_since, {"incident": incident, "since": now - QUIET}
    ).fetchone()
    facts = {
        "now": now,
        "sender": body.sender,
        "endpoint": body.endpoint,
        "size": body.size,
        "sha256": body.sha256,
        "body": body.content,
        "problem": problem,
        "incident": incident,
    }
    connection.execute(queries("intake").keep_body, facts)
    entries: list[bulk.Entry] = [opening_entry(row)] if incident in found.new else []
    if since is None or since["bodies"] == 0:
        told: dict[str, object] = {
            "problem": problem,
            "sender": body.sender,
            "endpoint": body.endpoint,
            "bytes": body.size,
        }
        told |= {"sha256": body.sha256, "kept": body.content is not None}
        entries.append((writing.ACTOR, "intake-problem", told))
    newest = writing.newest_runs(connection, [incident]).get(incident)
    over = newest is not None and newest["state"] not in writing.WAITS
    if newest is None or (over and now - newest["queued_at"] > LOOK_AGAIN):
        run = bulk.NewRun(incident, row["runbook"], platform, _as_alert(body, problem, platform, now), SEVERITY)
        started = bulk.start_runs(connection, [run], requested_by=BY_ALERT)
        entries.append(started[incident][1])
    bulk.append(settings, connection, {incident: entries})
    return incident


def lost(settings: Settings, *, sender: str, endpoint: str, size: int, now: dt.datetime | None = None) -> str:
    """Record that a body was too large to be taken; returns the triage incident.

    Raises
    ------
    StoreError, psycopg.OperationalError
        When the database is away.
    """
    from opslib.intake import routes

    with store.transaction(settings, timeout_s=1.5) as connection:
        connection.execute(queries("intake").bounds, {"milliseconds": 1500})
        problem = f"a body of {size} bytes was refused: it is too large, and what it held is lost"
        body = Body(sender, endpoint, size, "", None)
        return keep(
            settings, connection, body, problem, UNKNOWN, routes.current(settings), now or dt.datetime.now(dt.UTC)
        )


def _as_alert(body: Body, problem: str, platform: str, now: dt.datetime) -> dict[str, object]:
    """The problem in the form in which a runbook is given its alert."""
    return {
        "status": "firing",
        "labels": {"alertname": "IntakeProblem", "platform": platform, "severity": SEVERITY, "sender": body.sender},
        "annotations": {"summary": problem},
        "startsAt": now.isoformat().replace("+00:00", "Z"),
        "endsAt": None,
        "generatorURL": "",
        "fingerprint": "",
    }
