"""Escalation: the next level of authority is asked for, and the record says who, when and why."""

from __future__ import annotations

from collections.abc import Mapping

from opslib import store
from opslib.errors import NotFound, UsageError
from opslib.incidents.changes import LONGEST
from opslib.incidents.errors import IncidentClosed
from opslib.platforms import Contact
from opslib.record import journal
from opslib.sql import queries

__all__ = ["LEVELS", "escalate"]

LEVELS = ("L1", "L2", "L3", "L4")
_FIRST = "L1"  # who is on call anyway


def escalate(
    connection: store.Connection,
    incident: str,
    person: str,
    contacts: Mapping[str, Contact],
    *,
    level: str | None = None,
    text: str = "",
) -> tuple[str, Contact]:
    """Put on the record that a level is asked for, in the caller's transaction; nobody is called by this.

    Parameters
    ----------
    connection : Connection
    incident, person : str
    contacts : mapping
        Of the incident's platform, by level.
    level : {"L1", "L2", "L3", "L4"}, optional
        The level; the one above the last that was asked for where it is left out.
    text : str
        Why.

    Returns
    -------
    level, contact : str, Contact
        Whom to call now.

    Raises
    ------
    NotFound, IncidentClosed
        When there is no such incident, or it is resolved.
    UsageError
        When there is no level above, no contact for it, or the text is too long.
    """
    row = connection.execute(queries("incidents").lock, {"incident": incident}).fetchone()
    if row is None:
        raise NotFound(f"there is no incident {incident}; `runbook incidents` lists those there are")
    if row["state"] == "resolved":
        raise IncidentClosed(f"{incident} is resolved already; a new alert opens a new one")
    if len(text) > LONGEST:
        raise UsageError(f"the text has {len(text)} characters; {LONGEST} are the most")
    asked = [entry["body"]["level"] for entry in journal.entries(connection, incident) if entry["kind"] == "escalated"]
    before = asked[-1] if asked else _FIRST
    if level is None:
        if before == LEVELS[-1]:
            raise UsageError(f"{before} has been asked for already, and there is no level above; --to asks again")
        level = LEVELS[LEVELS.index(before) + 1]
    if level not in contacts:
        raise UsageError(f"params/contacts.yaml names nobody for {level}; it names {', '.join(sorted(contacts))}")
    contact = contacts[level]
    body = {"person": person, "level": level, "before": before, "text": text.replace("\x00", "\ufffd")}
    journal.append(connection, incident, "escalated", body | contact.model_dump(), actor=person)
    return level, contact
