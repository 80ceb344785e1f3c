"""Connections to a platform's PostgreSQL: named by the incident, bounded in time, read-only unless asked otherwise.

The server bounds each statement (`statement_timeout`, `lock_timeout`); a watch on our side hangs up on one that answers
too late or too much all the same, so that a frozen server stalls nobody.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import psycopg
from psycopg.rows import DictRow, dict_row

from opslib.sql import queries

Connection = psycopg.Connection[DictRow]
CONNECT_S = 2
LOCK_S = 1.0
_LOOK_S = 0.1
_MEMORY = 256 * 1024 * 1024  # one row larger than that is not waited for [bytes]
_BYTES_RECEIVED = 128  # where `struct tcp_info` of Linux counts them


class Unanswered(Exception):
    """The server did not answer in words that can be used; says why."""


def application(incident: str) -> str:
    """What the server's own list of sessions calls us: its owner can tell who asks, and for which incident."""
    return f"runbook {incident}" if incident else "runbook"


@contextmanager
def connect(
    url: str,
    *,
    name: str,
    statement_s: float,
    budget_s: float,
    lock_s: float = LOCK_S,
    mode: Literal["read", "change", "autocommit"] = "read",
) -> Iterator[Connection]:
    """A connection whose rows are dictionaries.

    Parameters
    ----------
    url : str
    name : str
        The `application_name`.
    statement_s, lock_s : float
        How long one statement, and its wait for a lock, may take [s]; enforced by the server.
    budget_s : float
        How long the whole block may take [s]; enforced here.
    mode : {"read", "change", "autocommit"}
        One read-only transaction, rolled back at the end; one that is committed; or each statement its own, for those
        that run in no transaction (`VACUUM`, `CREATE INDEX CONCURRENTLY`).

    Raises
    ------
    Unanswered
        When the server cannot be reached, takes too long or hangs up; other errors of psycopg pass through.
    """
    connection = _open(url, name)
    watch = _Watch(connection, budget_s)
    try:
        connection.autocommit = mode == "autocommit"
        if mode == "read":
            connection.read_only = True
        limits = {"statement_ms": _ms(statement_s), "lock_ms": _ms(lock_s), "idle_ms": _ms(budget_s)}
        block = queries("probes_postgres" if mode != "autocommit" else "actions_postgres").begin
        connection.execute(block, limits)
        yield connection
        if mode == "change":
            connection.commit()
    except psycopg.OperationalError as error:
        if watch.why is not None:
            raise Unanswered(watch.why) from error
        if isinstance(error, psycopg.errors.QueryCanceled):
            raise Unanswered(f"no answer within {statement_s:g} s") from error
        if isinstance(error, psycopg.errors.LockNotAvailable):
            raise Unanswered(f"waits for a lock that another session holds, longer than {lock_s:g} s") from error
        if connection.broken or error.sqlstate is None:
            raise Unanswered(f"the server hung up ({_first(error)})") from error
        raise
    finally:
        watch.end()
        with suppress(psycopg.Error):
            connection.close()


def _open(url: str, name: str) -> Connection:
    try:
        return psycopg.connect(
            url,
            row_factory=dict_row,
            connect_timeout=CONNECT_S,
            application_name=name,
            client_encoding="utf-8",
            prepare_threshold=None,  # poolers between us and the server
        )
    except psycopg.OperationalError as error:
        raise Unanswered(_reason(error)) from error
    except (psycopg.Error, UnicodeError, ValueError) as error:
        raise Unanswered(f"the address cannot be used: {type(error).__name__}") from error


def _reason(error: psycopg.OperationalError) -> str:
    """Why no connection was made, in words that name the next step."""
    text = _first(error)
    for mark, words in (
        ("too many clients", "every connection is taken (too many clients)"),
        ("remaining connection slots", "every connection but the reserved ones is taken (too many clients)"),
        ("too many connections for", "every connection that our role or database may have is taken"),
        ("password authentication failed", "it refuses our identity (password authentication failed)"),
        ("onnection refused", "connection refused"),
        ("timeout expired", f"no answer within {CONNECT_S:g} s"),
        ("starting up", "the database system is starting up"),
        ("shutting down", "the database system is shutting down"),
        ("in recovery mode", "the database system is in recovery after a crash"),
    ):
        if mark in str(error):
            return words
    return text


def _first(error: BaseException) -> str:
    """The first line of an error, without the address it begins with."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line.rpartition("FATAL:")[2].strip() if "FATAL:" in line else line


def _ms(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


class _Watch:
    """Hangs up on a server that takes longer than the budget, or sends one row that no memory should hold."""

    def __init__(self, connection: Connection, budget_s: float) -> None:
        self.why: str | None = None
        self._budget_s = budget_s
        self._over = threading.Event()
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        deadline, before = time.monotonic() + self._budget_s, self._received()
        while not self._over.wait(min(_LOOK_S, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                self._hang_up(f"no answer within {self._budget_s:g} s altogether")
            elif self._received() - before > _MEMORY:
                self._hang_up(f"the answer is more than {_MEMORY:,} bytes")
            else:
                continue
            return

    def _received(self) -> int:
        """The bytes received so far; 0 where the system does not count them."""
        try:
            facts = self._socket.getsockopt(socket.IPPROTO_TCP, getattr(socket, "TCP_INFO", -1), 256)
            return int(struct.unpack_from("=Q", facts, _BYTES_RECEIVED)[0])
        except (OSError, struct.error):
            return 0

    def _hang_up(self, why: str) -> None:
        self.why = why
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()
        self._socket.close()
