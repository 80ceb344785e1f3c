"""Incidents as people and programs read them."""

from __future__ import annotations

import json
from typing import Any

from opslib import store
from opslib.errors import NotFound
from opslib.record import journal
from opslib.sql import queries

MOST = 1000
STATES = ("open", "acknowledged", "mitigated", "resolved")


def list_(connection: store.Connection, state: str | None = None, limit: int = MOST) -> list[dict[str, Any]]:
    """Incidents, newest first, each with its alerts.

    Parameters
    ----------
    connection : Connection
    state : str, optional
        Only those in this state: open, acknowledged, mitigated, resolved.
    limit : int
        At most so many.
    """
    return connection.execute(queries("incidents").list, {"state": state, "limit": limit}).fetchall()


def show(connection: store.Connection, incident: str) -> dict[str, Any]:
    """Everything about one incident: its row, and `alerts`, `runs`, `plans`, `timeline`.

    A plan's `document` is parsed. The timeline is the journal.

    Raises
    ------
    NotFound
        When there is no such incident.
    """
    sql = queries("incidents")
    facts = {"incident": incident}
    row = connection.execute(sql.one, facts).fetchone()
    if row is None:
        raise NotFound(f"there is no incident {incident}; `runbook incidents` lists those there are")
    plans = connection.execute(sql.plans_of, facts).fetchall()
    return {
        **row,
        "alerts": connection.execute(sql.alerts_of, facts).fetchall(),
        "runs": connection.execute(sql.runs_of, facts).fetchall(),
        "plans": [{**plan, "document": json.loads(plan["document"])} for plan in plans],
        "timeline": journal.entries(connection, incident),
    }
