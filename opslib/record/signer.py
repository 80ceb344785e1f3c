"""The signer: the process that alone reads the private key, seals records and keeps the log.

    python -m opslib.record.signer             seals whatever has become quiet, until stopped
    python -m opslib.record.signer --once INC  seals one incident now

It seals an incident when its journal goes on after the last seal, nobody works on it and it has been quiet for
a moment; and at once when `seal` asks. A step that a crash cut off is found and finished: a seal file without
a leaf is written again under the same name, a leaf that the files lack is exported again.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import structlog

from opslib import store
from opslib.canonical import digest
from opslib.errors import NotFound, RecordError, RunbookError
from opslib.record import archive, held, journal, log, remote, signing, statement
from opslib.settings import Settings
from opslib.sql import queries
from opslib.store import processes

QUIET_S = 0.3
_SCAN_S = 10.0  # what becomes quiet is heard of; this finds what a crash or a time-out left
_PATIENCE_S, _IDLE_S = 0.1, 1.0  # while something has yet to become quiet, and else
_BEAT_S = 3.0
_AGAIN_S = 1.0
_DATES = 2  # how many days of records are searched at the start for what killed processes left
_UNDERWAY_S = 120.0  # for how long a file of another host is waited for after the journal's last word
_log = structlog.get_logger("opslib.signer")


def seal_now(settings: Settings, connection: store.Connection, incident: str) -> Path | None:
    """Seal an incident up to its journal's head; returns the seal, or None when that was sealed already.

    Raises
    ------
    NotFound
        When there is no such incident.
    RecordError
        When record or log cannot be written, or the key is not this home's.
    """
    _fetch(settings, connection, incident)
    gone = log.is_gone(settings)
    key = log.signing_key(settings)
    with archive.locked(log.place(settings)):
        with connection.transaction():
            connection.execute(queries("log").lock_log)
            if connection.execute(queries("journal").lock_incident, {"incident": incident}).fetchone() is None:
                raise NotFound(f"there is no incident {incident}; `runbook incidents` lists those there are")
            log.tell_altered(settings, connection, key, incident, gone)
            if _unsealed(connection, incident) is not None:
                _tidy(settings, connection, incident)
        with connection.transaction():
            connection.execute(queries("log").lock_log)
            connection.execute(queries("journal").lock_incident, {"incident": incident})
            path = _seal(settings, connection, incident, key)
        log.write(settings, connection, key)
    if path is not None:
        for folder in (path.parent.relative_to(settings.home).as_posix(), archive.LOG, ""):
            remote.push(settings, folder)
    return path


def _fetch(settings: Settings, connection: store.Connection, incident: str) -> None:
    """Have the files of the record here that other hosts wrote; not for ever where one never comes.

    Raises
    ------
    RecordError
        While the archive is away, or a file may still be on its way there.
    """
    row = _unsealed(connection, incident)
    if settings.archive is None or row is None:
        return
    entries = journal.entries(connection, incident)
    missing = remote.fetch_named(settings, row["folder"], held.known_files(entries))
    since = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(str(entries[-1]["at"]))
    if missing and since.total_seconds() < _UNDERWAY_S:
        raise RecordError(f"{', '.join(missing[:3])} of {incident} is not in the archive yet")


def _unsealed(connection: store.Connection, incident: str) -> dict[str, Any] | None:
    """The incident's row where its journal goes on after the last seal."""
    row = connection.execute(queries("journal").incident, {"incident": incident}).fetchone()
    return None if row is None or row["journal_seq"] <= row["sealed_seq"] else row


def _tidy(settings: Settings, connection: store.Connection, incident: str) -> None:
    """Remove what interrupted writes left, and journal, in a transaction of its own, what is not as it should be."""
    row = connection.execute(queries("journal").incident, {"incident": incident}).fetchone() or {}
    folder = archive.folder(settings, row)
    archive.remove_parts(folder)
    evidence = folder / archive.EVIDENCE
    going = any(run["state"] == "running" for run in connection.execute(queries("log").runs, {"incident": incident}))
    if evidence.is_dir() and not evidence.is_symlink() and not going and not any(evidence.iterdir()):
        evidence.rmdir()  # nothing came of what was to be written there
    held.settle(settings, connection, incident)
    journal.export(connection, settings, incident)


