"""Storms: more runs wait than get done. Alerts are accepted on; one incident a platform says what waits.

The incident is opened when a platform's queue passes a limit, told about at most once a minute while it lasts, and
resolved when the queue is below half of both limits. Nothing is dropped: each run that waits keeps its place.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from opslib import incidents, store
from opslib.incidents.opening import BY_INTAKE
from opslib.intake.routes import TRIAGE
from opslib.intake.writing import ACTOR
from opslib.record import journal
from opslib.runs import queue
from opslib.settings import Settings
from opslib.sql import queries

SEVERITY = "high"
TARGET = "queue"
TELL_S = 60.0
"""How often a storm that goes on is told about [s]."""
LISTED = 50
"""How many of the waiting runs an entry names, those first that are next."""
_STORMS = 0x52554E53


@dataclass
class Waiting:
    """What waits on one platform: how many runs by lane, and how long the oldest has waited [s]."""

    lanes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    oldest_s: float = 0.0

    @property
    def runs(self) -> int:
        """How many."""
        return sum(self.lanes.values())

    def beyond(self, settings: Settings, share: float = 1.0) -> bool:
        """Whether this is above a share of either limit."""
        return self.runs > share * settings.storm_depth or self.oldest_s > share * settings.storm_age_s


def watch(settings: Settings) -> None:
    """Open, tell about or close the storm of each platform, as its queue is now.

    Raises
    ------
    StoreError, psycopg.OperationalError
        When the database is away.
    """
    with store.transaction(settings) as connection:
        connection.execute(queries("storm").lock, {"space": _STORMS})
        waiting: dict[str, Waiting] = defaultdict(Waiting)
        for row in connection.execute(queries("storm").waiting):
            one = waiting[row["platform"]]
            one.lanes[row["lane"]] += row["runs"]
            one.oldest_s = max(one.oldest_s, row["oldest_s"])
        storms = {row["platform"]: row for row in connection.execute(queries("storm").newest, {"intake": BY_INTAKE})}
        for platform in sorted({*waiting, *storms}):
            _of_platform(settings, connection, platform, waiting[platform], storms.get(platform))


def _of_platform(
    settings: Settings, connection: store.Connection, platform: str, now: Waiting, storm: dict[str, Any] | None
) -> None:
    goes_on = storm is not None and storm["state"] != "resolved"
    if storm is not None and goes_on:
        if not now.beyond(settings, 0.5):
            text = f"The queue is short again: {now.runs} runs wait, the oldest for {now.oldest_s:.0f} s."
            incidents.resolve(connection, storm["id"], BY_INTAKE, text)
        elif storm["silent_s"] >= TELL_S:
            _tell(settings, connection, storm["id"], platform, now)
    elif now.beyond(settings) and (storm is None or storm["silent_s"] >= TELL_S):
        row = incidents.open_incident(
            connection,
            platform=platform,
            runbook=TRIAGE,
            target=TARGET,
            severity=SEVERITY,
            title=f"Storm: runs wait on {platform}",
            opened_by=BY_INTAKE,
        )
        _tell(settings, connection, row["id"], platform, now)


def _tell(settings: Settings, connection: store.Connection, incident: str, platform: str, now: Waiting) -> None:
    """What waits, on the record."""
    lanes = [lane for lane in queue.PRIORITIES if now.lanes.get(lane)]
    rows = connection.execute(
        queries("storm").listed, {"platform": platform, "lanes": list(queue.PRIORITIES), "most": LISTED}
    ).fetchall()
    body = {
        "waiting": now.runs,
        "oldest_s": round(now.oldest_s, 1),
        "lanes": {lane: now.lanes[lane] for lane in lanes},
        "limits": {"runs": settings.storm_depth, "age_s": settings.storm_age_s},
        "runs": [row | {"waited_s": round(row["waited_s"], 1)} for row in rows],
        "more": now.runs - len(rows),
    }
    journal.append(connection, incident, "storm", body, actor=ACTOR, at=dt.datetime.now(dt.UTC), settings=settings)
    connection.execute(queries("storm").told, {"incident": incident})
