"""Runs that waited too long: they end as `timed-out`, which the record says, without having begun.

How long a run has waited is what whoever looks has seen of it, by its own monotonic clock: the database's clock may be
set, and then says of every run that waits that it is overdue. So a run may wait a little longer where all who look were
started again meanwhile, and none ends before its time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import structlog

from opslib import store
from opslib.runs import catalogue, queue
from opslib.settings import Settings
from opslib.sql import queries

_log = structlog.get_logger(__name__)


class Waits:
    """Remembers since when each run has been seen to wait.

    Parameters
    ----------
    clock : callable
        Monotonic [s].
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[int, float] = {}

    def look(self, runs: Iterable[int]) -> dict[int, float]:
        """Take note of every run that waits; how long each has been seen to [s]."""
        now = self._clock()
        self._since = {run: self._since.get(run, now) for run in runs}
        return {run: now - since for run, since in self._since.items()}


_waits = Waits()


def expire(settings: Settings, waits: Waits = _waits) -> list[int]:
    """End every run that was seen to wait longer than its runbook, or else the settings, allow.

    Parameters
    ----------
    settings : Settings
    waits : Waits
        What was seen so far.

    Returns
    -------
    list of int
        The runs that ended.

    Raises
    ------
    StoreError, psycopg.OperationalError
        When the store is away.
    """
    with store.transaction(settings) as connection:
        rows = connection.execute(queries("runs").waiting).fetchall()
    waited = waits.look(run for row in rows for run in row["runs"])
    ended = []
    for row in rows:
        most_s = catalogue.bounds(settings, row["runbook"]).queue_timeout_s or settings.queue_timeout_s
        for run in row["runs"]:
            if waited[run] <= most_s:
                continue
            sentence = f"It never began: it waited {waited[run]:.0f} s for a worker, and {most_s:g} s are the most."
            if _end(settings, run, sentence):
                ended.append(run)
                _log.error("a run waited too long", run=run, waited_s=round(waited[run]))
    return ended


def _end(settings: Settings, run: int, sentence: str) -> bool:
    """End one run, unless it has begun or ended meanwhile."""
    with store.transaction(settings) as connection:
        row = connection.execute(queries("runs").one, {"run": run}).fetchone()
        if row is None:
            return False
        connection.execute(queries("journal").lock_incident, {"incident": row["incident"]})
        now = connection.execute(queries("runs").lock, {"run": run}).fetchone()
        if now is None or now["state"] != "waiting":
            return False
        incident = row["incident"]
        queue.end_unbegun(connection, incident, row, "timed-out", sentence, actor=queue.ACTOR, settings=settings)
    return True
