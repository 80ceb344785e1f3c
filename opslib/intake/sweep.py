"""Ending episodes whose end has passed without their being sent again."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from typing import Any

from opslib import store
from opslib.intake import writing
from opslib.record import journal
from opslib.settings import Settings
from opslib.sql import queries


def sweep(settings: Settings, now: dt.datetime | None = None) -> int:
    """Expire what is overdue, and close incidents whose every alert is over; returns how many episodes expired.

    Raises
    ------
    StoreError, psycopg.OperationalError
        When the database is away.
    """
    with store.transaction(settings) as connection:
        facts = {"now": now or dt.datetime.now(dt.UTC)}
        writing.lock(connection, None)
        rows = connection.execute(queries("intake").overdue_episodes, facts).fetchall()
        connection.execute(queries("intake").expire_episodes, {"ids": [row["id"] for row in rows]})
        by_incident: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            if row["incident"] is not None:
                by_incident[row["incident"]].append(row)
        for incident, ended in sorted(by_incident.items()):
            told = [{"fingerprint": row["fingerprint"], "ends_at": row["ends_at"]} for row in ended[:20]]
            body = {"count": len(ended), "alerts": told, "expired": True}
            journal.append(connection, incident, "alert-resolved", body, actor=writing.ACTOR, settings=settings)
        writing.close_what_is_over(connection, by_incident)
        return len(rows)
