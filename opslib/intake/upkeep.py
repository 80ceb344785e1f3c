"""What intake does every second: one question to the store, and work only where there is some."""

from __future__ import annotations

import datetime as dt

from opslib import store
from opslib.incidents.opening import BY_INTAKE
from opslib.intake.release import release
from opslib.intake.storm import watch
from opslib.intake.sweep import sweep
from opslib.settings import Settings
from opslib.sql import queries


def keep_house(settings: Settings, now: dt.datetime | None = None) -> None:
    """Expire what is overdue, look again at what was held back, and watch the length of the queue.

    Raises
    ------
    StoreError, psycopg.OperationalError
        When the database is away.
    """
    facts = {
        "now": now or dt.datetime.now(dt.UTC),
        "intake": BY_INTAKE,
        "depth": settings.storm_depth,
        "age_s": settings.storm_age_s,
    }
    with store.transaction(settings) as connection:
        due = connection.execute(queries("intake").due, facts).fetchone()
    if due is None:
        return
    if due["overdue"]:
        sweep(settings, now)
    if due["held_back"]:
        release(settings)
    if due["storm"]:
        watch(settings)
