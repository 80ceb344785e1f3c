"""What people do to an incident: acknowledge, note, resolve. Each is journalled in the caller's transaction."""

from __future__ import annotations

from typing import Any

from opslib import store
from opslib.errors import NotFound, UsageError
from opslib.incidents.errors import IncidentClosed
from opslib.record import journal
from opslib.sql import queries

LONGEST = 20_000


def acknowledge(connection: store.Connection, incident: str, person: str, text: str = "") -> None:
    """Someone is on it.

    Raises
    ------
    NotFound, IncidentClosed
        When there is no such incident, or it is resolved.
    """
    _locked(connection, incident)
    connection.execute(queries("incidents").acknowledge, {"incident": incident})
    journal.append(connection, incident, "acknowledged", {"person": person, "text": _text(text)}, actor=person)


def note(connection: store.Connection, incident: str, person: str, text: str) -> None:
    """Put a remark on the record; also on a resolved incident.

    Raises
    ------
    NotFound
        When there is no such incident.
    UsageError
        When the note is empty or longer than 20,000 characters.
    """
    _locked(connection, incident, closed_too=True)
    if not text.strip():
        raise UsageError("the note is empty; say what happened")
    journal.append(connection, incident, "note", {"person": person, "text": _text(text)}, actor=person)


def resolve(connection: store.Connection, incident: str, person: str, text: str = "") -> None:
    """It is over. Plans that nobody has begun to apply become void.

    An alert that is still firing stays on the record as such; its next episode opens a new incident.

    Raises
    ------
    NotFound, IncidentClosed
        When there is no such incident, or it is resolved already.
    """
    _locked(connection, incident)
    firing = connection.execute(queries("incidents").still_firing, {"incident": incident}).fetchone()
    void_plans(connection, incident, "the incident is resolved", actor=person)
    connection.execute(queries("incidents").resolve, {"incident": incident})
    body = {"person": person, "text": _text(text), "still_firing": firing["episodes"] if firing else 0}
    journal.append(connection, incident, "resolved", body, actor=person)


def void_plans(connection: store.Connection, incident: str, reason: str, *, actor: str) -> list[str]:
    """Void the plans that nobody has begun to apply; returns their hashes."""
    rows = connection.execute(queries("incidents").void_plans, {"incident": incident, "reason": reason}).fetchall()
    hashes = sorted(row["hash"] for row in rows)
    if hashes:
        entries = [("plan-state", {"hash": plan, "state": "void", "reason": reason}) for plan in hashes]
        journal.append_all(connection, incident, entries, actor=actor)
    return hashes


def _locked(connection: store.Connection, incident: str, *, closed_too: bool = False) -> dict[str, Any]:
    row = connection.execute(queries("incidents").lock, {"incident": incident}).fetchone()
    if row is None:
        raise NotFound(f"there is no incident {incident}; `runbook incidents` lists those there are")
    if row["state"] == "resolved" and not closed_too:
        raise IncidentClosed(f"{incident} is resolved already; a new alert opens a new one")
    return row


def _text(text: str) -> str:
    if len(text) > LONGEST:
        raise UsageError(f"the text has {len(text)} characters; {LONGEST} are the most")
    return text.replace("\x00", "\ufffd")
