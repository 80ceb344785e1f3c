"""A further look where a run came too early: the alert fires, and what is the case was not to be seen yet.

A pod that is just being replaced, an API that is away for a moment, a figure that hovers about its level while a cause
is plain to see: what tells comes to be while the alert goes on. Such a run is looked at again by itself, a few times,
in the same incident; as soon as a person runs anything, or the alert is over, no more.
"""

from __future__ import annotations

import structlog

from opslib import store
from opslib.record import journal
from opslib.runs import queue
from opslib.settings import Settings
from opslib.sql import queries

AFTER_S = 20.0
"""How long after such a run ended [s]."""
TIMES = 2
"""How often in one incident."""
_MOST_S = 600.0  # what ended longer ago is not taken up again: the workers were away meanwhile
_log = structlog.get_logger(__name__)


def look_again(settings: Settings, *, after_s: float = AFTER_S) -> list[int]:
    """Queue a further run of each incident whose last one ended undecided, in the lane that it had.

    Parameters
    ----------
    settings : Settings
    after_s : float
        How long ago it has to have ended [s].

    Returns
    -------
    list of int
        The new runs.

    Raises
    ------
    StoreError, psycopg.OperationalError
        When the store is away.
    """
    new = []
    with store.transaction(settings) as connection:
        values = {"after_s": after_s, "most_s": _MOST_S, "times": TIMES}
        for row in connection.execute(queries("runs").undecided, values).fetchall():
            # The incident is ours only now: somebody may have had it run between the look and the lock.
            if connection.execute(queries("runs").later, row).fetchone() is not None:
                continue
            body = {"run": row["id"], "number": row["number"]}
            journal.append(connection, row["incident"], "look-again", body, actor=queue.ACTOR)
            run = queue.run_again(connection, row)
            new.append(run)
            _log.info("looked at again, since it was undecided", incident=row["incident"], run=run)
    return new
