"""The journal of an incident: what happened, in order, each line chained to the one before.

A line is canonical JSON `{"actor", "at", "body", "incident", "kind", "prev", "seq"}`; `prev` is the SHA-256
of the previous line's bytes, empty for the first. The truth is PostgreSQL, where a line is written under the
incident's row lock; `journal.jsonl` in the record is its export. `record` goes on while the database is away:
the entry waits in a spool and is written, in order, as soon as the database is back.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import structlog

from opslib import store
from opslib.canonical import canonical, digest, plain, storable
from opslib.errors import NotFound, StoreError
from opslib.record import archive, redaction
from opslib.settings import Settings
from opslib.sql import queries

CAP = 256 * 1024
_KEPT = 16 * 1024
_log = structlog.get_logger("opslib.journal")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal: its number, when, what kind, its digest, and the exact text."""

    incident: str
    seq: int
    at: str
    kind: str
    sha256: str
    line: str


def append(
    connection: store.Connection,
    incident: str,
    kind: str,
    body: Mapping[str, Any],
    *,
    actor: str,
    at: dt.datetime | None = None,
    settings: Settings | None = None,
) -> Entry:
    """Write the next line of an incident's journal, in the caller's transaction.

    Parameters
    ----------
    connection : Connection
        Its transaction holds the incident's row from here on until it ends.
    incident : str
    kind : str
        What happened, in words: `run-started`, `evidence`, `plan-decided`.
    body : mapping
        Facts of JSON types (dates and the like are spelt out). Redacted; cut where it is above 256 KiB.
    actor : str
        Who did it: a person's name, or `recorder`, `worker`, `intake`.
    at : datetime, optional
        When it happened; now where it is left out.
    settings : Settings, optional
        Whose key the redaction uses; those of this process where left out.

    Raises
    ------
    NotFound
        When there is no such incident.
    """
    return append_all(connection, incident, [(kind, body)], actor=actor, at=at, settings=settings)[0]


def append_all(
    connection: store.Connection,
    incident: str,
    entries: Iterable[tuple[str, Mapping[str, Any]]],
    *,
    actor: str,
    at: dt.datetime | None = None,
    settings: Settings | None = None,
) -> list[Entry]:
    """Write several lines at once; as `append`.

    Raises
    ------
    NotFound
        When there is no such incident.
    """
    sql = queries("journal")
    row = connection.execute(sql.lock_incident, {"incident": incident}).fetchone()
    if row is None:
        raise NotFound(f"there is no incident {incident}; `runbook incidents` lists those there are")
    redact = redaction.default(settings)
    stamp = plain(at or dt.datetime.now(dt.UTC))
    seq, head = row["journal_seq"], row["journal_head"]
    written = []
    for kind, body in entries:
        seq += 1
        fields = {
            "actor": redact(actor),
            "at": stamp,
            "body": capped(storable(redact(plain(dict(body))))),
            "incident": incident,
            "kind": kind,
            "prev": head,
            "seq": seq,
        }
        line = canonical(fields)
        head = digest(line)
        written.append(Entry(incident, seq, stamp, kind, head, line.decode()))
    if written:
        with connection.cursor() as cursor:
            cursor.executemany(
                sql.add,
                [{"incident": incident, "seq": e.seq, "line": e.line, "sha256": e.sha256} for e in written],
            )
        connection.execute(sql.advance, {"incident": incident, "seq": seq, "sha256": head})
        connection.execute(sql.announce, {"incident": incident})
    return written


def capped(body: dict[str, Any]) -> dict[str, Any]:
    """`body`, its largest fields cut (with size and digest of the whole) until it is within 256 KiB."""
    whole = canonical(body)
    if len(whole) <= CAP:
        return body
    sizes = {name: len(canonical(item)) for name, item in body.items()}
    size, body = len(whole), dict(body)
    for name in sorted(sizes, key=lambda name: sizes[name], reverse=True):
        if size <= CAP or sizes[name] <= _KEPT:
            break
        body[name] = _cut(body[name])
        size += len(canonical(body[name])) - sizes[name]
    return body if size <= CAP else _cut(body)


