"""Following a run from outside: what it does now, and when it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from opslib import store
from opslib.errors import StoreError
from opslib.settings import Settings
from opslib.sql import queries

_LOOK_S = 0.1
_CLOSED_WITHIN_S = 20.0
Tell = Callable[[str, dict[str, Any]], None]


class Follower:
    """Tells each new entry of an incident's journal to `tell`, from a thread, until closed.

    Parameters
    ----------
    settings : Settings
    incident : str
    tell : callable
        Gets kind and body.
    """

    def __init__(self, settings: Settings, incident: str, tell: Tell) -> None:
        self._settings = settings
        self._incident = incident
        self._tell = tell
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._over.set()
        self._thread.join(5)

    def _work(self) -> None:
        after = 0
        while not self._over.is_set():
            try:
                with store.connect(self._settings, role="reader", autocommit=True) as connection:
                    while not self._over.wait(_LOOK_S):
                        values = {"incident": self._incident, "after": after}
                        for row in connection.execute(queries("runs").follow, values):
                            after = row["seq"]
                            self._tell(row["entry"]["kind"], row["entry"]["body"])
            except (StoreError, psycopg.OperationalError):
                self._over.wait(1.0)


def read(settings: Settings, run: int) -> dict[str, Any]:
    """A run's row, with what is needed of its incident.

    Raises
    ------
    StoreError
        When the store is away.
    """
    with store.connect(settings) as connection:
        row = connection.execute(queries("runs").one, {"run": run}).fetchone()
    if row is None:
        raise StoreError(f"run {run} is not in the store; another RUNBOOK_HOME may be meant")
    return row


def wait(settings: Settings, run: int, *, forsaken: Callable[[], bool]) -> dict[str, Any] | None:
    """Wait until a run, or the one that replaces it, has ended and is sealed.

    Parameters
    ----------
    settings : Settings
    run : int
    forsaken : callable
        Asked every second while the run waits: whether there is nobody left to execute it.

    Returns
    -------
    dict or None
        The row of the run that counts; None when it waits and is forsaken.
    """
    with store.connect(settings, autocommit=True) as connection:
        look = queries("runs")
        asked = time.monotonic()
        closing: float | None = None
        while True:
            row = connection.execute(look.one, {"run": run}).fetchone()
            if row is None or (row["state"] == "waiting" and time.monotonic() - asked > 1.0):
                asked = time.monotonic()
                if row is None or forsaken():
                    return None
            elif row["state"] == "lost" and (again := connection.execute(look.retry, {"run": run}).fetchone()):
                run = again["id"]
            elif row["state"] not in ("waiting", "running"):
                closing = closing or time.monotonic()
                closed = connection.execute(look.closed, {"incident": row["incident"], "run": run}).fetchone()
                if (closed and closed["closed"]) or time.monotonic() - closing > _CLOSED_WITHIN_S:
                    return row
            time.sleep(_LOOK_S)
