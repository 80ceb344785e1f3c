"""Connections that stay open for a loop, or for requests, that ask the store again and again.

To connect costs either side a hundred times what the question does, and PostgreSQL a process each time.
"""

from __future__ import annotations

import select
import threading
from contextvars import ContextVar

import psycopg
from psycopg.pq import TransactionStatus

from opslib.settings import Settings

Connection = psycopg.Connection[psycopg.rows.DictRow]
_in_use: ContextVar[tuple[Kept, ...]] = ContextVar("kept", default=())


class Kept:
    """Within `with kept:` a transaction of this home is on a connection that outlives it, where one is idle.

    A transaction within another has a connection of its own, and so has any of another home or role. One that has
    broken meanwhile is replaced; what breaks while it is asked raises `psycopg.OperationalError`.

    Parameters
    ----------
    settings : Settings
    most : int
        How many stay open: as many as transactions are to be under way at once.
    """

    def __init__(self, settings: Settings, most: int = 1) -> None:
        self._home = settings.home
        self._most = most
        self._idle: list[Connection] = []
        self._over = False
        self._lock = threading.Lock()

    def __enter__(self) -> Kept:
        self._over = False
        _in_use.set((self, *_in_use.get()))
        return self

    def __exit__(self, *_: object) -> None:
        _in_use.set(_in_use.get()[1:])

    def close(self) -> None:
        """Close the connections, one still in use once it has been used; the next block opens others."""
        with self._lock:
            self._over = True
        while (connection := self._taken()) is not None:
            connection.close()

    def take(self, settings: Settings, role: str, *, autocommit: bool = False) -> Connection | None:
        """A connection that is for that home and role, idle and sound."""
        if role != "worker" or settings.home != self._home:
            return None
        while (connection := self._taken()) is not None:
            if _sound(connection):
                connection.autocommit = autocommit
                return connection
            connection.close()
        return None

    def keep(self, settings: Settings, role: str, connection: Connection) -> bool:
        """Have it back after a transaction; False where it is not to be kept."""
        if role != "worker" or settings.home != self._home or not _sound(connection):
            return False
        with self._lock:
            if self._over or len(self._idle) >= self._most:
                return False
            self._idle.append(connection)
            return True

    def _taken(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None


def kept_in_use() -> Kept | None:
    """The one whose block this is in."""
    return next(iter(_in_use.get()), None)


def _sound(connection: Connection) -> bool:
    """Whether it is open, in no transaction, and nothing came that was not asked for, such as its end."""
    if connection.closed or connection.pgconn.transaction_status != TransactionStatus.IDLE:
        return False
    return not select.select([connection], [], [], 0)[0]