def _cut(value: Any) -> dict[str, Any]:
    """The beginning of a value, with the size and digest of the whole."""
    whole = canonical(value)
    text = value if isinstance(value, str) else whole.decode()
    return {"cut": text[: _KEPT // 4], "bytes": len(whole), "sha256": digest(whole)}


def entries(connection: store.Connection, incident: str, after: int = 0) -> list[dict[str, Any]]:
    """The entries of an incident after number `after`, in order, each with its `sha256`."""
    rows = connection.execute(queries("journal").lines, {"incident": incident, "after": after})
    return [{**json.loads(row["line"]), "sha256": row["sha256"]} for row in rows]


def export(connection: store.Connection, settings: Settings, incident: str) -> Path:
    """Bring `journal.jsonl` in the record up to date and wait until it is on the disk.

    An end that a crash tore is completed. A file that differs from the database, or lacks what is sealed, was tampered
    with: it is written again, and that it was, with the digest of what was found, is journalled (`record-restored`).

    Parameters
    ----------
    connection : Connection
        Its transaction holds the incident's row from here on until it ends.
    settings : Settings
    incident : str

    Raises
    ------
    NotFound
        When there is no such incident.
    RecordError
        When the file cannot be written.
    """
    if connection.execute(queries("journal").lock_incident, {"incident": incident}).fetchone() is None:
        raise NotFound(f"there is no incident {incident}; `runbook incidents` lists those there are")
    row = connection.execute(queries("journal").incident, {"incident": incident}).fetchone() or {}
    path = archive.folder(settings, row) / archive.JOURNAL
    with archive.locked(path.parent):
        there = path.read_bytes() if path.is_file() else None
        lines = _lines(connection, incident)
        sealed = sum(map(len, lines[: row["sealed_seq"]]))
        body = _altered(settings, there, b"".join(lines), sealed)
        if body is not None:
            _log.warning("a journal's file was not as the database has it; written again", incident=incident, **body)
            append(connection, incident, "record-restored", body, actor="signer", settings=settings)
            lines = _lines(connection, incident)
        whole = b"".join(lines)
        if there is None or body is not None or not there.endswith(b"\n"):
            archive.write_atomic(path, whole)
        elif len(there) < len(whole):
            archive.append(path, whole[len(there) :])
    return path


def _lines(connection: store.Connection, incident: str) -> list[bytes]:
    """The lines of a journal as its file has them."""
    rows = connection.execute(queries("journal").lines, {"incident": incident, "after": 0})
    return [f"{row['line']}\n".encode() for row in rows]


def _altered(settings: Settings, there: bytes | None, whole: bytes, sealed: int) -> dict[str, Any] | None:
    """What somebody did to the file, as the journal keeps it; None where a crash explains it."""
    from opslib.record import held

    if there is None:
        return {"file": archive.JOURNAL, "found": None, "line": 1, "why": "missing"} if sealed else None
    if whole.startswith(there) and len(there) >= sealed:
        return None
    why = "cut" if whole.startswith(there) else "added" if there.startswith(whole) else "altered"
    line = held.first_difference(there, whole)
    return {"file": archive.JOURNAL, "found": held.keep_altered(settings, there), "line": line, "why": why}


def record(settings: Settings, incident: str, kind: str, body: Mapping[str, Any], *, actor: str) -> None:
    """Write an entry in a transaction of its own; while the database is away it waits in the spool.

    Raises
    ------
    NotFound
        When there is no such incident.
    RecordError
        When neither the database nor the spool can be written.
    """
    from opslib.record import spool

    now = dt.datetime.now(dt.UTC)
    try:
        spool.drain(settings, incident)
        with store.transaction(settings) as connection:
            append(connection, incident, kind, body, actor=actor, at=now, settings=settings)
    except (StoreError, psycopg.Error):
        spool.add(settings, incident, kind, redaction.default(settings)(plain(dict(body))), actor=actor, at=now)


def drain(settings: Settings) -> int:
    """Write every spooled entry into the database; returns how many.

    Raises
    ------
    StoreError
        When the database is still away.
    """
    from opslib.record import spool

    return sum(spool.drain(settings, incident) for incident in spool.waiting(settings))
