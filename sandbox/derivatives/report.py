"""Jobs of other teams on the platform's database: `python -m sandbox.derivatives.report WHAT [NUMBER]`.

`connections N` opens a connection a worker and keeps them all; `migration` adds a column and does not commit.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Any

import psycopg

from sandbox.derivatives.sql import queries

__all__ = ["main"]

_log = logging.getLogger("report")


def _connect(name: str) -> psycopg.Connection[Any]:
    return psycopg.connect(os.environ["POSTGRES_URL"], application_name=name, connect_timeout=3)


def _keep(count: int) -> None:
    """Keep connections open, and open more until there are as many as wanted."""
    held: list[psycopg.Connection[Any]] = []
    while True:
        try:
            while len(held) < count:
                held.append(_connect("report-writer"))
        except psycopg.OperationalError as problem:
            _log.warning("%d of %d workers have a connection: %s", len(held), count, str(problem).strip())
        held = [one for one in held if not one.broken and not one.closed]
        time.sleep(0.3)


def _migrate() -> None:
    """Add a column; wait for a review that does not come before the commit."""
    while True:
        try:
            with _connect("report-migration") as connection:
                connection.execute(queries("growth").open_migration)
                _log.info("column added, waiting for the review before the commit")
                while not connection.broken:
                    time.sleep(5.0)
                    connection.execute("SELECT 1")
        except psycopg.Error as problem:
            _log.warning("the migration begins again: %s", str(problem).strip())
        time.sleep(2.0)


def main() -> None:
    """Run a job, for ever."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if sys.argv[1] == "connections":
        _keep(int(sys.argv[2]))
    else:
        _migrate()


if __name__ == "__main__":
    main()
