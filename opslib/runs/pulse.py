"""The pulse of a run: says that it is alive, and hears when somebody cancels it."""

from __future__ import annotations

import os
import select
import threading

import psycopg
import structlog

from opslib import store
from opslib.errors import StoreError
from opslib.runs.cells import Stop
from opslib.settings import Settings
from opslib.sql import queries

BEAT_S = 2.0
_FIRST_S = 0.25  # the first cell goes before; a run that is claimed has just beaten
_CHANNEL = "runbook_cancel"
_log = structlog.get_logger(__name__)


class Pulse:
    """A thread that beats for a run every two seconds until closed; while the store is away it tries again.

    Parameters
    ----------
    settings : Settings
    incident : str
    run : int
    stop : Stop
        Asked when somebody cancels the run.
    """

    def __init__(self, settings: Settings, incident: str, run: int, stop: Stop) -> None:
        self._settings = settings
        self._incident = incident
        self._run = run
        self._stop = stop
        self._over = threading.Event()
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._work, name="pulse", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the pulse."""
        if not self._over.is_set():
            self._over.set()
            os.close(self._waker)
        self._thread.join(2 * BEAT_S)

    def _work(self) -> None:
        self._over.wait(_FIRST_S)
        try:
            while not self._over.is_set():
                try:
                    with store.connect(self._settings, autocommit=True) as connection:
                        connection.execute(f"LISTEN {_CHANNEL}")
                        while not self._over.is_set():
                            self._beat(connection)
                except (StoreError, psycopg.Error) as error:
                    _log.warning("the pulse of a run could not beat", run=self._run, why=str(error).strip())
                    self._over.wait(BEAT_S)
        finally:
            os.close(self._wake)

    def _beat(self, connection: store.Connection) -> None:
        sql = queries("runs")
        connection.execute(sql.beat, {"run": self._run})
        asked = connection.execute(sql.cancel_asked, {"incident": self._incident, "run": self._run}).fetchone()
        if asked is not None:
            why = f" ({asked['reason']})" if asked["reason"] else ""
            self._stop.ask("cancelled", f"was stopped: {asked['person']} cancelled the run{why}.")
        if not any(True for _ in connection.notifies(timeout=0)):  # what came with the answers
            select.select([connection.fileno(), self._wake], [], [], BEAT_S)
