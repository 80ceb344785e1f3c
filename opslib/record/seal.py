"""Asking for a seal: of the signer that runs, else of one started for this alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from opslib import store
from opslib.errors import NotFound, RecordError
from opslib.record import archive, journal
from opslib.record.client import environment
from opslib.settings import Settings
from opslib.sql import queries
from opslib.store import processes

_SIGNER_S = 3.0
_ONCE_S = 60.0


def seal(settings: Settings, incident: str) -> Path:
    """Have an incident sealed up to its journal's present head, and wait for it.

    Returns
    -------
    Path
        The incident's newest seal.

    Raises
    ------
    NotFound
        When there is no such incident.
    RecordError
        When it could not be sealed; the message says why.
    StoreError
        When the database is away.
    """
    journal.drain(settings)
    with store.connect(settings, autocommit=True) as connection:
        target = _row(connection, incident)["journal_seq"]
        if target == 0:
            raise RecordError(f"{incident} has no journal yet, so there is nothing to seal")
        if processes.alive(connection, "signer"):
            connection.execute(queries("log").ask_for_seal, {"incident": incident})
            deadline = time.monotonic() + _SIGNER_S
            while time.monotonic() < deadline and _row(connection, incident)["sealed_seq"] < target:
                time.sleep(0.02)
        if _row(connection, incident)["sealed_seq"] < target:
            elsewhere = settings.archive is not None and not (settings.state / "keys" / "signing.pem").exists()
            if elsewhere:  # the key is on another host, whose signer waits for the archive
                raise RecordError(f"{incident} is not sealed yet; the signer does it when the archive has every file")
            _once(settings, incident)
        return _newest(settings, connection, incident)


def _row(connection: store.Connection, incident: str) -> dict[str, int]:
    row = connection.execute(queries("journal").incident, {"incident": incident}).fetchone()
    if row is None:
        raise NotFound(f"there is no incident {incident}; `runbook incidents` lists those there are")
    return row


def _once(settings: Settings, incident: str) -> None:
    """Start a signer for one incident; it alone reads the key."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "opslib.record.signer", "--once", incident],
            env=environment(settings),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=_ONCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RecordError(f"{incident} was not sealed within {_ONCE_S:g} s; `runbook doctor` may say why") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["the signer said nothing"])[-1]
        raise RecordError(f"{incident} could not be sealed: {last}")


def _newest(settings: Settings, connection: store.Connection, incident: str) -> Path:
    leaves = connection.execute(queries("log").seals_of, {"incident": incident}).fetchall()
    if not leaves:
        raise RecordError(f"{incident} was not sealed")
    leaf = json.loads(leaves[-1]["line"])
    return archive.folder(settings, {"folder": leaf["folder"]}) / str(leaf["seal"])