def _seal(settings: Settings, connection: store.Connection, incident: str, key: Any) -> Path | None:
    """Write the seal's file, then its leaf; the caller's transaction makes the leaf count."""
    if _unsealed(connection, incident) is None:
        return None
    files = held.settle(settings, connection, incident)
    journal.export(connection, settings, incident)
    row = connection.execute(queries("journal").incident, {"incident": incident}).fetchone() or {}
    folder = archive.folder(settings, row)
    leaves = [json.loads(leaf["line"]) for leaf in connection.execute(queries("log").seals_of, {"incident": incident})]
    at = dt.datetime.now(dt.UTC)
    number = len(leaves) + 1
    document = statement.build(
        settings, connection, row, files, number=number, previous=leaves[-1]["sha256"] if leaves else None, at=at
    )
    data = signing.envelope(document, key)
    archive.remove_parts(folder)
    path = archive.write_atomic(folder / f"seal-{number:04d}.json", data)
    log.add_leaf(connection, incident=incident, folder=row["folder"], seal=path.name, sha256=digest(data), at=at)
    connection.execute(queries("log").mark_sealed, {"incident": incident, "seq": row["journal_seq"]})
    return path


class Signer:
    """Seals what has become quiet until it is stopped.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stop = threading.Event()
        self._quiet_since: dict[str, float] = {}
        self._asked: set[str] = set()
        self._scanned = -_SCAN_S
        self._beaten = -_BEAT_S
        self._process: processes.Process | None = None
        self._kept = store.Kept(settings)

    def stop(self) -> None:
        """End soon."""
        self._stop.set()

    def run(self) -> None:
        """Serve until stopped; goes on when the database comes back."""
        while not self._stop.is_set():
            try:
                with store.connect(self.settings, autocommit=True) as connection:
                    connection.execute("LISTEN runbook_journal")
                    connection.execute("LISTEN runbook_seal")
                    self._recover(connection)
                    self._scanned = -_SCAN_S
                    while not self._stop.is_set():
                        self._step(connection)
            except (RunbookError, psycopg.OperationalError) as error:
                _log.warning("sealing waits", why=str(error))
                self._stop.wait(_AGAIN_S)
        self._kept.close()
        if self._process is not None:
            try:
                self._process.close()
            except RunbookError as error:
                _log.info("the database is away", why=str(error))

    def _recover(self, connection: store.Connection) -> None:
        """Finish what a crash cut off between a leaf and the log's files, and remove what it left half written."""
        gone = log.is_gone(self.settings)
        key = log.signing_key(self.settings)
        with archive.locked(log.place(self.settings)):
            for place in (archive.LOG, *archive.newest_dates(self.settings.home, _DATES)):
                archive.remove_parts(self.settings.home / place)
            with connection.transaction():
                connection.execute(queries("log").lock_log)
                log.tell_altered(self.settings, connection, key, None, gone)
            log.write(self.settings, connection, key)

    def _step(self, connection: store.Connection) -> None:
        patience = _PATIENCE_S if self._quiet_since else _IDLE_S
        for notice in connection.notifies(timeout=patience, stop_after=1):
            self._quiet_since[notice.payload] = time.monotonic()
            if notice.channel == "runbook_seal":
                self._asked.add(notice.payload)
        now = time.monotonic()
        if now - self._beaten > _BEAT_S:
            self._beat()
            self._beaten = now
        if now - self._scanned > _SCAN_S:
            for row in connection.execute(queries("log").unsealed):
                self._quiet_since.setdefault(row["id"], now)
            self._scanned = now
        for incident in sorted(self._asked):
            self._seal(connection, incident)
        quiet = [incident for incident, since in self._quiet_since.items() if now - since >= QUIET_S]
        for incident in quiet:
            del self._quiet_since[incident]
            so = connection.execute(queries("log").unsealed_one, {"incident": incident}).fetchone()
            if so is not None and so["so"]:
                self._seal(connection, incident)
        self._asked.clear()

    def _seal(self, connection: store.Connection, incident: str) -> None:
        try:
            path = seal_now(self.settings, connection, incident)
        except RunbookError as error:
            _log.error("an incident could not be sealed", incident=incident, why=str(error))
        else:
            if path is not None:
                _log.info("sealed", incident=incident, seal=path.name)

    def _beat(self) -> None:
        with self._kept:
            if self._process is None:
                self._process = processes.register(self.settings, "signer")
            else:
                self._process.beat()


def main() -> int:
    """Run the signer of the current settings, or seal one incident."""
    parser = argparse.ArgumentParser(description="seals records and keeps the log")
    parser.add_argument("--once", metavar="INCIDENT", help="seal this incident now, then end")
    once = parser.parse_args().once
    settings = Settings()
    if once is not None:
        try:
            with store.connect(settings, autocommit=True) as connection:
                seal_now(settings, connection, once)
        except RunbookError as error:
            print(error, file=sys.stderr)
            return 1
        return 0
    signer = Signer(settings)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda _signal, _frame: signer.stop())
    signer.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
