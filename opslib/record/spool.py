"""The spool: journal entries that wait, in order, while the database is away.

`HOME/.state/spool/<incident>.jsonl` holds one JSON document a line, with a mark of its own. The mark goes
into the entry's body as `spooled`, so that a crash between writing and clearing never writes an entry twice.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from opslib import store
from opslib.canonical import canonical, digest, storable
from opslib.errors import RecordError
from opslib.record import journal
from opslib.settings import Settings
from opslib.sql import queries


def _path(settings: Settings, incident: str) -> Path:
    return settings.state / "spool" / f"{incident}.jsonl"


@contextmanager
def _open(path: Path) -> Iterator[int]:
    """The spool's file, locked; never one that another process has just removed."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def waiting(settings: Settings) -> list[str]:
    """The incidents that have spooled entries."""
    place = settings.state / "spool"
    return sorted(path.stem for path in place.glob("*.jsonl")) if place.is_dir() else []


def add(settings: Settings, incident: str, kind: str, body: dict[str, Any], *, actor: str, at: dt.datetime) -> None:
    """Put an entry (redacted already) at the end of the spool, on the disk when this returns.

    Raises
    ------
    RecordError
        When the spool cannot be written.
    """
    mark = secrets.token_hex(12)
    line = canonical({"actor": actor, "at": at, "body": {**body, "spooled": mark}, "kind": kind, "mark": mark})
    try:
        settings.make_home()
        with _open(_path(settings, incident)) as descriptor:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, (b"\n" if torn else b"") + line + b"\n")
            os.fsync(descriptor)
    except OSError as error:
        raise RecordError(f"the spool of {incident} cannot be written: {error.strerror}") from error


def drain(settings: Settings, incident: str) -> int:
    """Write the spooled entries of one incident into the database, in one transaction; returns how many.

    Raises
    ------
    StoreError
        When the database is away; the spool stays.
    """
    path = _path(settings, incident)
    if not path.exists():
        return 0
    with _open(path) as descriptor:
        size = os.fstat(descriptor).st_size
        documents = list(_documents(os.pread(descriptor, size, 0)))
        written = 0
        with store.transaction(settings) as connection:
            for document in documents:
                known = connection.execute(
                    queries("journal").holds_text, {"incident": incident, "text": document["mark"]}
                ).fetchone()
                if known is not None and known["there"]:
                    continue
                _write(connection, settings, incident, document)
                written += 1
        path.unlink(missing_ok=True)
    return written


def _documents(data: bytes) -> Iterator[dict[str, Any]]:
    """The whole lines; one that a crash tore says so in its place."""
    for line in data.split(b"\n"):
        if not line:
            continue
        try:
            yield json.loads(line)
        except ValueError:
            mark = digest(line)[:24]
            text = {"text": "an entry that was spooled here was torn by a crash and is lost", "spooled": mark}
            yield {"actor": "spool", "at": None, "body": text, "kind": "note", "mark": mark}


def _write(connection: store.Connection, settings: Settings, incident: str, document: dict[str, Any]) -> None:
    at = dt.datetime.fromisoformat(document["at"]) if document["at"] else None
    body = document["body"]
    journal.append(connection, incident, document["kind"], body, actor=document["actor"], at=at, settings=settings)
    if document["kind"] == "verdict":
        connection.execute(
            queries("journal").set_verdict, {"run": body.get("run"), "verdict": Jsonb(storable(body.get("verdict")))}
        )
