"""Jobs of other teams on the platform's stores: `python -m sandbox.derivatives.report WHAT [WORDS]`.

`connections N` opens a connection a worker and keeps them all; `migration COLUMN S` adds a column and does not commit,
but looks every S seconds whether it may; `dump FILE N` writes a file of N MiB, and waits for room where there is none;
`remove PATTERN S` removes keys of the cache every S seconds.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg import sql

from sandbox.derivatives.sql import queries

__all__ = ["main"]

_AGAIN_S = 0.03  # a slot that becomes free is taken before its last holder has it again
_BLOCK = 4096
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
        time.sleep(_AGAIN_S)


def _migrate(column: str, look_s: float) -> None:
    """Add a column; wait for a review that does not come before the commit."""
    while True:
        try:
            with _connect("report-migration") as connection:
                connection.execute(sql.SQL(queries("growth").open_migration).format(sql.Identifier(column)))
                _log.info("column added, waiting for the review before the commit")
                while not connection.broken:
                    time.sleep(look_s)
                    connection.execute("SELECT 1")
        except psycopg.Error as problem:
            _log.warning("the migration begins again: %s", str(problem).strip())
        time.sleep(2.0)


def _dump(path: Path, size_mib: int) -> None:
    """Write a file of that size; what does not fit is tried again until it does."""
    block, told = bytes(_BLOCK), False
    with path.open("ab", buffering=0) as file:
        while (left := size_mib * 2**20 - file.tell()) > 0:
            try:
                file.write(block[: min(_BLOCK, left)])
                told = False
            except OSError as problem:
                if not told:
                    _log.warning("%s has %d of %d MiB: %s", path.name, file.tell() // 2**20, size_mib, problem.strerror)
                told = True
                time.sleep(0.05)
    _log.info("%s is complete", path.name)
    while True:
        time.sleep(60.0)


def _remove(pattern: str, pause_s: float) -> None:
    """Remove keys, again and again."""
    client = redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=5.0, client_name="housekeeping")
    while True:
        try:
            keys = list(client.scan_iter(pattern, count=2000))
            for start in range(0, len(keys), 1000):
                client.unlink(*keys[start : start + 1000])
            _log.info("%d keys removed", len(keys))
        except redis.RedisError as problem:
            _log.warning("keys are removed later: %s", str(problem).strip())
        time.sleep(pause_s)


def main() -> None:
    """Run a job, for ever."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if sys.argv[1] == "connections":
        _keep(int(sys.argv[2]))
    elif sys.argv[1] == "dump":
        _dump(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1] == "remove":
        _remove(sys.argv[2], float(sys.argv[3]))
    else:
        _migrate(sys.argv[2], float(sys.argv[3]))


if __name__ == "__main__":
    main()
