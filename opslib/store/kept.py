"""A connection that stays open for a loop that asks the store again and again.

To connect costs either side a hundred times what the question does, and PostgreSQL a process each time.
"""

from __future__ import annotations

import select
import threading
from contextvars import ContextVar, Token

import psycopg
from psycopg.pq import TransactionStatus

from opslib.settings import Settings

Connection = psycopg.Connection[psycopg.rows.DictRow]
_in_use: ContextVar[Kept | None] = ContextVar("kept", default=None)


class Kept:
    """Within `with kept:` every transaction of this home is on one connection, which outlives it.

    A transaction within another, and any of another home or role, has a connection of its own, as ever. One that has
    broken meanwhile is replaced; what breaks while it is asked raises `psycopg.OperationalError`.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._home = settings.home
        self._idle: Connection | None = None
        self._lock = threading.Lock()
        self._tokens: list[Token[Kept | None]] = []

    def __enter__(self) -> Kept:
        self._tokens.append(_in_use.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        _in_use.reset(self._tokens.pop())

    def close(self) -> None:
        """Close the connection; the next transaction opens another."""
        connection = self._taken()
        if connection is not None:
            connection.close()

    def take(self, settings: Settings, role: str) -> Connection | None:
        """The connection, where it is for that home and role, idle and sound."""
        if role != "worker" or settings.home != self._home:
            return None
        connection = self._taken()
        if connection is not None and not _sound(connection):
            connection.close()
            return None
        return connection

    def keep(self, settings: Settings, role: str, connection: Connection) -> bool:
        """Have it back after a transaction; False where it is not to be kept."""
        if role != "worker" or settings.home != self._home or not _sound(connection):
            return False
        with self._lock:
            if self._idle is not None:
                return False
            self._idle = connection
            return True

    def _taken(self) -> Connection | None:
        with self._lock:
            connection, self._idle = self._idle, None
            return connection


def in_use() -> Kept | None:
    """The one whose block this is in."""
    return _in_use.get()


def _sound(connection: Connection) -> bool:
    """Whether it is open, in no transaction, and nothing came that was not asked for, such as its end."""
    if connection.closed or connection.pgconn.transaction_status != TransactionStatus.IDLE:
        return False
    return not select.select([connection], [], [], 0)[0]
