"""Opening incidents: numbers without gaps, one open incident per platform, runbook and target."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opslib import store
from opslib.record import journal
from opslib.sql import queries

BY_ALERT = "alert"
BY_INTAKE = "the intake"
"""Who opens the incident of a storm; no person's name has a space."""


@dataclass(frozen=True)
class NewIncident:
    """An incident to be opened; `opened_by` is "alert" or a person's name."""

    platform: str
    runbook: str
    target: str
    severity: str
    title: str
    opened_by: str = BY_ALERT


def open_incident(
    connection: store.Connection,
    *,
    platform: str,
    runbook: str,
    target: str,
    severity: str,
    title: str,
    opened_by: str,
) -> dict[str, Any]:
    """Open one incident in the caller's transaction, and begin its journal.

    Returns
    -------
    dict
        The row of `incidents`.

    Raises
    ------
    psycopg.errors.UniqueViolation
        When an alert has opened one for the same platform, runbook and target that is not resolved.
    """
    return open_all(connection, [NewIncident(platform, runbook, target, severity, title, opened_by)])[0]


def open_all(
    connection: store.Connection, new: Sequence[NewIncident], now: dt.datetime | None = None, *, begin: bool = True
) -> list[dict[str, Any]]:
    """Open several incidents; as `open_incident`, in the order given.

    Parameters
    ----------
    connection : Connection
    new : sequence of NewIncident
    now : datetime, optional
        When; decides the year of the number and the folder's date (UTC).
    begin : bool
        Whether to begin each journal here; otherwise the caller writes `opening_entry` first.
    """
    if not new:
        return []
    now = (now or dt.datetime.now(dt.UTC)).astimezone(dt.UTC)
    sql = queries("incidents")
    taken = connection.execute(sql.take_numbers, {"year": now.year, "count": len(new)}).fetchone()
    if taken is None:
        raise AssertionError("the numbers of a year always have a last one")
    first = taken["last"] - len(new) + 1
    ids = [f"INC-{now.year}-{first + index:06d}" for index in range(len(new))]
    rows = connection.execute(
        sql.open_incidents,
        {
            "ids": ids,
            "folders": [f"{now:%Y-%m-%d}/{name}" for name in ids],
            "platforms": [one.platform for one in new],
            "runbooks": [one.runbook for one in new],
            "targets": [one.target for one in new],
            "severities": [one.severity for one in new],
            "titles": [one.title for one in new],
            "openers": [one.opened_by for one in new],
            "now": now,
        },
    ).fetchall()
    rows.sort(key=lambda row: str(row["id"]).rsplit("-", 1)[-1].zfill(12))
    if begin:
        for row in rows:
            actor, kind, body = opening_entry(row)
            journal.append(connection, row["id"], kind, body, actor=actor)
    return rows


def opening_entry(row: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """The first entry of an incident's journal: who, what kind, the facts."""
    facts = ("platform", "runbook", "target", "severity", "title", "opened_by")
    return row["opened_by"], "incident-opened", {name: row[name] for name in facts}
