"""Holds: they stop all automatic approvals and applies but the stopping of new risk."""

from __future__ import annotations

from typing import Any

from opslib import platforms, store
from opslib.canonical import storable
from opslib.errors import NotAllowed, NotFound, UsageError
from opslib.people import Person
from opslib.record import journal, redaction
from opslib.settings import Settings
from opslib.sql import queries


def on(connection: store.Connection, platform: str) -> list[dict[str, Any]]:
    """The holds on a platform: id, platform (null: all), reason, person, placed_at."""
    return connection.execute(queries("actions").holds, {"platform": platform}).fetchall()


def all_(connection: store.Connection) -> list[dict[str, Any]]:
    """Every hold that is not released."""
    return connection.execute(queries("actions").all_holds).fetchall()


def place(settings: Settings, person: Person, *, reason: str, platform: str | None = None) -> int:
    """Place a hold on a platform, or on all; returns its number.

    Raises
    ------
    UsageError
        When there is no reason.
    NotAllowed
        When the person has no authority there.
    """
    if not reason.strip():
        raise UsageError("a hold needs a reason; give --reason TEXT")
    _may(settings, person, platform)
    why = storable(redaction.default(settings)(reason.strip()))
    facts = {"platform": platform, "reason": why, "person": person.name}
    with store.transaction(settings) as connection:
        row = connection.execute(queries("actions").place_hold, facts).fetchone()
        _tell(settings, connection, platform, "hold-placed", facts)
    if row is None:
        raise NotFound("the hold was not kept; `runbook doctor` says why")
    return int(row["id"])


def release(settings: Settings, person: Person, *, platform: str | None = None) -> list[dict[str, Any]]:
    """Release the holds on a platform, or every hold; returns them.

    Raises
    ------
    NotAllowed
        When the person has no authority there.
    NotFound
        When there is no hold.
    """
    _may(settings, person, platform)
    facts = {"platform": platform, "person": person.name}
    with store.transaction(settings) as connection:
        released = connection.execute(queries("actions").release_holds, facts).fetchall()
        if not released:
            raise NotFound(f"there is no hold on {platform or 'any platform'}")
        for row in released:
            _tell(settings, connection, row["platform"], "hold-released", {**row, "released_by": person.name})
    return released


def _may(settings: Settings, person: Person, platform: str | None) -> None:
    """Raise unless the person has at least L1 on the platform, or on all that there are."""
    for name in [platform] if platform else platforms.names(settings):
        if not person.may(1, name, platforms.load(settings, name).environment):
            raise NotAllowed(f"{person.name} ({person.role}) has no authority on {name}; a hold needs L1 there")


def _tell(
    settings: Settings, connection: store.Connection, platform: str | None, kind: str, facts: dict[str, Any]
) -> None:
    """Write it into the journal of every incident that it bears on."""
    body = {name: value for name, value in facts.items() if name != "id"}
    for row in connection.execute(queries("actions").open_incidents, {"platform": platform}).fetchall():
        journal.append(
            connection, row["id"], kind, body, actor=str(facts.get("released_by") or facts["person"]), settings=settings
        )
