"""Faults of playbook A05: latency that rises."""

from __future__ import annotations

import random
import time

from psycopg import sql

from sandbox.derivatives.access import Access
from sandbox.derivatives.service.release import Release
from sandbox.derivatives.sql import queries
from sandbox.faults.fault import Fault
from sandbox.faults.greeks_latency import new_sessions
from sandbox.faults.on_derivatives import demand, deploy, fault, grown
from sandbox.progress import Progress

__all__ = ["FAULTS"]

_ROWS = 50_000
_OTHERS = ("expiry", "kind", "strike", "underlying")  # columns that a report of somebody else asks for
_ARCHIVE = (150_000, 200_000)  # rows, at least and at most
_PIECE, _GENTLY_S = 2_000, 0.4  # rows at once, and a pause after them: nobody has to wait for these
_PAST_S = 130.0  # what alert and playbook look back on here, and a little more


def recent_deployment(access: Access, rng: random.Random, progress: Progress) -> None:
    """A release that averages Greeks over several spots."""
    progress("rolling out a release")
    deploy(access, Release(f"2.4.{rng.randint(1, 9)}", smoothing=rng.randint(44, 60)), "Greeks smoothed near strikes")


def load_growth(access: Access, rng: random.Random, progress: Progress) -> None:
    """More clients every few seconds."""
    most = rng.randint(60, 75)
    for clients in range(20, most + 1, 10):
        progress(f"{clients} clients")
        demand(access, clients=clients, think_s=0.3)
        time.sleep(rng.uniform(2.5, 3.5))


def data_growth(access: Access, rng: random.Random, progress: Progress) -> None:
    """The table of trades grows by what clients bring over from elsewhere."""
    batches = rng.randint(9, 12)
    with access.database(timeout_s=120.0) as connection:
        for number in range(batches):
            progress(f"{number * _ROWS:,} trades")
            connection.execute(queries("growth").trades, {"rows": _ROWS})


def missing_index(access: Access, rng: random.Random, progress: Progress) -> None:
    """The table of trades, large for long since, gets an index for a report; the one it is held to replace is dropped.

    The rows of an archive make it large. They are there before what is compared with the past begins, so that nothing
    grows when the index goes.
    """
    rows, column = rng.randrange(*_ARCHIVE, _PIECE), rng.choice(_OTHERS)
    statements = queries("growth")
    progress(f"{rows:,} trades of an archive come in, little by little")
    with access.database(timeout_s=120.0) as connection:
        for _ in range(0, rows, _PIECE):
            connection.execute(statements.archive, {"rows": _PIECE})
            time.sleep(_GENTLY_S)
    progress(f"letting {_PAST_S:.0f} s pass, so that the table was as large before")
    time.sleep(_PAST_S)
    progress("exchanging an index of the table")
    another = sql.SQL(statements.another_index)
    with access.database(timeout_s=120.0) as connection:
        connection.execute(another.format(sql.Identifier(f"option_trades_{column}_timestamp"), sql.Identifier(column)))
        connection.execute(statements.drop_index)


FAULTS: dict[str, Fault] = {
    "data-growth": fault(data_growth, grown, 150.0),
    "load-growth": fault(load_growth, grown, 120.0),
    "memory-leak": fault(new_sessions, grown, 240.0),
    "missing-index": fault(missing_index, grown, 150.0),
    "recent-deployment": fault(recent_deployment, grown, 120.0),
}
